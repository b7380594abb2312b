"""What the signatures in a log prove, seen while its records go by in order.

    evidence = Evidence(name, pinned=...)         for a whole log, or continued behind an old checkpoint
    fault = evidence.look(rows)                    "" while all holds; else at evidence.at, the record to blame
    evidence.covered                               so many records stand under a signature that counts

Every checkpoint must be over exactly the records before it, give their root, and be signed by the keys that are in
force there; keys follow each other by records that the key before signed. Which signatures count: those of the key
that the caller pins, and of the keys that it handed over to; without a pinned key all do, and prove only that
somebody with a key wrote the log.

Beside them it keeps what other records say that a log must be held against: texts that were kept, bodies that went.
Found here, in what was hashed, they are found whatever an index says.
"""

from collections.abc import Iterable, Sequence

from chron.body import Fields, read_body
from chron.chain import Row
from chron.emptied import Span, read_span
from chron.errors import ChronError, NotOursError
from chron.merkle import Frontier
from chron.notes import ED25519, VerifierKey, parse_note, verified
from chron.schema import EMPTYING
from chron.signed import CHECKPOINT, KEY, read_checkpoint
from chron.signing import ROTATED, read_key_record

TEXT = "text"
"""The kind of the records that keep texts."""
_MARK = b'"kind":"'
"""In a flat object a bare quote is never inside a string: behind these bytes stands the record's own kind."""
_MARK_BYTES = len(_MARK)
_KINDS = frozenset(kind[:3].encode() for kind in (CHECKPOINT, KEY, TEXT, *EMPTYING))
"""How the kinds that are looked at begin; three letters, because this is asked of every record."""


class Evidence:
    """The tree and the keys of a log, as far as it was looked at."""

    def __init__(
        self,
        name: str,
        pinned: VerifierKey | None = None,
        *,
        tree: Frontier | None = None,
        keys: tuple[VerifierKey, ...] = (),
        expected: Iterable[int] = (),
    ) -> None:
        self._name, self._pinned = name, pinned
        self._tree = tree or Frontier()
        self._keys = keys
        # Continued behind a checkpoint that the caller has verified: then its keys are the caller's too.
        self._counts = pinned is None or bool(keys)
        self._expected = sorted(size for size in set(expected) if size >= self._tree.size)
        self.roots: dict[int, bytes] = {}
        """The roots at the sizes that were expected."""
        self.covered = self._tree.size
        self.checkpoints: dict[int, bytes] = {}
        """The roots of all checkpoints by their sizes, in order."""
        self.all_keys = list(keys)
        """Every key that was ever in force, oldest first."""
        self._counted = [pinned] if pinned else []
        """The pinned key and those that it handed over to."""
        self.texts: dict[int, Fields] = {}
        """The records that kept a text, by number."""
        self.spans: list[Span] = []
        """Whose bodies may be gone by records of this log."""
        self.at = 0
        self._note_root()

    def look(self, rows: Sequence[Row]) -> str:
        """Take notice of the rows that follow; what is wrong with one of them, "" when nothing is."""
        leaves = [row[3] for row in rows]
        done = 0
        for index, row in enumerate(rows):
            body = row[2]
            if body is None or body[(at := body.find(_MARK) + _MARK_BYTES) : at + 3] not in _KINDS:
                continue
            self._extend(leaves[done:index])
            done = index
            self.at = row[0]
            try:
                self._judge(row[0], read_body(body))
            except ChronError as error:
                return str(error)
        self._extend(leaves[done:])
        return ""

    def introduce(self, keys: Iterable[Fields]) -> None:
        """Take the records of the keys that came before the first row; raises NotOursError when one is none."""
        try:
            for fields in keys:
                self._judge(0, {**fields, "kind": KEY})
        except ChronError as error:
            raise NotOursError(str(error)) from error

    @property
    def counts(self) -> bool:
        """Whether a signature by the key in force now counts."""
        return self._counts and bool(self._keys)

    def counts_for(self, note: str) -> bool:
        """Whether a checkpoint is signed by a key that counts; without a pinned key all do."""
        if self._pinned is None or not note:
            return self._pinned is None
        try:
            verified(note, self._counted)
        except ChronError:
            return False
        return True

    def is_signed(self, text: str) -> bool:
        """Whether all keys that are in force now signed a checkpoint."""
        note = parse_note(text)
        return bool(self._keys) and all(key.signed(note, note.checkpoint()) for key in self._keys)

    def loose(self, records: int, covered: int) -> int:
        """How many of so many records are behind those covered; not the checkpoints there, they hide nothing."""
        return records - covered - sum(size >= covered for size in self.checkpoints)

    def _judge(self, seq: int, fields: Fields) -> None:
        if fields.get("kind") == KEY:
            known = read_key_record(fields, self._name, self._keys[0] if self._keys else None)
            self._keys = known.verifier_keys()
            self.all_keys += self._keys
            if self._pinned is not None:
                # An ML-DSA key signs no other key: who trusts it alone has to be told of the next one.
                handed_over = self._counts and known.event == ROTATED and self._pinned.type == ED25519
                self._counts = handed_over or self._pinned.vkey in (known.vkey, known.vkey_second)
                self._counted += self._keys[:1] if handed_over else []
        elif fields.get("kind") == CHECKPOINT:
            self._judge_checkpoint(seq, fields)
        elif fields.get("kind") == TEXT:
            self.texts[seq] = fields
        elif fields.get("kind") in EMPTYING:
            self.spans.append(read_span(fields))

    def _judge_checkpoint(self, seq: int, fields: Fields) -> None:
        stored = read_checkpoint(seq, fields, self._name)
        if stored.checkpoint.root != self._tree.root():
            raise ChronError("its checkpoint is over other records than those before it")
        stored.require_signed(self._keys)
        self.checkpoints[stored.checkpoint.size] = stored.checkpoint.root
        if self._counts:
            self.covered = stored.checkpoint.size

    def _extend(self, leaves: Sequence[bytes]) -> None:
        while self._expected and self._expected[0] - self._tree.size <= len(leaves):
            split = self._expected[0] - self._tree.size
            self._tree.extend(leaves[:split])
            leaves = leaves[split:]
            self._note_root()
        self._tree.extend(leaves)

    def _note_root(self) -> None:
        while self._expected and self._expected[0] == self._tree.size:
            self.roots[self._expected.pop(0)] = self._tree.root()
