"""Reads who signed an AWS request, and for which service and region.

Checks no signature: AWS does, and refuses a false scope, which is what makes the scope a fact on Amazon's own
hosts. Elsewhere it is only a claim, and the operator who bound the host vouches for it.

Grammar (IAM user guide, "Signature Version 4 signing elements"; Smithy, "aws.auth#sigv4a"):

    scope   KEY/DATE/REGION/SERVICE/aws4_request      SigV4
            KEY/DATE/SERVICE/aws4_request             SigV4A; the regions stand in X-Amz-Region-Set
    header and query both signed, differently         CredentialError
    AWS4-HMAC-SHA256 without a scope                  CredentialError
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache

from mappings.request import Request

CREDENTIAL = "Credential="
SCOPE = re.compile(
    r"(?P<key>[A-Za-z0-9_-]+)/[0-9]{8}/(?:(?P<region>[a-z0-9-]+)/)?(?P<service>[A-Za-z0-9-]+)/aws4_request"
)

KEY_ID = re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}")
"""IAM user guide, "Unique identifiers": long-term and temporary access keys. The rest is base32."""


class CredentialError(ValueError):
    """The request carries two credentials, or one that is none."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is for."""

    account: str
    """Twelve digits, or "" when the access key does not say."""
    region: str
    """ "" under SigV4A, which may span regions."""
    service: str


def scope_of(request: Request) -> Scope | None:
    """Return the scope the request is signed for, None when unsigned; CredentialError when there are two."""
    found = {value for key, value in request.query if key == "X-Amz-Credential"} if request.query else set()
    for name, value in request.headers:
        if name == "authorization" and value.startswith("AWS4-"):
            # All that stand there, wherever: which of two counts is for no reader to choose.
            _, *credentials = value.split(CREDENTIAL)
            found.update([text.partition(",")[0].strip() for text in credentials] or [""])
    if not found:
        return None
    if len(found) > 1:
        raise CredentialError("the request is signed twice, differently")
    scope = _read_scope(found.pop())
    if scope is None:
        raise CredentialError("the signature has no readable credential scope")
    return scope


@lru_cache(maxsize=1024)
def _read_scope(text: str) -> Scope | None:
    match = SCOPE.fullmatch(text)
    return Scope(account_of_key(match["key"]), match["region"] or "", match["service"]) if match else None


def account_of_key(key_id: str) -> str:
    """Return the account an access key id belongs to, "" when it does not say.

    Keys made since 2019 hold the account number from the second bit of their base32 part; it is published for
    ASIAQNZGKIQY56JQ7WML -> 029608264753. Older ones (first bit clear: AKIAI..., AKIAJ...) hold none.
    """
    if not KEY_ID.fullmatch(key_id):
        return ""
    try:
        number = int.from_bytes(base64.b32decode(key_id[4:])[:6])
    except binascii.Error:
        return ""
    if not number >> 47:
        return ""
    return f"{(number & 0x7FFF_FFFF_FF80) >> 7:012d}"
