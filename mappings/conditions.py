"""Conditions of a rule, each answering yes, no, or "that cannot be told" (a `Problem`).

The third answer is what makes the room safe: a condition on something that cannot be read does not fail, it
is in doubt. A match is then false when any part is false whatever the rest says, in doubt when any other
part is, and true otherwise; ``not`` leaves doubt as it is. What a doubt means is decided where rules are
compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mappings.bodies import MISSING, Pointer, look_up
from mappings.globs import SURELY, read_glob
from mappings.hosts import covers
from mappings.operations import OperationSet
from mappings.paths import PathIndex
from mappings.pathtemplates import Template
from mappings.reading import Reading
from mappings.resolution import CONFLICT, Problem

Answer = bool | Problem

Scalar = str | int | bool

LARGEST_COMMON_INTEGER = 1 << 53
"""Beyond it, readers that use doubles see another number (RFC 8259 section 6)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one value must be."""

    kind: Literal["glob", "in", "exists", "range"]
    values: tuple[Scalar, ...]
    """Globs for "glob", exact values for "in", one boolean for "exists", the lowest and the highest integer for
    "range"."""


@dataclass(slots=True)  # made for every request, and freezing would cost more than making
class Subject:
    """What a rule is compared with: one reading of a request, and one of its calls when a pack knows it."""

    reading: Reading
    operation: str
    """Case-folded name of the call; "" when no pack recognised any."""
    facts: Mapping[str, str]


class Predicate(Protocol):
    """One condition."""

    @property
    def reads_body(self) -> bool:
        """Whether the answer hangs on the body."""

    def holds(self, subject: Subject) -> Answer:
        """Return whether it holds for the subject."""


def all_hold(predicates: Sequence[Predicate], subject: Subject) -> Answer:
    """Return whether all hold; doubt counts only when none is known to fail."""
    doubt: Problem | None = None
    for predicate in predicates:
        answer = predicate.holds(subject)
        if answer is False:
            return False
        if isinstance(answer, Problem):
            doubt = doubt or answer
        elif answer is not True:
            raise TypeError("a condition was answered neither yes nor no")
    return doubt or True


def _text_matches(condition: Condition, value: str) -> bool:
    if condition.kind == "glob":
        return any(SURELY[read_glob(str(glob)).fits(value)] for glob in condition.values)
    return value in condition.values


def _loose(name: str) -> str:
    # ASP.NET and OData fold the case of parameters, PHP trims them, PHP and Rails gather "a[]" under "a".
    return name.strip().lower().removesuffix("[]").removesuffix("[0]")


@dataclass(frozen=True, slots=True)
class QueryHolds:
    """A condition on a query parameter."""

    name: str
    condition: Condition
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Doubt when the parameter has different values, or stands there in a spelling some servers take for it."""
        query = subject.reading.query
        values = query.get(self.name)
        if len(query) > (0 if values is None else 1):
            loose = _loose(self.name)
            if any(name != self.name and _loose(name) == loose for name in query):
                return Problem(CONFLICT, f'the query holds "{self.name}" in another spelling, and servers differ')
        if values is None:
            return self.condition.kind == "exists" and not self.condition.values[0]
        if self.condition.kind == "exists":
            return bool(self.condition.values[0])
        if any(value != values[0] for value in values):
            return Problem(CONFLICT, f'the query holds "{self.name}" with different values, and servers differ')
        return _text_matches(self.condition, values[0])


@dataclass(frozen=True, slots=True)
class HeaderHolds:
    """A condition on a header."""

    name: str
    condition: Condition
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Doubt when it holds for some of the header's values and not for others."""
        values = subject.reading.headers.get(self.name)
        if values is None:
            return self.condition.kind == "exists" and not self.condition.values[0]
        if self.condition.kind == "exists":
            return bool(self.condition.values[0])
        answers = {_text_matches(self.condition, value) for value in values}
        if len(answers) > 1:
            return Problem(CONFLICT, f'the header "{self.name}" stands there twice and differs')
        return answers.pop()


@dataclass(frozen=True, slots=True)
class ContentTypeIs:
    """A condition on the media type of the body, in lower case and without parameters."""

    condition: Condition
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Doubt when the header names two types: RFC 9110 section 8.3 knows one, and servers take either."""
        values = subject.reading.headers.get("content-type")
        if values is None:
            return self.condition.kind == "exists" and not self.condition.values[0]
        kinds = {value.partition(";")[0].strip().lower() for value in values}
        if len(kinds) > 1 or any("," in value for value in values):
            return Problem(CONFLICT, "the request has several content types; send one")
        return (
            bool(self.condition.values[0])
            if self.condition.kind == "exists"
            else _text_matches(self.condition, kinds.pop())
        )


@dataclass(frozen=True, slots=True)
class FactHolds:
    """A condition on a fact: a capture, or what is known of the host. Case is folded."""

    name: str
    condition: Condition
    when_missing: bool = False
    """The answer about the value of a fact that is not there. True only for the access level of an operation
    under ``not``: otherwise "not write" would hold of what nobody knows to be a read."""
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Never in doubt: a fact is there or it is not."""
        value = subject.facts.get(self.name, "")
        if self.condition.kind == "exists":
            return bool(value) is self.condition.values[0]
        return _text_matches(self.condition, value.casefold()) if value else self.when_missing


@dataclass(frozen=True, slots=True)
class JsonHolds:
    """A condition on a field of the body."""

    pointer: Pointer
    condition: Condition
    reads_body: bool = True

    def holds(self, subject: Subject) -> Answer:
        """Doubt when the body cannot be read, or the field is of a kind that servers convert."""
        body = subject.reading.json()
        found = body if isinstance(body, Problem) else look_up(body.value, self.pointer)
        if isinstance(found, Problem):
            return found
        if self.condition.kind == "exists":
            return (found is not MISSING) is self.condition.values[0]
        if found is MISSING:
            return False
        # "true", 1 and "1" are true to many servers. The type the rule was written for is the only one with
        # a single reading.
        if type(found) not in {type(value) for value in self.condition.values}:
            return Problem(CONFLICT, f'"{self.pointer.text}" in the body is of another kind than the rule expects')
        if isinstance(found, int) and abs(found) > LARGEST_COMMON_INTEGER:
            return Problem(CONFLICT, f'"{self.pointer.text}" in the body is too large a number to be read alike')
        if self.condition.kind == "glob":
            return _text_matches(self.condition, str(found))
        if self.condition.kind == "range":
            lowest, highest = self.condition.values
            return isinstance(found, int) and int(lowest) <= found <= int(highest)
        return any(type(value) is type(found) and value == found for value in self.condition.values)


@dataclass(frozen=True, slots=True)
class OperationIs:
    """The call has one of these names."""

    patterns: tuple[str, ...]
    names: OperationSet = field(compare=False)
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Never in doubt; false when no pack recognised the request."""
        return subject.operation in self.names


@dataclass(frozen=True, slots=True)
class HostIs:
    """The request goes to one of these hosts."""

    patterns: tuple[str, ...]
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Never in doubt; a wildcard covers one label or more."""
        host = subject.reading.request.host
        return any(covers(pattern, host) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class MethodIs:
    """The request has one of these methods."""

    methods: frozenset[str]
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Never in doubt; GET covers HEAD."""
        method = subject.reading.request.method
        return method in self.methods or (method == "HEAD" and "GET" in self.methods)


@dataclass(frozen=True, slots=True)
class PathIs:
    """The path fits one of some templates."""

    templates: tuple[Template, ...]
    index: PathIndex[None] = field(compare=False)
    reads_body: bool = False

    def holds(self, subject: Subject) -> Answer:
        """Never in doubt; what it captures is not used."""
        segments = subject.reading.segments
        return segments is not None and bool(self.index.find(segments))


@dataclass(frozen=True, slots=True)
class Not:
    """Not all of these hold."""

    predicates: tuple[Predicate, ...]

    @property
    def reads_body(self) -> bool:
        """Whether any of them does."""
        return any(predicate.reads_body for predicate in self.predicates)

    def holds(self, subject: Subject) -> Answer:
        """Doubt stays doubt."""
        answer = all_hold(self.predicates, subject)
        return answer if isinstance(answer, Problem) else not SURELY[answer]
