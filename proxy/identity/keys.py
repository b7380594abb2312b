"""Reads the public keys of an issuer from a file: a JWK Set (RFC 7517, 5).

A file that holds a private or a shared key is refused as a whole: whoever can read it could make tokens. Keys
of kinds that are not used here, and keys for encryption, are passed over, as RFC 7517, 5 asks.

    jwks.json:3:5: not JSON: expecting ',' delimiter; save what the issuer publishes as it is
    jwks.json: key "k1" is private; keep only its public part
    jwks.json: key "k1" is shared (oct); workload tokens are signed with a key pair
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwk
from joserfc.errors import JoseError

from proxy.config import ConfigError, why

_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518, 6.2.2, 6.3.2 and 6.4.1; RFC 8037, 2."""
_LEAST_RSA_BITS = 2048
"""RFC 7518, 3.3."""
_ALGORITHMS: Mapping[tuple[str, str], frozenset[str]] = {
    # RFC 7518, 3.1, RFC 8037, 3.1, and RFC 9864, 2.2: (kty, crv) -> what may be signed with it.
    ("RSA", ""): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, and what it verifies."""

    key: jwk.Key
    algorithms: frozenset[str]

    def __reduce__(self) -> tuple[object, ...]:
        """Cross over to another process of the gate as it is published: OpenSSL's own form does not."""
        return _crossed, (self.key.as_dict(private=False), self.algorithms)


def _crossed(public: dict[str, Any], algorithms: frozenset[str]) -> VerifyingKey:
    return VerifyingKey(jwk.import_key(public), algorithms)


def read_keys(path: Path) -> dict[str, VerifyingKey]:
    """The keys of a file by their `kid`; raises ConfigError."""
    found: dict[str, VerifyingKey] = {}
    for number, entry in enumerate(_entries(path)):
        kid = entry.get("kid")
        name = f'key "{kid}"' if isinstance(kid, str) else f"key {number + 1}"
        _refuse_secret(path, name, entry)
        possible = _ALGORITHMS.get((str(entry.get("kty")), str(entry.get("crv", ""))))
        if possible is None or entry.get("use", "sig") != "sig":
            continue
        if not isinstance(kid, str) or not kid:
            raise ConfigError.plain(f'{path}: {name} has no "kid"; tokens name their key by it')
        if kid in found:
            raise ConfigError.plain(f"{path}: {name} stands there twice; keep one")
        bound = possible & {entry["alg"]} if "alg" in entry else possible
        found[kid] = VerifyingKey(_imported(path, name, entry), bound)
    if not found:
        raise ConfigError.plain(f"{path}: no key to verify with; save what the issuer publishes as its JWKS")
    return found


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError.plain(f"{path}: cannot read: {why(error)}; save the issuer's JWKS there") from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError.plain(f"{where}: not JSON: {error.msg.lower()}; save what the issuer publishes") from None
    except (ValueError, RecursionError):
        raise ConfigError.plain(f"{path}: not JSON; save what the issuer publishes as its JWKS") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(entry, dict) for entry in keys):
        raise ConfigError.plain(f'{path}: not a JWK Set; it has the form {{"keys": [...]}}')
    return keys


def _refuse_secret(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    if entry.get("kty") == "oct":
        raise ConfigError.plain(f"{path}: {name} is shared (oct); workload tokens are signed with a key pair")
    if _SECRET & entry.keys():
        raise ConfigError.plain(f"{path}: {name} is private; keep only its public part")


def _imported(path: Path, name: str, entry: Mapping[str, Any]) -> jwk.Key:
    if entry.get("kty") == "RSA" and _modulus_bits(entry.get("n")) < _LEAST_RSA_BITS:
        raise ConfigError.plain(f"{path}: {name} is shorter than {_LEAST_RSA_BITS} bits; have the issuer replace it")
    public = {member: value for member, value in entry.items() if member in ("kty", "crv", "n", "e", "x", "y")}
    try:
        return jwk.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        raise ConfigError.plain(f"{path}: {name} cannot be read as a key; save what the issuer publishes") from None


def _modulus_bits(modulus: object) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(f"{modulus}==")).bit_length()
    except ValueError:
        return _LEAST_RSA_BITS  # no number at all, which is told when it is read as a key
