"""What is handed to the writer, how a batch is built from it, and how its producers are told.

Building is pure: drafts in, rows out, each row hashed behind the one before. Telling is one wake-up per
event loop and batch, because a wake-up costs a system call and the loop is the proxy's.
"""

import asyncio
import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from chron.body import VERSION, canonical, stamp
from chron.chain import chain_hash, leaf_hash
from chron.errors import ChronError
from chron.ledger import NewRow, NewText

type Draft = tuple[str, int, str, dict[str, str | int | bool]]
"""id, time in ns, kind, fields."""
type KeptText = tuple[str, str, str, str, str]
"""kind, id, version, digest, text."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof for a producer that its record is on disk."""

    seq: int
    id: str
    hash: bytes


@dataclass(slots=True)
class Entry:
    """What one producer handed in: adjacent in the log, all or nothing."""

    drafts: Sequence[Draft]
    future: "asyncio.Future[Any] | concurrent.futures.Future[Any] | None" = None
    loop: asyncio.AbstractEventLoop | None = None
    """The loop of an asyncio future; None for a blocked thread."""
    one: bool = False
    """The future wants one receipt, not a tuple of them."""
    texts: Sequence[KeptText] = ()
    """One for each draft, when the drafts are texts to keep."""
    patient: bool = False
    """Nobody waits for it: it goes to disk with the next record that somebody waits for, or soon."""
    kept: bool = False
    """It was kept when the log could not be reached, and may have got there all the same."""
    checkpoint: bool = False
    """Asks for a checkpoint over all that was handed in before it; the writer makes the draft."""
    emptied: tuple[int, int] | None = None
    """Asks for the bodies of these records, first and last, to go; resolves with how many went."""
    people: Mapping[str, str] | None = None
    """Asks for these names of people to be kept beside the log, or, "", to go; resolves with how many are another."""


type Result = tuple[Receipt, ...] | int | ChronError
"""Receipts, how many bodies went, or why nothing was done."""


class Batch:
    """Rows that follow a head; nothing is written here."""

    def __init__(self, seq: int, before: bytes) -> None:
        self.rows: list[NewRow] = []
        self.texts: list[NewText] = []
        self.drafts: list[Draft] = []
        self.results: list[tuple[Entry, Result]] = []
        self._start = (seq, before)

    def head(self) -> tuple[int, bytes]:
        """Seq and hash of the last row."""
        return (self.rows[-1][0], self.rows[-1][4]) if self.rows else self._start

    def add(self, entry: Entry) -> None:
        """Build the entry's rows; when one of them cannot be built, the entry is refused and nobody else."""
        kept = len(self.rows)
        try:
            receipts = tuple(self._row(draft) for draft in entry.drafts)
        except ChronError as error:
            del self.rows[kept:]
            del self.drafts[kept:]
            self.results.append((entry, error))
            return
        self.texts += [(receipt.seq, *text) for receipt, text in zip(receipts, entry.texts, strict=False)]
        self.results.append((entry, receipts))

    def refuse(self, entry: Entry, reason: str) -> None:
        """Leave the entry out and tell its producer why."""
        self.results.append((entry, ChronError(reason)))

    def _row(self, draft: Draft) -> Receipt:
        id_, at_ns, kind, fields = draft
        seq, before = self.head()
        seq += 1
        text, data = canonical({**fields, "v": VERSION, "seq": seq, "id": id_, "ts": stamp(at_ns), "kind": kind})
        leaf = leaf_hash(data)
        hash_ = chain_hash(before, leaf)
        self.rows.append((seq, id_, text, leaf, hash_))
        self.drafts.append(draft)
        return Receipt(seq, id_, hash_)


def tell(results: Iterable[tuple[Entry, Result]]) -> None:
    """Resolve every producer's future, from any thread; a producer or loop that is gone is no error."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Entry, Result]]] = {}
    alone: list[tuple[Entry, Result]] = []
    for entry, result in results:
        waiting = alone if entry.loop is None else by_loop.setdefault(entry.loop, [])
        waiting.append((entry, result))
    _resolve(alone)
    for loop, waiting in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed while its record was being written
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(results: Iterable[tuple[Entry, Result]]) -> None:
    for entry, result in results:
        if entry.future is None or entry.future.done():
            continue
        if isinstance(result, ChronError):
            entry.future.set_exception(result)
        else:
            entry.future.set_result(result[0] if entry.one and isinstance(result, tuple) else result)
