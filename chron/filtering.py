"""What somebody wants to see of the log, read from a line of text; the same in the command line and in the API.

    filter      = { term [ "and" | "or" ] }            side by side means "and", which binds closer than "or"
    term        = "not" term | "(" filter ")" | comparison | word
    comparison  = field sign value | field [ "not" ] "in" "(" value { "," value } ")"
    sign        = "=" | "!=" | "~" | "!~" | "<" | "<=" | ">" | ">="
    value       = word | '"' text '"' | "'" text "'"

    agent=deploy-bot outcome=DENY action~"k8s:*" since=24h
    filter:1:1: there is no field "agnt"; did you mean "agent"?
    filter:1:14: "yesterday" is not a time; write "24h", "7d" or "2026-01-31T12:00:00Z"

A filter is read here and turned into SQL in `chron.conditions`; nothing of its text ever becomes part of a statement.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NoReturn

from chron.errors import FilterError
from chron.fieldnames import FIELDS, NUMBERS, nearest
from chron.printable import printable
from chron.times import TIMES, past, time_text

SYNTAX = """\
agent=deploy-bot            the field is exactly this; != is "not =", true also where there is no such field
action~"k8s:*"              * stands for any text, also for none; everything else for itself; !~ is "not ~"
outcome in (DENY, HOLD)     one of these; also "not in"
status>=500                 < <= > >= compare numbers as numbers and texts as texts
since=24h until=2026-02-01  written at or after, and before: a span before now, or an ISO 8601 time (UTC)
staging                     a word alone: some text of the record has it in it, in small or capital letters
not (a=1 or b=2)            "not", "and", "or" and parentheses; side by side means "and"
target="api v2"             quotes around what has spaces, operators, parentheses or commas; \\ before a quote
.custom=x                   a dot before the name: a field that is in no list"""
"""For people: every form, one a line."""

MAX_CHARS = 4000
MAX_TERMS = 200
"""SQLite takes expressions up to a depth of 1000: https://www.sqlite.org/limits.html, 5."""
MAX_DEPTH = 30

type Sign = Literal["=", "~", "<", "<=", ">", ">="]
type Filter = Compare | Word | Not | All | Some


@dataclass(frozen=True, slots=True)
class Compare:
    """A field is one of these values (`=`, `~`), or stands so to the only one."""

    field: str
    sign: Sign
    values: tuple[str, ...]

    @property
    def as_numbers(self) -> bool:
        """Whether order is that of numbers; of an unlisted field, when the value is one."""
        return self.field in NUMBERS or (self.field not in FIELDS and _NUMBER.fullmatch(self.values[0]) is not None)


@dataclass(frozen=True, slots=True)
class Word:
    """Some text of the record has this in it; ASCII letters in any case."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: Filter


@dataclass(frozen=True, slots=True)
class All:
    """All of these; every record when there are none."""

    inner: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of these; no record when there are none."""

    inner: tuple[Filter, ...]


_NUMBER = re.compile(r"-?[0-9]{1,15}")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_UNQUOTE = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<sign>!=|!~|<=|>=|=|~|<|>)|(?P<mark>[(),])"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>[^\s=!~<>(),"']+)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    sort: str
    text: str
    at: int

    def says(self, *keywords: str) -> bool:
        return self.sort == "word" and self.text.lower() in keywords

    def is_mark(self, *marks: str) -> bool:
        return self.sort == "mark" and self.text in marks


def parse_filter(text: str, now: datetime) -> Filter:
    """Read a filter, spans counted back from `now`; raises FilterError with the place of the first fault."""
    if len(text) > MAX_CHARS:
        raise FilterError(f"the filter has {len(text)} characters and {MAX_CHARS} are read; ask for less at once")
    return _Parser(text, now).whole()


def check_field(name: str) -> str:
    """The name of a field as it is asked for, without the dot of an unlisted one; raises FilterError for another."""
    unlisted = name.startswith(".") and _NAME.fullmatch(name[1:])
    if unlisted:
        return name[1:]
    if name in FIELDS:
        return name
    meant = nearest(name.lower())
    remedy = f'did you mean "{meant}"?' if meant else "write a dot before it if records have it all the same"
    raise FilterError(f'there is no field "{name}"; {remedy}')


def decisions_unless_named(asked: Filter) -> Filter:
    """A filter that says nothing of kinds, for decisions alone; any other as it is."""
    return asked if mentions(asked, "kind") else All((asked, Compare("kind", "=", ("decision",))))


def mentions(asked: Filter, field: str) -> bool:
    """Whether a filter says anything of a field."""
    match asked:
        case Compare():
            return asked.field == field
        case Not():
            return mentions(asked.inner, field)
        case All() | Some():
            return any(mentions(each, field) for each in asked.inner)
        case Word():
            return False


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self._text = text
        self._now = now
        self._tokens = [*self._read(), _Token("end", "", len(text))]
        self._next = 0
        self._terms = 0

    def whole(self) -> Filter:
        if self._tokens[0].sort == "end":
            return All(())
        found = self._either(0)
        token = self._tokens[self._next]
        if token.sort != "end":
            remedy = 'write FIELD=VALUE, a word, "and", "or" or "not"'
            self._fail(f'"{token.text}" is not expected here; {remedy}', token.at)
        return found

    def _read(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                self._fail(f"{self._text[at]} is left over; close the quotes, or put quotes around it", at)
            text = match[0]
            if any("\ud800" <= char <= "\udfff" for char in text):
                self._fail("this is not Unicode text; write UTF-8", at)
            if match.lastgroup == "quoted":
                text = _UNQUOTE.sub(r"\1", text[1:-1])
            if match.lastgroup != "space":
                yield _Token(match.lastgroup or "", text, at)
            at = match.end()

    def _either(self, depth: int) -> Filter:
        found = [self._both(depth)]
        while self._tokens[self._next].says("or"):
            self._next += 1
            found.append(self._both(depth))
        return found[0] if len(found) == 1 else Some(tuple(found))

    def _both(self, depth: int) -> Filter:
        found = [self._term(depth)]
        while True:
            token = self._tokens[self._next]
            if token.says("and"):
                self._next += 1
            elif token.says("or") or token.sort in ("end", "sign") or token.is_mark(")", ","):
                break
            found.append(self._term(depth))
        return found[0] if len(found) == 1 else All(tuple(found))

    def _term(self, depth: int) -> Filter:
        token = self._take()
        self._terms += 1
        if self._terms > MAX_TERMS or depth > MAX_DEPTH:
            self._fail(f"that is more than {MAX_TERMS} terms or {MAX_DEPTH} levels; ask for less at once", token.at)
        if token.says("not"):
            return Not(self._term(depth + 1))
        if token.is_mark("("):
            found = self._either(depth + 1)
            self._expect(")")
            return found
        if token.sort not in ("word", "quoted") or token.says("and", "or"):
            what = f'"{token.text}"' if token.text else "the end"
            self._fail(f"{what} is not expected here; write FIELD=VALUE or a word, in quotes if need be", token.at)
        if token.sort == "word":
            following = self._tokens[self._next]
            if following.sort == "sign":
                self._next += 1
                return self._comparison(token, following)
            negated = following.says("not") and self._tokens[self._next + 1].says("in")
            if (following.says("in") or negated) and self._tokens[self._next + 1 + negated].is_mark("("):
                self._next += 2 if negated else 1
                listed = Compare(self._field(token), "=", self._list())
                return Not(listed) if negated else listed
        if not token.text:
            self._fail("an empty word is in everything; leave it out", token.at)
        return Word(token.text)

    def _comparison(self, name: _Token, sign: _Token) -> Filter:
        value = self._value()
        if name.text in ("since", "until"):
            if sign.text != "=":
                self._fail(f'"{name.text}" takes "="; write {name.text}={value.text}', sign.at)
            return Compare("ts", ">=" if name.text == "since" else "<", (self._moment(value),))
        field = self._field(name)
        text = value.text
        if sign.text in ("<", "<=", ">", ">="):
            if field == "ts":
                text = self._moment(value)
            if field in NUMBERS and not _NUMBER.fullmatch(text):
                self._fail(f'"{field}" is a number; write {field}{sign.text}100', value.at)
        compared: dict[str, Filter] = {
            "!=": Not(Compare(field, "=", (text,))),
            "!~": Not(Compare(field, "~", (text,))),
        }
        return compared.get(sign.text) or Compare(field, sign.text, (text,))  # type: ignore[arg-type]

    def _list(self) -> tuple[str, ...]:
        self._expect("(")
        values = [self._value().text]
        while self._tokens[self._next].is_mark(","):
            self._next += 1
            values.append(self._value().text)
            self._terms += 1
            if self._terms > MAX_TERMS:
                self._fail(f"that is more than {MAX_TERMS} terms; ask for less at once", self._tokens[self._next].at)
        self._expect(")")
        return tuple(values)

    def _field(self, token: _Token) -> str:
        try:
            return check_field(token.text)
        except FilterError as error:
            self._fail(str(error), token.at)

    def _moment(self, token: _Token) -> str:
        at = past(token.text, self._now)
        if at is None:
            self._fail(f'"{token.text}" is not a time; write {TIMES}', token.at)
        return time_text(at)

    def _value(self) -> _Token:
        token = self._take()
        if token.sort not in ("word", "quoted"):
            self._fail('a value is missing; write FIELD=VALUE, or FIELD="" for an empty one', token.at)
        return token

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.sort != "end":
            self._next += 1
        return token

    def _expect(self, mark: str) -> None:
        token = self._take()
        if not token.is_mark(mark):
            self._fail(f'"{mark}" is missing here; close what was opened', token.at)

    def _fail(self, message: str, at: int) -> NoReturn:
        before = self._text[:at]
        line, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
        raise FilterError(f"filter:{line}:{column}: {printable(message)}")
