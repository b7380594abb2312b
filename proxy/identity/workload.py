"""Verifies workload tokens: JWTs (RFC 7519) signed by an issuer that the configuration believes, offline.

The order, first failing step gives the reason: readable -> issuer believed -> algorithm allowed -> key known ->
signature right -> for this gate -> has a subject and an end -> not expired, begun, not too long. Nothing in a token
chooses how it is verified: keys come from the issuer's file alone (never `jku`, `jwk`, `x5u`), the algorithm must be
one that the configuration allows and that fits the key (RFC 8725, 3.1 and 3.5).

    {"iss": "https://ci.acme.test", "sub": "repo:acme/api", "aud": "claiim", "exp": ...}
    -> "jwt:https://ci.acme.test#repo:acme/api"
"""

import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Never

from joserfc import jws
from joserfc.errors import JoseError

from proxy.config import ConfigError, JwtIssuer
from proxy.identity.keys import VerifyingKey, read_keys

MAX_TOKEN_CHARS = 8192
"""Longer ones are not looked at; those of the large providers have up to some 2,000."""
MAX_LIFETIME_S = 86_400
"""From issue, or from now, to expiry. What lives longer is a password, and a stolen one works as long."""
LEEWAY_S = 60
"""How far the issuer's clock may be ahead of ours (RFC 7519, 4.1.5). An expired token has no leeway."""
_REMEMBERED = 1024
"""Tokens whose signature need not be verified again; an agent brings the same one with each connection."""

_SUBJECT = re.compile(r"\S{1,256}")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a token proves, and until when."""

    identity: str
    """As in `Credential.identities`: "jwt:<issuer>#<subject>"."""
    expires: datetime


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a token says that was signed by its issuer, for this gate."""

    identity: str
    expires_s: float
    not_before_s: float
    issued_s: float | None


class _Refused(Exception):
    """Why a token does not count."""


@dataclass(frozen=True, slots=True)
class _Believed:
    entry: JwtIssuer
    keys: Mapping[str, VerifyingKey]


class Issuers:
    """Whose tokens are believed, with the keys as they were read; a reload makes another."""

    def __init__(self, believed: Sequence[tuple[JwtIssuer, Mapping[str, VerifyingKey]]]) -> None:
        self._believed = {entry.issuer: _Believed(entry, keys) for entry, keys in believed}
        self._remembered: OrderedDict[bytes, _Claims] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._believed)

    def read(self, token: str, at: datetime) -> Proof | str:
        """What a token proves at a time, or why it proves nothing; the reason quotes nothing of it."""
        try:
            claims = self._signed(token)
            _check_times(claims, at.timestamp())
        except _Refused as refused:
            return f"workload token {refused}"
        return Proof(claims.identity, datetime.fromtimestamp(claims.expires_s, UTC))

    def _signed(self, token: str) -> _Claims:
        """The verified claims of a token. Only what was right is remembered, and times are looked at anew."""
        if len(token) > MAX_TOKEN_CHARS:
            raise _Refused("too long")
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._remembered.get(digest)
        if claims is None:
            claims = self._remembered[digest] = self._verified(token)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return claims

    def _verified(self, token: str) -> _Claims:
        header, payload = (_object(part) for part in token.split(".")[:2])
        issuer = payload.get("iss")
        believed = self._believed.get(issuer) if isinstance(issuer, str) else None
        if believed is None:
            raise _Refused("of an unknown issuer")
        _verify(token, header, believed)
        return _claims(payload, believed.entry)


NO_ISSUERS = Issuers(())
"""Nobody's tokens are believed."""


def load_issuers(entries: Sequence[JwtIssuer]) -> Issuers:
    """Read the keys of all issuers; raises ConfigError with every fault."""
    faults: list[str] = []
    believed: list[tuple[JwtIssuer, Mapping[str, VerifyingKey]]] = []
    for entry in entries:
        try:
            keys = read_keys(entry.jwks)
            if not any(key.algorithms & set(entry.algorithms) for key in keys.values()):
                allowed = ", ".join(entry.algorithms)
                faults.append(f"{entry.jwks}: no key for {allowed}; allow what the issuer signs with")
            believed.append((entry, keys))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError.plain("\n".join(dict.fromkeys(faults)))
    return Issuers(believed)


def _verify(token: str, header: Mapping[str, Any], believed: _Believed) -> None:
    """Raise unless one of the issuer's keys signed the token in a way that is allowed."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in believed.entry.algorithms:
        raise _Refused("with an algorithm that is not allowed")
    if "crit" in header or "b64" in header:
        raise _Refused("with extensions that are not understood")  # RFC 7515, 4.1.11; RFC 7797, 3
    key = believed.keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise _Refused("of an unknown key")
    if algorithm not in key.algorithms:
        raise _Refused("with an algorithm that is not its key's")
    try:
        jws.deserialize_compact(token, key.key, registry=_Registry(algorithms=[algorithm], strict_check_header=False))
    except (JoseError, ValueError, TypeError):
        raise _Refused("not signed by its issuer") from None


class _Registry(jws.JWSRegistry):
    """The library's, with room for the headers of large providers."""

    max_header_length = 4096

    def get_alg(self, name: str) -> Any:
        """Give the algorithm, which was checked against the configuration and the key.

        The library warns of "EdDSA", which does not say the curve (RFC 9864); here the key says it.
        """
        return self.algorithms[name]


def _claims(payload: Mapping[str, Any], entry: JwtIssuer) -> _Claims:
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if entry.audience not in audiences:
        raise _Refused("for another audience")
    subject = payload.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise _Refused("without a subject")
    expires_s = _seconds(payload, "exp")
    if expires_s is None:
        raise _Refused("without an expiry")
    not_before_s = _seconds(payload, "nbf")
    return _Claims(f"jwt:{entry.issuer}#{subject}", expires_s, not_before_s or 0, _seconds(payload, "iat"))


def _check_times(claims: _Claims, at_s: float) -> None:
    if at_s >= claims.expires_s:
        raise _Refused("expired")
    if at_s + LEEWAY_S < max(claims.not_before_s, claims.issued_s or 0):
        raise _Refused("not valid yet")
    # Both: an old "iat" makes no token shorter, and one from the future none longer.
    if claims.expires_s - min(at_s, claims.issued_s or at_s) > MAX_LIFETIME_S:
        raise _Refused("lives too long")


def _seconds(payload: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, 2), in seconds; one that is none is refused."""
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise _Refused("not readable")
    return float(value)


def _object(part: str) -> dict[str, Any]:
    """A part of a token as the JSON object it is; a name that stands in it twice has two readings."""
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True).decode()
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _Refused("not readable") from None
    if not isinstance(value, dict):
        raise _Refused("not readable")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands there twice")
    return value


def _no_constant(text: str) -> Never:
    raise ValueError(f"{text} is no JSON")
