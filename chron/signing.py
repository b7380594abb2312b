"""The key that signs checkpoints: its file, what it says about a log, and its change for another.

The key stands in a file of its own (PEM, PKCS#8, 0600), so that it can have another owner, mount or backup than the
log: who can only write the log cannot sign another history of it. `openssl genpkey -algorithm ed25519` makes one too.
The file knows no name; a key signs under the name of the log, so no signature fits another log.

A key is made known by a record of kind `key` in the log itself, which holds a note of five lines, signed by the new
key and, when it follows another, by that one too:

    claiim chron key v1
    claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p           the log
    rotated                                         created, rotated, or replaced (the old key was lost)
    claiim/chr_01k9...+b1c2d3e4+AQ...               the key from here on
    -                                               its ML-DSA-44 companion, if there is one

    key "state/chron-key.pem" can be read by others (mode 0644); run "chmod 600 state/chron-key.pem"
    key "state/chron-key.pem" is not the one that signs this log (claiim/chr_01k...+9f86d081+AS...); put that one back
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from chron.body import Fields
from chron.errors import ChronError
from chron.notes import Checkpoint, Note, Signature, VerifierKey, parse_note, parse_vkey

CREATED, ROTATED, REPLACED = "created", "rotated", "replaced"

_FIRST_LINE = "claiim chron key v1"
"""Holds blanks, so it is no name of a log, and what is signed below it can never be taken for a checkpoint."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The key in use, and the ML-DSA-44 key beside it if the operator gave one."""

    key: Ed25519PrivateKey
    second: MLDSA44PrivateKey | None = None

    def verifier_keys(self, name: str) -> tuple[VerifierKey, ...]:
        """The public keys, as those of a log of this name."""
        keys = (self.key, self.second) if self.second else (self.key,)
        return tuple(VerifierKey(name, key.public_key()) for key in keys)

    def checkpoint(self, checkpoint: Checkpoint, at_s: int) -> str:
        """The signed note of a checkpoint."""
        signatures = [self._signature(checkpoint.name, checkpoint.text)]
        if self.second is not None:
            key = VerifierKey(checkpoint.name, self.second.public_key())
            data = at_s.to_bytes(8) + self.second.sign(checkpoint.cosigned(key.name, at_s))
            signatures.append(Signature(key.name, key.id, data))
        return str(Note(checkpoint.text, signatures))

    def introduction(self, name: str, event: str, before: "Signer | None" = None) -> Fields:
        """The record that makes this key known in a log; `before` is the key it follows."""
        known = KeyRecord(event, *(key.vkey for key in self.verifier_keys(name)))
        text = known.text(name)
        signatures = [signer._signature(name, text) for signer in (before, self) if signer is not None]
        return {
            "event": event,
            "vkey": known.vkey,
            "vkey_second": known.vkey_second or None,
            "note": str(Note(text, signatures)),
        }

    def _signature(self, name: str, text: str) -> Signature:
        return Signature(name, VerifierKey(name, self.key.public_key()).id, self.key.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a record of kind `key` says."""

    event: str
    vkey: str
    vkey_second: str = ""

    def text(self, name: str) -> str:
        """What is signed."""
        return f"{_FIRST_LINE}\n{name}\n{self.event}\n{self.vkey}\n{self.vkey_second or '-'}\n"

    def verifier_keys(self) -> tuple[VerifierKey, ...]:
        """The keys it makes known; raises ChronError when they are none."""
        return tuple(parse_vkey(vkey) for vkey in (self.vkey, self.vkey_second) if vkey)


def read_key_record(fields: Fields, name: str, before: VerifierKey | None) -> KeyRecord:
    """Return what a record of kind `key` says; raises ChronError unless the right keys signed it."""
    known = KeyRecord(*(str(fields.get(field) or "") for field in ("event", "vkey", "vkey_second")))
    if known.event not in (CREATED, ROTATED, REPLACED) or (known.event == CREATED) != (before is None):
        raise ChronError(f'event "{known.event}" cannot stand here')
    note, keys = parse_note(str(fields.get("note", ""))), known.verifier_keys()
    signing = [keys[0], before] if known.event == ROTATED else [keys[0]]
    if note.text != known.text(name) or any(key.name != name for key in keys):
        raise ChronError("its note is about something else")
    if not all(key is not None and key.signed(note) for key in signing):
        raise ChronError("it is not signed by the key before it and its own")
    return known


def read_signer(path: Path, second: Path | None = None) -> Signer:
    """Read the key, and the one beside it; raises ChronError."""
    key = _read(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise ChronError(f'key "{path}" is not an Ed25519 key; make one with "claiim chron key make"')
    beside = _read(second) if second else None
    if second and not isinstance(beside, MLDSA44PrivateKey):
        raise ChronError(f'key "{second}" is not an ML-DSA-44 key; make one with "claiim chron key make --second"')
    return Signer(key, beside if isinstance(beside, MLDSA44PrivateKey) else None)


def _read(path: Path) -> object:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(64 * 1024)
    except OSError as error:
        raise ChronError(
            f'cannot read key "{path}": {error.strerror}; put it there, or set "checkpoints.key"'
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ChronError(f'key "{path}" can be read by others (mode {mode & 0o777:04o}); run "chmod 600 {path}"')
    try:
        return serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ChronError(f'key "{path}" is not a private key in PEM without a password; give another file') from error


def make_key(path: Path, *, second: bool = False) -> None:
    """Make a new key in a new file that only its owner can read; raises ChronError when there is one.

    With `second`, one that can stand beside the key in use.
    """
    key = MLDSA44PrivateKey.generate() if second else Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    making = path.with_name(path.name + ".making")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        making.unlink(missing_ok=True)
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Only a whole key gets the name: half of one, left by a crash, would stop every start from then on.
        path.hardlink_to(making)
        making.unlink()
        _sync_folder(path)
    except OSError as error:
        raise ChronError(
            f'cannot write key "{path}": {error.strerror}; make its folder writable for the gate'
        ) from error


def next_key(path: Path) -> Path:
    """Where the key is that is to follow; there only while one follows another."""
    return path.with_name(path.name + ".next")


def promote(path: Path) -> None:
    """Put the key that was to follow in the place of the one in use; the old one is kept aside, it may be needed."""
    old = path.with_name(path.name + ".old")
    try:
        with suppress(FileNotFoundError):
            old.unlink()
        with suppress(FileNotFoundError):
            old.hardlink_to(path)  # a second name, not a new place: at no moment is there no key under the first
        next_key(path).replace(path)
        _sync_folder(path)
    except OSError as error:
        raise ChronError(
            f'cannot write key "{path}": {error.strerror}; make its folder writable for the gate'
        ) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
