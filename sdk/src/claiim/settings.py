"""Where the gate is and who asks: arguments first, then the environment, then the default address.

    argument     environment                          default
    agent_id     CLAIIM_AGENT                         none: refused
    token        CLAIIM_TOKEN, or CLAIIM_TOKEN_FILE   none: refused
    url          CLAIIM_URL                           http://127.0.0.1:8181

An address is `http://host[:port][/prefix]` or `https://...`. Failures: `ftp://gate` (scheme),
`http://me:secret@gate` (the token has its own place), `http://gate?x=1` (no query). Never reads
HTTP_PROXY and its relatives: the control API cannot be reached through the gate's own proxy.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from claiim.errors import GateMisconfigured

DEFAULT_URL = "http://127.0.0.1:8181"

# RFC 6750 section 2.1 (b64token). Anything wider could smuggle a line break into the header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_PREFIX = re.compile(r"[A-Za-z0-9._~/-]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_MAX_TOKEN_FILE_BYTES = 8192


@dataclass(frozen=True)
class Settings:
    """Everything needed to ask, already checked."""

    agent: str
    authorization: str
    """The whole header value; kept out of every message."""
    scheme: str
    host: str
    port: int
    prefix: str
    timeout_s: float
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        """Returns the address as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    def __repr__(self) -> str:
        return f"agent={self.agent!r}, url={self.url!r}, timeout_s={self.timeout_s!r}"


def settings(
    agent_id: str | None,
    token: str | None,
    url: str | None,
    timeout_s: float,
    ca: str | Path | None,
    environ: Mapping[str, str],
) -> Settings:
    """Returns checked settings; raises GateMisconfigured naming the first thing that is wrong."""
    scheme, host, port, prefix = _address(url or environ.get("CLAIIM_URL") or DEFAULT_URL)
    if not 0 < timeout_s < 3600:
        raise GateMisconfigured(f"timeout_s is {timeout_s!r}; give seconds between 0 and 3600")
    return Settings(
        agent=_agent(agent_id or environ.get("CLAIIM_AGENT") or ""),
        authorization="Bearer " + _token(token, environ),
        scheme=scheme,
        host=host,
        port=port,
        prefix=prefix,
        timeout_s=float(timeout_s),
        tls=_tls(ca) if scheme == "https" else None,
    )


def _agent(agent: str) -> str:
    if not agent:
        raise GateMisconfigured("no agent id; pass agent_id= or set CLAIIM_AGENT")
    if not _AGENT.fullmatch(agent):
        raise GateMisconfigured(f"agent id {agent!r} has characters no agent has; use letters, digits, . _ @ -")
    return agent


def _token(token: str | None, environ: Mapping[str, str]) -> str:
    value = token or environ.get("CLAIIM_TOKEN") or _token_from_file(environ.get("CLAIIM_TOKEN_FILE"))
    if not value:
        raise GateMisconfigured("no token; pass token=, or set CLAIIM_TOKEN or CLAIIM_TOKEN_FILE")
    if not _TOKEN.fullmatch(value):
        # The value itself is not quoted: messages end up in logs.
        raise GateMisconfigured("the token has characters no token has; copy it again, without spaces or quotes")
    return value


def _token_from_file(path: str | None) -> str:
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_TOKEN_FILE_BYTES)
        return content.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GateMisconfigured(f'cannot read the token file "{path}": {error}') from error


def _address(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise GateMisconfigured(f'gate address "{url}": {error}; write http://host:port') from error
    if parts.scheme not in ("http", "https"):
        raise GateMisconfigured(f'gate address "{url}" is not http or https; write http://host:port')
    if "@" in parts.netloc:
        raise GateMisconfigured("gate address holds a user or password; pass the token as token=")
    if not _HOST.fullmatch(host) or port == 0:
        raise GateMisconfigured(f'gate address "{url}" has no usable host or port; write http://host:port')
    if parts.query or parts.fragment or not _PREFIX.fullmatch(parts.path):
        raise GateMisconfigured(f'gate address "{url}" holds more than a path; write http://host:port')
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")


def _tls(ca: str | Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise GateMisconfigured(f'cannot read the CA file "{ca}": {error}') from error
