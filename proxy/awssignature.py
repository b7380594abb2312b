"""Sign a request to an S3-compatible store as AWS Signature Version 4 has it, all of it in headers; pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Every header that is given is signed.

    credentials: holds no "access_key" and "secret_key"; write one line for each
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"
    session_token: str = ""


def read_credentials(text: str) -> Credentials:
    """Read `access_key = ...` and so on, one a line; raises ValueError."""
    given: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or name not in Credentials.__slots__ or not value:
            raise ValueError(f'"{name:.40}" is none of {", ".join(Credentials.__slots__)}; write "name = value"')
        given[name] = value
    if not given.keys() >= {"access_key", "secret_key"}:
        raise ValueError('holds no "access_key" and "secret_key"; write one line for each')
    return Credentials(**given)


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, credentials: Credentials, at: datetime
) -> dict[str, str]:
    """The headers with those that sign them and the body; `at` is in UTC, the path of the URL not encoded yet."""
    parts = urlsplit(url)
    body_sha256 = hashlib.sha256(body).hexdigest()
    time = at.strftime("%Y%m%dT%H%M%SZ")
    all_headers = {**headers, "Host": parts.netloc, "x-amz-content-sha256": body_sha256, "x-amz-date": time}
    if credentials.session_token:
        all_headers["x-amz-security-token"] = credentials.session_token
    lower = {name.lower(): " ".join(value.split()) for name, value in sorted(all_headers.items())}
    names = ";".join(sorted(lower))
    lines = [method, quote(parts.path or "/"), "", *(f"{name}:{lower[name]}" for name in sorted(lower)), "", names]
    request = hashlib.sha256("\n".join([*lines, body_sha256]).encode()).hexdigest()
    scope = f"{time[:8]}/{credentials.region}/s3/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"{_ALGORITHM}\n{time}\n{scope}\n{request}".encode(), "sha256").hex()
    identity = f"Credential={credentials.access_key}/{scope}"
    all_headers["Authorization"] = f"{_ALGORITHM} {identity},SignedHeaders={names},Signature={signature}"
    return all_headers
