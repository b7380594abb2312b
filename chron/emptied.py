"""Bodies that went, and the records that say why: which may go, and whether all that went were named.

A record of kind `erasure` (somebody's right to it), `archive` (moved into a sealed segment) or `prune` (its time is
over) names a span of records, `first` to `last`, and in `kept` those inside of it that stay: checkpoints, keys, texts
and whatever else the log itself stands on. So each body that is missing can be held against what was announced.

    {"kind":"archive","first":1,"last":1204,"kept":"1,2,3,1001","segment":"chron-1-1204.db", ...}
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from chron import schema
from chron.body import Fields, read_body
from chron.errors import NotOursError
from chron.reading import connect
from chron.recovery import undecided
from chron.sources import Connection, Source
from chron.times import time_text

MOST_KEPT = 4000
"""Records that stay, in one span: their list must fit into a body."""

GONE = "its body is gone, and no record says why"

type Holes = list[tuple[int, int]]
"""Spans of records without a body, in order."""

_KEPT = f"""
SELECT seq FROM chron WHERE seq BETWEEN ? AND ? AND body IS NOT NULL
AND kind NOT IN ({schema.listed(schema.EMPTIABLE)}) ORDER BY seq"""  # noqa: S608 -- all texts are ours
_NEWER = "SELECT 1 FROM chron WHERE seq BETWEEN ? AND ? AND ts >= ? AND unixepoch(ts) >= unixepoch(?) LIMIT 1"
_SOME = f"SELECT 1 FROM chron WHERE seq BETWEEN ? AND ? AND kind IN ({schema.listed(schema.EMPTIABLE)}) LIMIT 1"  # noqa: S608
_REASONS = f"""
SELECT body FROM chron WHERE kind IN ({schema.listed(schema.EMPTYING)}) AND {schema.SELDOM} ORDER BY seq"""  # noqa: S608


LATER = "SELECT body FROM later"
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


def plan(path: Source, spans: Iterable[tuple[int, int]]) -> list[Span]:
    """The spans with what stays in each, cut where a list of that would be too long for one record."""
    with closing(connect(path)) as connection:
        return [cut for span in spans for cut in _cut(connection, *span)]


def _cut(connection: Connection, first: int, last: int) -> Iterator[Span]:
    kept = [seq for (seq,) in connection.execute(_KEPT, (first, last))]
    while len(kept) > MOST_KEPT:
        end = kept[MOST_KEPT] - 1
        yield Span(first, end, tuple(kept[:MOST_KEPT]))
        first, kept = end + 1, kept[MOST_KEPT:]
    yield Span(first, last, tuple(kept))


def why_needed(path: Source, first: int, last: int, before: datetime) -> str:
    """Why the bodies of a span cannot go yet; "" when some can and none was written since `before`."""
    with closing(connect(path)) as connection:
        if last > (connection.execute("SELECT max(seq) FROM chron").fetchone()[0] or 0) or not 1 <= first <= last:
            return f"there are no records {first} to {last}"
        ts = time_text(before)
        if connection.execute(_NEWER, (first, last, ts, ts)).fetchone():
            return f"a record in it was written after {ts} and still counts for limits and approvals"
        if undecided(connection, first, last):
            return "a request in it is under way, or nobody knows yet what came of it"
        moved = any(
            each.kind == "archive" and each.first <= last and first <= each.last for each in reasons(connection)
        )
        if not moved and not connection.execute(_SOME, (first, last)).fetchone():
            return "nothing in it can go: it is gone, or is what the log itself stands on"
        return ""


def why_gone(path: Source, seq: int) -> dict[str, str | int]:
    """The record under which the body of another went; nothing when there is none.

    Of several it is the newest, and never one that leads to a segment when another says that the body is gone for good.
    """
    with closing(connect(path)) as connection:
        said = [json.loads(body) for (body,) in connection.execute(_REASONS)]
    found = [each for each in said if unexplained([(seq, seq)], [read_span(each)]) is None]
    return max(found, key=lambda each: (each["kind"] != "archive", each["seq"]), default={})


def reasons(connection: Connection) -> list[Span]:
    """Every span that the log names, oldest record first."""
    return [*(read_span(json.loads(body)) for (body,) in connection.execute(_REASONS)), *told_later(connection)]


def told_later(connection: Connection) -> list[Span]:
    """What a segment says of records behind it that let bodies of its own go; nothing in a log."""
    return [read_span(fields) for _, fields in later_bodies(connection)]


def later_bodies(connection: Connection) -> list[tuple[str, Fields]]:
    """The records that `told_later` reads, each as it is kept there and as it is read."""
    # In a log nothing speaks for this table: if it were asked, whoever takes a body away could say so here.
    if not (schema.has_table(connection, "segment") and schema.has_table(connection, "later")):
        return []
    return [(body, read_body(body)) for (body,) in connection.execute(LATER).fetchall()]


def read_span(fields: Mapping[str, object]) -> Span:
    """The span that a record names; raises NotOursError when it names none."""
    try:
        kept = tuple(int(seq) for seq in str(fields.get("kept", "")).split(",") if seq)
        first, last = int(str(fields["first"])), int(str(fields["last"]))
        if not (0 < first <= last < 2**62 and all(first <= seq <= last for seq in kept) and "kind" in fields):
            raise ValueError("no span")
    except (KeyError, ValueError) as error:
        raise NotOursError("it does not say of which records the bodies went") from error
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
