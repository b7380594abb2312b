"""When the writer signs how far the log has come, and with which key; owned by the writer's thread.

A checkpoint is due after so many records, after so long when there are new ones, and once an hour in any case, so
that silence shows too. It goes to disk with the records that are being written anyhow: signing takes some 50 us, and
no decision waits for a sync of its own. What keeps a log from being continued when it is not the one we signed:

    the key is not the one that signed it                    -> put that key back
    a head noted elsewhere is of another log, or of another history of this one, or of more records than there are
        -> the log was replaced, rewritten, cut, or an old copy was restored: nothing is appended to it

    chron "state/chron.db" ends at record 900, but anchor "file /mnt/worm/anchor" has seen 1200; restore the newest ...
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chron.batch import Draft
from chron.body import Fields
from chron.errors import ChronError
from chron.ledger import NewRow
from chron.merkle import Frontier
from chron.notes import Checkpoint, parse_note, verified
from chron.signed import CHECKPOINT, KEY, SignedLog, StoredCheckpoint, checkpoint_fields, log_name
from chron.signing import CREATED, REPLACED, ROTATED, Signer, make_key, next_key, promote, read_signer
from chron.sources import OpenLog

_LEAVES_PER_READ = 20_000


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a checkpoint is signed."""

    every_records: int = 1000
    every_s: float = 60.0
    """After the first record that is new."""
    idle_s: float = 3600.0
    """When there are none: a log that stopped is told from one that is quiet."""


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint that somebody outside has kept."""

    source: str
    note: str


def _ignore(_: str) -> None:
    """Nobody asked."""


@dataclass(frozen=True, slots=True)
class Signing:
    """With what and how often a log is signed, and what is known of it elsewhere."""

    key: Path
    """The key's file; made when the log has no key yet."""
    second: Path | None = None
    """An ML-DSA-44 key's, if the operator has one."""
    cadence: Cadence = Cadence()
    heads: Sequence[Head] = ()
    told: Callable[[str], None] = _ignore
    """Called in the writer's thread with each checkpoint's note, once it is on disk."""
    lost: bool = False
    """The key that signed so far is lost, and another one goes on: every verifier will see the break."""
    monotonic_s: Callable[[], float] = time.monotonic


class Checkpoints:
    """The tree over the log so far, and the key that signs it."""

    def __init__(self, signing: Signing, origin: str) -> None:
        self._signing, self._origin = signing, origin
        self._signer: Signer | None = None
        self._following: Signer | None = None
        """The key that takes over with the next record of kind `key`."""
        self._event = CREATED
        """How the key is to be made known."""
        self._introduced = False
        self._tree = Frontier()
        self._signed_seq = 0
        """Of the last checkpoint."""
        self._quiet_since_s = self._waiting_since_s = signing.monotonic_s()
        """When the last checkpoint was signed; when the first record behind it came."""
        self.name = ""
        self.newest = ""
        """The note of the last checkpoint."""

    def restore(self, ledger: OpenLog) -> None:
        """Continue the tree where the log ends; raises ChronError when it is not the log that was signed. Blocks."""
        try:
            log = SignedLog(ledger.connection)
            self.name = log.name
            self._find_key(log)
            newest = self._find_tree(log, ledger.seq)
            for head in self._signing.heads:
                _require_continued(_seen_as(head, log, ledger.seq), newest, log, head.source)
        except ChronError as error:
            raise ChronError(f'chron "{ledger.path}": {error}') from error
        except (sqlite3.Error, ValueError) as error:
            raise ChronError(f'chron "{ledger.path}" cannot be read: {error}; verify it') from error

    def _find_key(self, log: SignedLog) -> None:
        path, known = self._signing.key, log.key_record()
        self._event = CREATED if known is None else ROTATED
        if known is not None:
            _finish_rotation(path, log.name, known.vkey)
        if not path.exists() and (known is None or self._signing.lost):
            make_key(path)
        self._signer, self._following = read_signer(path, self._signing.second), None
        vkeys = [*(key.vkey for key in self._signer.verifier_keys(log.name)), ""] if log.name else [""]
        if known is not None and vkeys[0] != known.vkey:
            if not self._signing.lost:
                raise ChronError(
                    f'key "{path}" is not the one that signs this log ({known.vkey:.120}); put that one back, or, if '
                    'it is lost for good, run "claiim chron key rotate --lost"'
                )
            self._event = REPLACED
        self._introduced = known is not None and vkeys[:2] == [known.vkey, known.vkey_second]

    def _find_tree(self, log: SignedLog, size: int) -> StoredCheckpoint | None:
        newest = log.newest_checkpoint()
        self._tree, self._signed_seq, self.newest = Frontier(), 0, ""
        if newest is not None:
            newest.require_signed(log.keys(newest.seq))
            self._tree, self._signed_seq, self.newest = newest.frontier.copy(), newest.seq, newest.note
        _grow(self._tree, log, size)
        return newest

    # --- in the writer's thread ---

    def introduction(self) -> Fields | None:
        """The record that makes the key known, None when the log knows it."""
        if self._signer is None or self._introduced:
            return None
        return self._signer.introduction(self.name, self._event)

    def rotation(self) -> Fields:
        """Make the next key, and the record with which it takes over; blocks. Any thread."""
        if self._signer is None or not self._introduced:
            raise ChronError("this log is not signed; open it with a key first")
        following = next_key(self._signing.key)
        following.unlink(missing_ok=True)
        make_key(following)
        self._following = read_signer(following, self._signing.second)
        return self._following.introduction(self.name, ROTATED, self._signer)

    def refuses(self, drafts: Sequence[Draft]) -> str:
        """Why these drafts may not be written: a key or a checkpoint that is not the one that is due here."""
        for _, _, kind, fields in drafts:
            if kind == CHECKPOINT:
                return "only the Chron itself signs checkpoints"
            if kind == KEY:
                signer = self._signer if self._following is None else self._following
                vkeys = [key.vkey for key in signer.verifier_keys(self.name)] if signer else []
                if fields.get("vkey") not in vkeys[:1] or (self._introduced and self._following is None):
                    return "the key was changed meanwhile; try again"
        return ""

    def wait_s(self) -> float | None:
        """How long until a checkpoint is due if nothing is recorded meanwhile; None when none will be."""
        if not self._introduced:
            return None
        cadence = self._signing.cadence
        due_s = self._waiting_since_s + cadence.every_s if self._unsigned() else self._quiet_since_s + cadence.idle_s
        return max(0.0, due_s - self._signing.monotonic_s())

    def due(self) -> bool:
        """Whether one should be written before what comes next."""
        return self._introduced and (self._unsigned() >= self._signing.cadence.every_records or self.wait_s() == 0.0)

    def _unsigned(self) -> int:
        """Records behind the last checkpoint."""
        return self._tree.size - self._signed_seq

    def pending(self) -> bool:
        """Whether there is anything that no checkpoint covers."""
        return self._introduced and self._unsigned() > 0

    def fields(self, at_s: int) -> Fields | None:
        """The record of a checkpoint over all that is on disk; None while the log does not know the key."""
        if self._signer is None or not self._introduced:
            return None
        note = self._signer.checkpoint(Checkpoint(self.name, self._tree.size, self._tree.root()), at_s)
        return checkpoint_fields(note, self._tree)

    def took(self, rows: Sequence[NewRow], drafts: Iterable[Draft]) -> None:
        """Take notice of rows that are now on disk."""
        if rows[0][0] == 1:
            self.name = log_name(self._origin, rows[0][1])
        if not self._unsigned():
            self._waiting_since_s = self._signing.monotonic_s()
        self._tree.extend([row[3] for row in rows])
        for row, (_, _, kind, fields) in zip(rows, drafts, strict=True):
            if kind == CHECKPOINT:
                self._signed_seq = row[0]
                self._quiet_since_s = self._waiting_since_s = self._signing.monotonic_s()
                self.newest = str(fields["note"])
                self._signing.told(self.newest)
            elif kind == KEY:
                self._introduced = True
                if self._following is not None:
                    promote(self._signing.key)
                    self._signer, self._following = self._following, None


def _finish_rotation(path: Path, name: str, vkey: str) -> None:
    """When a change of keys was cut short, do what the log says has happened."""
    following = next_key(path)
    if not following.exists():
        return
    if read_signer(following).verifier_keys(name)[0].vkey == vkey:
        promote(path)
    else:
        following.unlink()


def _grow(tree: Frontier, log: SignedLog, size: int) -> None:
    while tree.size < size:
        leaves = log.leaves(tree.size, min(tree.size + _LEAVES_PER_READ, size))
        if not leaves:
            raise ChronError(f"the log does not verify at record {tree.size + 1}: it is missing")
        tree.extend(leaves)


def _seen_as(head: Head, log: SignedLog, records: int) -> StoredCheckpoint:
    """The checkpoint in the log that somebody outside has kept; raises ChronError when it is not there."""
    try:
        seen = parse_note(head.note).checkpoint()
    except ChronError as error:
        raise ChronError(f"anchor {head.source} holds no checkpoint: {error}; look who wrote there") from error
    if seen.name != log.name:
        named = f'"{log.name}"' if log.name else "a new one"
        remedy = "restore that log, or give this one an anchor of its own"
        raise ChronError(f'anchor {head.source} has seen log "{seen.name}", and this is {named}; {remedy}')
    if seen.size > records:
        remedy = "restore the newest copy; what is missing was cut off, or an old copy was put in its place"
        raise ChronError(f"it ends at record {records}, but anchor {head.source} has seen {seen.size}; {remedy}")
    ours = log.checkpoint_of(seen.size)
    if ours is None or ours.checkpoint != seen:
        raise _another_history(head.source, seen.size)
    verified(head.note, log.keys(ours.seq))
    return ours


def _require_continued(seen: StoredCheckpoint, newest: StoredCheckpoint | None, log: SignedLog, source: str) -> None:
    """Raise ChronError unless the tree that is continued here grew out of the one that was seen.

    That its record stands in the log is not enough: who rewrites a log can put it there.
    """
    tree = seen.frontier.copy()
    end = newest.checkpoint if newest else seen.checkpoint
    _grow(tree, log, end.size)
    if tree.root() != end.root:
        raise _another_history(source, seen.checkpoint.size)


def _another_history(source: str, records: int) -> ChronError:
    remedy = "one of them was rewritten; keep both as evidence and start a new Chron"
    return ChronError(f"anchor {source} has seen another history of its first {records} records; {remedy}")
