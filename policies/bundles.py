"""Texts in one signed file, so that nobody between who wrote them and the gate can change, drop or add one; pure.

A bundle is a tar of plain files, written in one way only: what is read is written again and must be the same bytes, so
there is no second reading of one. In this order it holds

    manifest.json              {"format":1,"id":"site","texts":{"no-prod.yaml":"<sha256>",...}}
    texts/no-prod.yaml         each text, sorted by name
    signatures/<key id>        64 bytes: Ed25519 (RFC 8032) over "claiim-bundle-v1\\n" and the manifest's bytes

What is wrong in one:

    site.claiim:1:1: is not signed; sign it with "claiim policy bundle sign"
    site.claiim:1:1: is signed by 9f86d081884c7d65, which is none of the keys in "bundles.keys"
    site.claiim:1:1: member "texts/../agents.yaml" has a name that no bundle holds
    site.claiim:1:1: text "no-prod.yaml" is not the one that was signed
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mappings.documents import Document, Fault, Place, read_document
from policies.signingkeys import key_id
from policies.values import PolicyError

MAX_BYTES = 32 << 20
"""One bundle; it is read whole."""
MAX_TEXT_BYTES = 4 << 20
"""One text; `mappings.documents` takes a million characters."""
MAX_TEXTS = 4096
MAX_SIGNATURES = 16

_MANIFEST = "manifest.json"
_TEXTS = "texts/"
_SIGNATURES = "signatures/"
_SIGNED = b"claiim-bundle-v1\n"
"""Before what is signed: a signature made for anything else is none here."""

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_MAX_NAME_BYTES = 100
"""Of a member; POSIX.1-1988 ustar, "name". Longer ones would need a second field, and so a second way to write them."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*\.yaml")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in a bundle, before anybody asked who signed it."""

    source: str
    manifest: bytes
    texts: Mapping[str, bytes]
    """By path, sorted."""
    signatures: Mapping[str, bytes]
    """By key id, sorted."""

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, and so of all that is signed."""
        return hashlib.sha256(self.manifest).hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Texts whose signature was verified."""

    id: str
    digest: str
    signers: tuple[str, ...]
    """The keys among those given that signed it, by id."""
    documents: tuple[Document, ...]

    def __str__(self) -> str:
        return f"{self.id}:{self.digest}:{'+'.join(self.signers)}"


# --- writing ---


def pack(id_: str, texts: Mapping[str, str], source: str) -> bytes:
    """Return the bundle of some texts by path, not signed yet; the same texts make the same bytes."""
    if not _ID.fullmatch(id_):
        _stop(source, f'"{id_}" names no bundle; use up to 64 of a-z, 0-9 and ._-')
    for path in texts:
        if not _fits(path):
            _stop(source, f'"{path}" cannot stand in a bundle; use letters, digits and ._- in its name, 94 in all')
    found = {path: texts[path].encode() for path in sorted(texts)}
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in found.items()}
    return _written(Contents(source, _manifest(id_, digests), found, {}))


def sign(data: bytes, key: Ed25519PrivateKey, source: str) -> bytes:
    """Return the bundle with one more signature; raise PolicyError for what is none, or not whole."""
    contents = unpack(data, source)
    _require_whole(contents)
    signatures = {**contents.signatures, key_id(key.public_key()): key.sign(_SIGNED + contents.manifest)}
    return _written(Contents(source, contents.manifest, contents.texts, dict(sorted(signatures.items()))))


def _manifest(id_: str, digests: Mapping[str, str]) -> bytes:
    value = {"format": 1, "id": id_, "texts": dict(digests)}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _written(contents: Contents) -> bytes:
    members = {_MANIFEST: contents.manifest}
    members |= {_TEXTS + path: data for path, data in contents.texts.items()}
    members |= {_SIGNATURES + name: data for name, data in contents.signatures.items()}
    padded = (_header(name, len(data)) + data + bytes(-len(data) % _BLOCK) for name, data in members.items())
    return b"".join(padded) + _END


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.USTAR_FORMAT)


# --- reading ---


def unpack(data: bytes, source: str) -> Contents:
    """Return what stands in a bundle; raise PolicyError for everything that we would not have written so."""
    if len(data) > MAX_BYTES:
        _stop(source, f"is larger than {MAX_BYTES >> 20} MiB; make several of it")
    manifest, texts, signatures = b"", dict[str, bytes](), dict[str, bytes]()
    for name, content in _members(data, source):
        if name == _MANIFEST:
            manifest = content
        elif name.startswith(_TEXTS) and _fits(name.removeprefix(_TEXTS)):
            texts[name.removeprefix(_TEXTS)] = content
        elif name.startswith(_SIGNATURES) and _KEY_ID.fullmatch(name.removeprefix(_SIGNATURES)):
            signatures[name.removeprefix(_SIGNATURES)] = content
        else:
            _stop(source, f'member "{name}" has a name that no bundle holds')
    if len(texts) > MAX_TEXTS or len(signatures) > MAX_SIGNATURES:
        _stop(source, f"holds more than {MAX_TEXTS} texts or {MAX_SIGNATURES} signatures; make several of it")
    contents = Contents(source, manifest, dict(sorted(texts.items())), dict(sorted(signatures.items())))
    # Nothing stands twice, in another order, between or behind: there is one way to write a bundle.
    if _written(contents) != data:
        _stop(source, "is not written as bundles are; create it again")
    return contents


def verify(data: bytes, keys: Mapping[str, Ed25519PublicKey], source: str) -> Bundle:
    """Return the texts of a bundle that one of these keys, by id, signed; raise PolicyError otherwise."""
    contents = unpack(data, source)
    # Before a byte of what is signed is looked at.
    signers = _signers(contents, keys)
    id_ = _require_whole(contents)
    return Bundle(id_, contents.digest, signers, tuple(_documents(contents)))


def _require_whole(contents: Contents) -> str:
    """Return the id of a bundle whose texts are those of its manifest; raise PolicyError otherwise."""
    source = contents.source
    id_, digests = _signed(contents)
    for path in sorted(contents.texts.keys() | digests.keys()):
        text = contents.texts.get(path)
        if text is None:
            _stop(source, f'text "{path}" was signed and is missing')
        if path not in digests:
            _stop(source, f'text "{path}" was not signed')
        if hashlib.sha256(text).hexdigest() != digests[path]:
            _stop(source, f'text "{path}" is not the one that was signed')
    return id_


def _signers(contents: Contents, keys: Mapping[str, Ed25519PublicKey]) -> tuple[str, ...]:
    if not contents.signatures:
        _stop(contents.source, 'is not signed; sign it with "claiim policy bundle sign"')
    known = [name for name in contents.signatures if name in keys]
    if not known:
        found = ", ".join(contents.signatures)
        _stop(contents.source, f'is signed by {found}, which is none of the keys in "bundles.keys"')
    for name in known:
        try:
            keys[name].verify(contents.signatures[name], _SIGNED + contents.manifest)
        except InvalidSignature:
            _stop(contents.source, f"the signature of {name} is wrong: it was changed after it was signed")
    return tuple(known)


def _signed(contents: Contents) -> tuple[str, dict[str, str]]:
    """Return what the manifest says: the id, and the digest of each text."""
    try:
        value = json.loads(contents.manifest)
        id_, digests = value["id"], dict(value["texts"])
        sound = _ID.fullmatch(id_) and all(_fits(path) and _SHA256.fullmatch(each) for path, each in digests.items())
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = None
    if not sound or _manifest(id_, dict(sorted(digests.items()))) != contents.manifest:
        _stop(contents.source, "has a manifest that this version cannot read; create it again")
    return id_, digests


def _documents(contents: Contents) -> Iterator[Document]:
    for path, text in contents.texts.items():
        place = f"{contents.source}:{path}"
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            _stop(place, "is not UTF-8 text; save it as UTF-8 and sign again")
        yield read_document(decoded, place, error=PolicyError)


def _members(data: bytes, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member; only regular files whose header says nothing but name and size."""
    at = 0
    while data[at : at + _BLOCK] != bytes(_BLOCK):
        header = data[at : at + _BLOCK]
        name, size = _name_and_size(header)
        if size < 0 or _header(name, size) != header:
            _stop(source, f"is no bundle, or holds something else than plain files (at byte {at})")
        if size > MAX_TEXT_BYTES:
            _stop(source, f'member "{name}" is larger than {MAX_TEXT_BYTES >> 20} MiB')
        content = data[at + _BLOCK : at + _BLOCK + size]
        if len(content) < size:
            _stop(source, "is cut off; copy it again")
        yield name, content
        at += _BLOCK + size + -size % _BLOCK


def _name_and_size(header: bytes) -> tuple[str, int]:
    """Return the two fields of a ustar header that differ between members; size -1 when there is no header."""
    try:
        name = header[:_MAX_NAME_BYTES].rstrip(b"\0").decode("ascii")
        return name, int(header[124:135].decode("ascii"), 8) if len(header) == _BLOCK and name.isprintable() else -1
    except ValueError:
        return "", -1


def _fits(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and len(_TEXTS + path) <= _MAX_NAME_BYTES


def _stop(source: str, message: str) -> NoReturn:
    raise PolicyError([Fault(Place(source, 1, 1), message)])
