"""Ed25519 keys (RFC 8032) as people keep them in files: PEM, or 32 raw bytes as base64; pure.

release:1:1: holds no public Ed25519 key; give the ".pub" that "claiim policy bundle key" wrote
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mappings.documents import Fault, Place
from policies.values import PolicyError


def key_id(key: Ed25519PublicKey) -> str:
    """Return the short name of a key: the beginning of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def read_public_key(data: bytes, source: str) -> Ed25519PublicKey:
    """Return the key in PEM, or in 32 raw bytes as base64; raise PolicyError for anything else."""
    try:
        if b"-----BEGIN" not in data:
            return Ed25519PublicKey.from_public_bytes(_raw(data))
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(source, 'holds no public Ed25519 key; give the ".pub" that "claiim policy bundle key" wrote')
    return key


def read_private_key(data: bytes, source: str) -> Ed25519PrivateKey:
    """Return the key in PEM, or in 32 raw bytes as base64; raise PolicyError for anything else."""
    try:
        if b"-----BEGIN" not in data:
            return Ed25519PrivateKey.from_private_bytes(_raw(data))
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(
            source, 'holds no private Ed25519 key without a password; make one with "claiim policy bundle key"'
        )
    return key


def _raw(data: bytes) -> bytes:
    try:
        return base64.b64decode(data.strip(), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _no_key(source: str, message: str) -> PolicyError:
    return PolicyError([Fault(Place(source, 1, 1), message)])
