"""A filter as the condition of an SQL statement; every value of the filter is bound, never written into it.

Each condition is true or false for every record and never NULL, so that "not" means what it says: it also holds for a
record that has no such field. What `=` asks of a field without an index is a piece of the body's canonical text:
`"host":"api.test"` stands in it exactly when the field has that value, because quotes inside of texts are escaped.
Finding it takes a fifth of the time of reading the body as JSON.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import assert_never

from chron import schema
from chron.filtering import All, Compare, Filter, Not, Some, Word

_INDEXED = frozenset({"id", "agent", "anchor", "action", "ref"})
"""Texts that an index finds."""
_COLUMNS = _INDEXED | {"ts", "kind", "outcome"}
_FREQUENT_KINDS = frozenset({"decision", "outcome"})
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_BEYOND = 2**62
"""A place that no log reaches."""
FIRST_SINCE = "SELECT min(+seq) FROM chron WHERE unixepoch(ts) >= unixepoch(?)"
"""The place of the first record of a time's second or of a later one: nothing before it is as late as that time.

The plus keeps SQLite from looking for the smallest seq by going through the log instead of through the index of times.
"""
_STARS = re.compile(r"\*+")


@dataclass(frozen=True, slots=True)
class Condition:
    """The text of a condition, all our own, and the values that are bound to it."""

    sql: str
    values: tuple[str | int, ...] = ()


def condition(asked: Filter) -> Condition:
    """Return the condition that holds for the records that a filter wants."""
    match asked:
        case Compare():
            return _compared(asked)
        case Word():
            return _word(asked.text)
        case Not():
            inner = condition(asked.inner)
            return Condition(f"NOT ({inner.sql})", inner.values)
        case All():
            return _joined("AND", map(condition, asked.inner), "TRUE")
        case Some():
            return _joined("OR", map(condition, asked.inner), "FALSE")
        case _:
            assert_never(asked)


def text_of(field: str) -> str:
    """An expression for a field as text, NULL where a record has none; `field` is a name that was checked."""
    if field in _COLUMNS:
        return field
    if field == "seq":
        return "CAST(seq AS TEXT)"
    # A truth value comes out of ->> as 1 or 0.
    return (
        f"CASE json_type(body, '$.{field}') WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        f"ELSE CAST(body->>'$.{field}' AS TEXT) END"
    )


def ascii_lower(text: str) -> str:
    """A text in small letters as SQLite's lower() sees it: https://www.sqlite.org/lang_corefunc.html#lower."""
    return text.translate(_LOWER)


def _compared(asked: Compare) -> Condition:
    field, sign, values = asked.field, asked.sign, asked.values
    if sign == "=":
        return _joined("OR", (_equal(field, value) for value in values), "FALSE")
    if sign == "~":
        return _joined("OR", (_like(field, value) for value in values), "FALSE")
    if field == "ts" and sign in (">", ">="):
        return _since(sign, values[0])
    if not asked.as_numbers:
        return _total(field, sign, values[0])
    if field == "seq":
        return Condition(f"seq {sign} ?", (int(values[0]),))
    # CASE, because an AND may be read in any order, and not every text is a number.
    number = f"CASE json_type(body, '$.{field}') WHEN 'integer' THEN CAST(body->>'$.{field}' AS BIGINT) {sign} ? END"
    return Condition(f"coalesce({number}, FALSE)", (int(values[0]),))


def _since(sign: str, value: str) -> Condition:
    # The second part says nothing new; by it the records before are not looked at, one by one, at all.
    first = f"seq >= coalesce(({FIRST_SINCE}), {_BEYOND})"
    return Condition(f"(ts IS NOT NULL AND ts {sign} ? AND {first})", (value, value))


def _total(field: str, sign: str, value: str) -> Condition:
    text = text_of(field)
    return Condition(f"({text} IS NOT NULL AND {text} {sign} ?)", (value,))


def _like(field: str, pattern: str) -> Condition:
    text = text_of(field)
    return Condition(f"({text} IS NOT NULL AND glob(?, {text}))", (glob(pattern),))


def _equal(field: str, value: str) -> Condition:
    if field == "seq":
        return Condition("seq = ?", (int(value),)) if _INTEGER.fullmatch(value) else Condition("FALSE")
    if field in _INDEXED:
        # Not "IS ?": that would hold for NULL too, and the index "chron_ref" has none.
        return Condition(f"({field} = ? AND {field} IS NOT NULL)", (value,))
    if field == "outcome" and value == "DENY":
        # A constant, and in this form, for the sake of the index "chron_deny".
        return Condition("(outcome = 'DENY' AND outcome IS NOT NULL)")
    if field == "kind" and value not in _FREQUENT_KINDS:
        return Condition(f"(kind = ? AND kind IS NOT NULL AND {schema.SELDOM})", (value,))
    pieces = [f'"{field}":{json.dumps(value, ensure_ascii=False)}']
    if value in ("true", "false"):
        pieces.append(f'"{field}":{value}')
    if _INTEGER.fullmatch(value):
        pieces += [f'"{field}":{value}{end}' for end in ",}"]
    found = " OR ".join(["instr(body, ?) > 0"] * len(pieces))
    return Condition(f"coalesce({found}, FALSE)", tuple(pieces))


def _word(text: str) -> Condition:
    text = ascii_lower(text)
    # The first part is quick and lets too much pass: names, numbers, what stands across two texts.
    quick = ascii_lower(json.dumps(text, ensure_ascii=False)[1:-1])
    some = "EXISTS (SELECT 1 FROM json_each(body) WHERE type = 'text' AND instr(lower(value), ?) > 0)"
    return Condition(f"(coalesce(instr(lower(body), ?) > 0, FALSE) AND {some})", (quick, text))


def glob(pattern: str) -> str:
    """A pattern for GLOB in which only `*` is special."""
    return _STARS.sub("*", pattern.replace("[", "[[]").replace("?", "[?]"))


def _joined(word: str, conditions: Iterable[Condition], none: str) -> Condition:
    parts = list(conditions)
    if not parts:
        return Condition(none)
    if len(parts) == 1:
        return parts[0]
    text = f" {word} ".join(part.sql for part in parts)
    return Condition(f"({text})", tuple(value for part in parts for value in part.values))
