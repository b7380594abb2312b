"""Decisions about requests of which nobody knows what came: the log says which they are, and nothing is guessed.

    open       no outcome yet: under way in a gate that runs, or left by one that was killed and not started since
    in doubt   the gate was killed before the outcome was known; the next start, or the writer of a shared log, wrote
               that down

Both are found without reading the whole log, as recovery does (`chron.recovery`): each opening says up to where every
decision has an outcome, and writes those in doubt right behind itself. So does the record of a gate that is gone.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from chron.errors import ChronError
from chron.reading import FieldValue, connect
from chron.recovery import decisions_without_outcome, resolved_to
from chron.sources import Connection, Source

_OPENINGS = """
SELECT seq, CAST(body->>'$.in_doubt' AS BIGINT) FROM chron
WHERE kind = 'lifecycle' AND body->>'$.event' IN ('open', 'gone')
  AND CAST(body->>'$.in_doubt' AS BIGINT) > 0 ORDER BY seq"""
_DOUBTED = """
SELECT ref FROM chron AS d WHERE seq > ? AND seq <= ? AND kind = 'outcome' AND body->>'$.result' = 'in_doubt'
  AND NOT EXISTS (
    SELECT 1 FROM chron AS o WHERE o.ref = d.ref AND o.kind = 'outcome' AND o.body->>'$.result' != 'in_doubt')
ORDER BY seq"""
_BODY = "SELECT body FROM chron WHERE id = ?"
_LAST_SEGMENT = "SELECT body FROM chron WHERE ref = ? AND kind = 'segment' ORDER BY seq DESC LIMIT 1"

type Fields = Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One decision without a known outcome."""

    state: Literal["open", "in doubt"]
    id: str
    decision: Fields
    """Empty when the record was erased."""
    segment: Fields
    """How far it was when that was last told; empty when it never was."""


def doubts(path: Source) -> Iterator[Doubt]:
    """Yield the decisions in doubt, and then those that are open, each oldest first."""
    with closing(connect(path)) as connection:
        try:
            for seq, count in connection.execute(_OPENINGS).fetchall():
                for (id_,) in connection.execute(_DOUBTED, (seq, seq + count)).fetchall():
                    yield _doubt(connection, "in doubt", id_)
            for _, id_ in decisions_without_outcome(connection, resolved_to(connection)):
                yield _doubt(connection, "open", id_)
        except sqlite3.Error as error:
            raise ChronError(f'cannot read chron "{path}": {error}; run "claiim chron verify {path}"') from error


def _doubt(connection: Connection, state: Literal["open", "in doubt"], id_: str) -> Doubt:
    found = (connection.execute(statement, (id_,)).fetchone() for statement in (_BODY, _LAST_SEGMENT))
    decision, segment = (json.loads(row[0]) if row and row[0] else {} for row in found)
    return Doubt(state, id_, decision, segment)
