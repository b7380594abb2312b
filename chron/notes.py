"""Signed notes and checkpoints as C2SP has them: https://c2sp.org/signed-note, /tlog-checkpoint and /tlog-cosignature.

A checkpoint says how large a log is and what the root of its Merkle tree is then; its signature makes that a promise:

    claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p        the log's name
    1204                                          how many records
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=  the root over them

    — claiim/chr_01k9z3v5xq8w7e6r5t4y3u2i1p Az3grlgtzPIC...   key id (4 bytes) and signature, base64

A public key is written `<name>+<key id>+<base64 of type and key>`. Two types are known: Ed25519 (0x01), which signs
the text, and ML-DSA-44 cosignatures (0x06), which sign the same facts with the time, for the day when Ed25519 falls.
Lines of other keys are ignored, as the note's specification demands; a line of a known key that does not fit makes
the whole note worthless. Pure.

    ChronError: "head.note" is not a checkpoint: no signature line; give one that "claiim chron checkpoint" printed
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from chron.chain import HASH_BYTES
from chron.errors import ChronError
from chron.printable import printable

ED25519 = 0x01
ML_DSA_44 = 0x06
"""c2sp.org/tlog-cosignature, "Format"."""

MAX_NOTE_CHARS = 64 * 1024
MAX_SIGNATURES = 16  # c2sp.org/signed-note, "Format": at least that many

_KEY_BYTES = {ED25519: 32, ML_DSA_44: 1312}  # RFC 8032 section 5.1.5; FIPS 204, table 2
_LABEL = b"subtree/v1\n\x00"  # c2sp.org/tlog-cosignature, "ML-DSA-44 signed message"
_NAME = re.compile(r"[^\s+]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

type PublicKey = Ed25519PublicKey | MLDSA44PublicKey


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How large a log is, and the root over all its records."""

    name: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.name}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def cosigned(self, signer: str, at_s: int) -> bytes:
        """What an ML-DSA-44 key signs: `cosigned_message` of c2sp.org/tlog-cosignature, of the whole tree."""
        names = [bytes([len(name)]) + name for name in (signer.encode(), self.name.encode())]
        numbers = [at_s.to_bytes(8), (0).to_bytes(8) + self.size.to_bytes(8)]
        return _LABEL + names[0] + numbers[0] + names[1] + numbers[1] + self.root


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line."""

    name: str
    key_id: bytes
    data: bytes

    @property
    def line(self) -> str:
        """As it stands in a note."""
        return f"\N{EM DASH} {self.name} {base64.b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under."""

    name: str
    key: PublicKey

    @property
    def type(self) -> int:
        """ED25519 or ML_DSA_44."""
        return ED25519 if isinstance(self.key, Ed25519PublicKey) else ML_DSA_44

    @property
    def id(self) -> bytes:
        """Four bytes that find the key's line in a note; no more than that."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.key.public_bytes_raw()).digest()[:4]

    @property
    def vkey(self) -> str:
        """As C2SP writes it, and `--key` reads it."""
        material = base64.b64encode(bytes([self.type]) + self.key.public_bytes_raw()).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    def signed(self, note: "Note", checkpoint: Checkpoint | None = None) -> bool:
        """Whether the note holds a good signature of this key; a bad one is never outweighed by another."""
        mine = [line for line in note.signatures if (line.name, line.key_id) == (self.name, self.id)]
        return bool(mine) and all(self._fits(line.data, note.text, checkpoint) for line in mine)

    def _fits(self, data: bytes, text: str, checkpoint: Checkpoint | None) -> bool:
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(data, text.encode())
            elif checkpoint is None or len(data) < 8:
                return False  # such a key signs checkpoints and nothing else
            else:
                at_s = int.from_bytes(data[:8])
                self.key.verify(data[8:], checkpoint.cosigned(self.name, at_s))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Note:
    """A text and who signed it; worth nothing until a signature was verified."""

    text: str
    signatures: Sequence[Signature]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)

    def checkpoint(self) -> Checkpoint:
        """What the text says; raises ChronError when it is no checkpoint."""
        lines = self.text.split("\n")
        if len(lines) != 4 or not _NAME.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
            raise ChronError("its text is not name, size and root")
        root = decoded(lines[2])
        if len(root) != HASH_BYTES:
            raise ChronError("its root is not a SHA-256 in base64")
        return Checkpoint(lines[0], int(lines[1]), root)


def parse_note(text: str) -> Note:
    """Read a signed note; raises ChronError for anything that is not written exactly like one."""
    if len(text) > MAX_NOTE_CHARS or _CONTROL.search(text):
        raise ChronError("it is too long, or holds control characters")
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise ChronError("no signature line")
    signatures = [_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise ChronError(f"more than {MAX_SIGNATURES} signatures")
    return Note(body + "\n", signatures)


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    data = decoded(encoded)
    if dash != "\N{EM DASH}" or not _NAME.fullmatch(name) or len(data) <= 4:
        raise ChronError("a signature line is not a dash, a name and base64")
    return Signature(name, data[:4], data[4:])


class NewestNotes:
    """Of texts that hold one checkpoint after the other, the one over most records of each log; torn ones do not count.

    Not the last: who can do no more than append to an anchor would hide what was cut off by an old one.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}
        self._last = ""

    def add(self, text: str) -> None:
        """Look through a text; of two that follow each other the end of the first may be the second's beginning."""
        parts, last = text.split("\n\n"), ""
        for end in range(len(parts) - 2, 0, -1):
            if last and not self._may_be_newer(parts[end - 1]):
                continue
            note = f"{parts[end - 1]}\n\n{parts[end]}\n"
            try:
                said = parse_note(note).checkpoint()
            except ChronError:
                continue
            last = last or said.name
            if said.size > self._size(said.name):
                self._found[said.name] = said.size, note
        self._last = last or self._last

    @property
    def note(self) -> str | None:
        """The newest of the log that the last one is of; None when there was none."""
        return self._found[self._last][1] if self._last else None

    def _size(self, name: str) -> int:
        return self._found[name][0] if name in self._found else -1

    def _may_be_newer(self, text: str) -> bool:
        """Whether a text could be that of a checkpoint over more records; asked of each, so without reading it."""
        name, _, rest = text.partition("\n")
        size = rest.partition("\n")[0]
        return _SIZE.fullmatch(size) is not None and int(size) > self._size(name)


def last_note(text: str) -> str | None:
    """The newest checkpoint of a text, as `NewestNotes` finds it."""
    notes = NewestNotes()
    notes.add(text)
    return notes.note


def parse_vkey(text: str) -> VerifierKey:
    """Read a public key as C2SP writes it; raises ChronError for anything else."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    material = decoded(encoded)
    if _NAME.fullmatch(name) and material and len(material) == 1 + _KEY_BYTES.get(material[0], -1):
        load = Ed25519PublicKey if material[0] == ED25519 else MLDSA44PublicKey
        try:
            key = VerifierKey(name, load.from_public_bytes(material[1:]))
        except ValueError:
            key = None
        if key is not None and key.id.hex() == key_id:
            return key
    raise ChronError(
        f'"{printable(text[:60])}" is not a verifier key; give the line that "claiim chron key show" printed'
    )


def verified(text: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Return what a signed checkpoint says, once any of the keys vouches for it; raises ChronError if none does."""
    note = parse_note(text)
    checkpoint = note.checkpoint()
    lines = {(line.name, line.key_id) for line in note.signatures}
    known = [key for key in keys if (key.name, key.id) in lines]
    if not known:
        raise ChronError("no signature on it is by a key that is known here")
    if not all(key.signed(note, checkpoint) for key in known):
        raise ChronError("its signature does not fit its text")
    return checkpoint


def decoded(text: str) -> bytes:
    """Bytes of base64 that is written in the one right way; b"" otherwise."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    # A decoder ignores the last bits of the last letter: a second spelling, that no hash of ours would tell apart.
    return data if base64.b64encode(data).decode() == text else b""
