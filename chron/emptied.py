"""Bodies that went, and the records that say why: which may go, and whether all that went were named.

A record of kind `erasure` (somebody's right to it), `archive` (moved into a sealed segment) or `prune` (its time is
over) names a span of records, `first` to `last`, and in `kept` those inside of it that stay: checkpoints, keys, texts
and whatever else the log itself stands on. So each body that is missing can be held against what was announced.

    {"kind":"archive","first":1,"last":1204,"kept":"1,2,3,1001","segment":"chron-1-1204.db", ...}
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chron import schema
from chron.body import Fields
from chron.reading import connect

MOST_KEPT = 4000
"""Records that stay, in one span: their list must fit into a body."""

GONE = "its body is gone, and no record says why"

type Holes = list[tuple[int, int]]
"""Spans of records without a body, in order."""

_KEPT = f"""
SELECT seq FROM chron WHERE seq BETWEEN ? AND ? AND body IS NOT NULL
AND kind NOT IN ({schema.listed(schema.EMPTIABLE)}) ORDER BY seq"""  # noqa: S608 -- all texts are ours
_REASONS = f"""
SELECT body FROM chron WHERE kind IN ({schema.listed(schema.EMPTYING)}) AND {schema.SELDOM} ORDER BY seq"""  # noqa: S608


_HAS_LATER = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'later'"
_LATER = "SELECT body FROM later"
"""In a segment: records behind it that let bodies of its own go."""


@dataclass(frozen=True, slots=True)
class Span:
    """Records whose bodies go, but for those that stay."""

    first: int
    last: int
    kept: tuple[int, ...]
    kind: str = ""
    segment: str = ""
    """The sealed file that has the bodies; "" when they are gone for good."""

    def told(self, more: Fields) -> Fields:
        """The fields of its record."""
        return {**more, "first": self.first, "last": self.last, "kept": ",".join(map(str, self.kept))}


def plan(path: Path | str, spans: Iterable[tuple[int, int]]) -> list[Span]:
    """The spans with what stays in each, cut where a list of that would be too long for one record."""
    with closing(connect(path)) as connection:
        return [cut for span in spans for cut in _cut(connection, *span)]


def _cut(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Span]:
    kept = [seq for (seq,) in connection.execute(_KEPT, (first, last))]
    while len(kept) > MOST_KEPT:
        end = kept[MOST_KEPT] - 1
        yield Span(first, end, tuple(kept[:MOST_KEPT]))
        first, kept = end + 1, kept[MOST_KEPT:]
    yield Span(first, last, tuple(kept))


def reasons(connection: sqlite3.Connection) -> list[Span]:
    """Every span that the log names, oldest record first."""
    later = connection.execute(_LATER).fetchall() if connection.execute(_HAS_LATER).fetchone()[0] else []
    return [_read(json.loads(body)) for (body,) in [*connection.execute(_REASONS), *later]]


def _read(fields: dict[str, str | int]) -> Span:
    kept = tuple(int(seq) for seq in str(fields.get("kept", "")).split(",") if seq)
    first, last = int(fields["first"]), int(fields["last"])
    return Span(first, last, kept, str(fields["kind"]), str(fields.get("segment", "")))


def unexplained(holes: Iterable[tuple[int, int]], spans: Iterable[Span]) -> int | None:
    """The first record that has no body though none of the spans says so; None when all is announced."""
    announced = _without_kept(spans)
    for first, last in holes:
        for begin, end in announced:
            if begin <= first <= end:
                first = end + 1
        if first <= last:
            return first
    return None


def _without_kept(spans: Iterable[Span]) -> Holes:
    parts: Holes = []
    for span in spans:
        begin = span.first
        for seq in (*span.kept, span.last + 1):
            if begin < seq:
                parts.append((begin, seq - 1))
            begin = seq + 1
    return sorted(parts)


def add_holes(holes: Holes, rows: Sequence[tuple[int, str, bytes | None, bytes, bytes]]) -> None:
    """Take notice of rows, in order, that have no body."""
    for row in rows:
        if row[2] is None:
            if holes and holes[-1][1] == row[0] - 1:
                holes[-1] = (holes[-1][0], row[0])
            else:
                holes.append((row[0], row[0]))
