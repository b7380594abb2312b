"""What the last run left unsaid: found at opening, written down, never guessed.

A wire decision says "this will be forwarded"; its outcome record says what came of it. After a crash some
decisions have none, and some were recorded although nobody was told so (killed at the fsync: 20 of 29
measured runs). Both get an outcome `in_doubt` at the next start. To find them without reading the whole
log, every lifecycle record `open`, `mark` (each 100,000 records) and `close` carries `resolved_to`: all
wire decisions up to there have an outcome.
"""

from dataclasses import dataclass

from chron.sources import Connection

MARK_EVERY_RECORDS = 100_000
_MOST_TRACKED = 100_000
OF_REQUESTS = frozenset({"wire", "forward"})
"""The channels whose decisions have outcomes: requests, by whichever proxy they are forwarded."""

_LAST_BOUND = """
SELECT seq, body->>'$.event', CAST(body->>'$.resolved_to' AS BIGINT) FROM chron
WHERE kind = 'lifecycle' AND body->>'$.resolved_to' IS NOT NULL ORDER BY seq DESC LIMIT 1"""

_WITHOUT_OUTCOME = """
SELECT d.seq, d.id FROM chron AS d
WHERE d.seq > ? AND d.kind = 'decision' AND d.body->>'$.channel' IN ('wire', 'forward')
  AND NOT EXISTS (SELECT 1 FROM chron AS o WHERE o.ref = d.id AND o.kind = 'outcome')
ORDER BY d.seq"""


_SOME_WITHOUT_OUTCOME = """
SELECT 1 FROM chron AS d
WHERE d.seq BETWEEN ? AND ? AND d.kind = 'decision' AND d.body->>'$.channel' IN ('wire', 'forward')
  AND NOT EXISTS (SELECT 1 FROM chron AS o WHERE o.ref = d.id AND o.kind = 'outcome')
LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Left:
    """What the last run left behind."""

    clean: bool
    """The last record is a `close`, but for the checkpoint over it, or there is none at all."""
    in_doubt: tuple[str, ...]
    """Ids of wire decisions without an outcome, oldest first."""


def left_behind(connection: Connection, head_seq: int) -> Left:
    """Read what the last run left; reads only behind its last `resolved_to`."""
    if head_seq == 0:
        return Left(clean=True, in_doubt=())
    row = connection.execute(_LAST_BOUND).fetchone()
    seq, event, resolved_to = row or (0, "", 0)
    in_doubt = tuple(id_ for _, id_ in decisions_without_outcome(connection, resolved_to))
    last_kind = connection.execute("SELECT kind FROM chron WHERE seq = ?", (head_seq,)).fetchone()[0]
    end_seq = head_seq - 1 if last_kind == "checkpoint" else head_seq
    return Left(clean=event == "close" and seq == end_seq, in_doubt=in_doubt)


def resolved_to(connection: Connection) -> int:
    """Return up to which seq every wire decision has an outcome, as the log last said."""
    row = connection.execute(_LAST_BOUND).fetchone()
    return int(row[2]) if row else 0


def decisions_without_outcome(connection: Connection, after_seq: int) -> list[tuple[int, str]]:
    """Wire decisions behind `after_seq` that no outcome refers to: seq and id."""
    return connection.execute(_WITHOUT_OUTCOME, (after_seq,)).fetchall()


def undecided(connection: Connection, first: int, last: int) -> bool:
    """Whether a wire decision in this span has no outcome."""
    return connection.execute(_SOME_WITHOUT_OUTCOME, (first, last)).fetchone() is not None


class Unresolved:
    """The wire decisions of this run that still lack an outcome, in order."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._frozen_at: int | None = None

    def __len__(self) -> int:
        return len(self._seqs)

    def note(self, seq: int, id_: str, kind: str, fields: dict[str, str | int | bool]) -> None:
        """Take notice of a record that is now durable."""
        if kind == "outcome":
            self._seqs.pop(str(fields.get("ref")), None)
        elif kind == "decision" and fields.get("channel") in OF_REQUESTS:
            if len(self._seqs) >= _MOST_TRACKED and self._frozen_at is None:
                # Somebody never writes outcomes. Stop counting; the next opening reads from here.
                self._frozen_at = self.resolved_to(seq - 1)
            if self._frozen_at is None:
                self._seqs[id_] = seq

    def resolved_to(self, head_seq: int) -> int:
        """The last seq up to which every wire decision has an outcome."""
        if self._frozen_at is not None:
            return self._frozen_at
        return next(iter(self._seqs.values()), head_seq + 1) - 1
