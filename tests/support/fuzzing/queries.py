"""The filter language of the log: read, written again, and asked of SQLite, which must answer as the meaning says."""

import re
import sqlite3
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256

from chron import schema
from chron.body import canonical
from chron.conditions import condition
from chron.errors import FilterError
from chron.filtering import MAX_CHARS, MAX_TERMS, All, Compare, Filter, Not, Some, Word, parse_filter
from support.filters import holds
from support.fuzzing.harness import Harness, refusal, text_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
_FAULT = r"filter:[0-9]+:[0-9]+: [^\n]+; [^\n]+"
_BODIES: tuple[dict[str, str | int | bool], ...] = (
    {
        "kind": "decision",
        "agent": "deploy-bot",
        "outcome": "DENY",
        "action": "k8s:pods",
        "status": 403,
        "host": "a.test",
    },
    {"kind": "decision", "agent": "Deploy", "outcome": "ALLOW", "reason": 'say "x" é', "port": 443, "custom": True},
    {"kind": "outcome", "ref": "chr_1", "result": "sent", "status": 200, "custom": "*", "error": "a[b]?\\"},
    {"kind": "lifecycle", "event": "start", "custom": 12, "target": ""},
)


def query(data: bytes) -> str:
    """The whole input is a filter."""
    try:
        asked = parse_filter(text_of(data), NOW)
    except FilterError as error:
        return refusal(error, _FAULT)
    assert _terms(asked) <= 4 * MAX_TERMS
    said = _said(asked)
    # Quotes make it longer, and a time that was a span; terms and levels it has no more than what was asked.
    if len(said) <= MAX_CHARS:
        assert parse_filter(said, NOW) == asked, said
    # Half a character cannot be bound, and text_of never makes one.
    statement = condition(asked)
    connection, records = _log()
    found = [row[0] for row in connection.execute(f"SELECT seq FROM chron WHERE {statement.sql}", statement.values)]
    assert sorted(found) == [seq for seq, fields in records.items() if holds(asked, fields)]
    return "read"


def _said(asked: Filter) -> str:
    """The filter in as few terms and levels as it can be written in; each "not" and each parenthesis is one as well."""
    match asked:
        case All():
            return " ".join(_inside(each, All, Some) for each in asked.inner)
        case Some():
            return " or ".join(_inside(each, Some) for each in asked.inner)
        case Not(Compare(_, "=" | "~") as compared):
            return _compared(compared, negated=True)
        case Not():
            return f"not {_inside(asked.inner, All, Some)}"
        case Word():
            return _quoted(asked.text)
        case Compare():
            return _compared(asked)


def _inside(asked: Filter, *enclosed: type[Filter]) -> str:
    said = _said(asked)
    return f"({said})" if isinstance(asked, enclosed) else said


def _compared(asked: Compare, *, negated: bool = False) -> str:
    name = asked.field if asked.field in _listed() else f".{asked.field}"
    if len(asked.values) > 1:
        return f"{name} {'not ' * negated}in ({','.join(map(_quoted, asked.values))})"
    return f"{name}{'!' * negated}{asked.sign}{_quoted(asked.values[0])}"


@cache
def _listed() -> frozenset[str]:
    from chron.fieldnames import FIELDS

    return frozenset(FIELDS)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _terms(asked: Filter) -> int:
    match asked:
        case All() | Some():
            return sum(map(_terms, asked.inner), 1)
        case Not():
            return 1 + _terms(asked.inner)
        case Compare():
            return len(asked.values)
        case Word():
            return 1


@cache
def _log() -> tuple[sqlite3.Connection, dict[int, dict[str, object]]]:
    """A log in memory, without its guards: the rows and columns are what is asked."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    schema.create_tables(connection)
    records: dict[int, dict[str, object]] = {}
    for seq, fields in enumerate(_BODIES, 1):
        body = {**fields, "v": 1, "seq": seq, "id": f"chr_{seq}", "ts": f"2026-03-01T00:0{seq}:00.000000Z"}
        text, data = canonical(body)
        leaf = sha256(b"\0" + data).digest()
        connection.execute(
            "INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)", (seq, body["id"], text, leaf, leaf)
        )
        records[seq] = dict(body)
    return connection, records


HARNESSES = (
    Harness(
        "filter",
        query,
        (b"agent=", b" and ", b" or ", b"not ", b" in (", b")", b"!~", b">=", b"since=", b'"', b"\\", b".x=", b"24h"),
        1024,
    ),
)
