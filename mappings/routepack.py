"""A YAML pack at work: the route table of `mappings.packformat` as something that recognises requests.

It reads method, host, path and query and never the body. A query condition that servers would judge
differently (a parameter given twice, in another case) leaves the choice between routes open: a conflict,
not a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mappings.conditions import Condition, QueryHolds, Subject
from mappings.hosts import host_pattern
from mappings.pathtemplates import Template, read_template
from mappings.reading import Reading
from mappings.recognition import NOT_RECOGNISED, Call, Recognition
from mappings.request import Request
from mappings.resolution import Problem
from mappings.routes import Candidate, RouteIndex, choose, method_rank

_NO_FACTS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """One line of a route table."""

    operation: str
    methods: frozenset[str]
    host: str
    """Canonical pattern, or "" for every host bound to the pack."""
    templates: tuple[Template, ...]
    query: tuple[QueryHolds, ...]

    @property
    def values(self) -> int:
        """How many query conditions name a value."""
        return sum(condition.condition.kind != "exists" for condition in self.query)


def read_prefix(text: str) -> str:
    """Return what stands before the paths of a pack's routes; ValueError with the remedy otherwise."""
    if text and (text.endswith("/") or "{" in text):
        raise ValueError(f'prefix "{text}" is no start of a path; write for example /api/v3, without a capture')
    if text:
        read_template(text)
    return text


def read_route(operation: str, text: str, prefix: str = "") -> Route:
    """Return the route written as ``METHOD [host]/path[?query]``; ValueError with the remedy otherwise.

    The prefix goes before a path without a host.
    """
    method_text, blank, place = text.partition(" ")
    host, slash, rest = place.partition("/")
    if not blank or not slash or " " in place:
        raise ValueError(f'route "{text}" is not "METHOD /path" or "METHOD host/path"')
    path, _, query_text = rest.partition("?")
    query = tuple(_query_condition(part, text) for part in query_text.split("&")) if query_text else ()
    pattern = host_pattern(host) if host else ""
    templates = read_template(f"/{path}" if host else f"{prefix}/{path}")
    return Route(operation, read_methods(method_text.split("|")), pattern, templates, query)


def read_methods(words: Sequence[str]) -> frozenset[str]:
    """Return the methods, which are written in upper case."""
    for word in words:
        # RFC 9110 section 9.1: methods are case-sensitive; all registered ones are upper case.
        if not word.isascii() or not word.replace("-", "").isalpha() or word != word.upper():
            raise ValueError(f'method "{word}" is no method; write for example GET')
    return frozenset(words)


def _query_condition(part: str, text: str) -> QueryHolds:
    name, equals, value = part.partition("=")
    if not name:
        raise ValueError(f'route "{text}" has an empty query parameter; remove it')
    return QueryHolds(name, Condition("in", (value,)) if equals else Condition("exists", (True,)))


@dataclass(frozen=True, slots=True)
class RouteList:
    """A route table as it was read."""

    routes: tuple[Route, ...]
    fold: frozenset[str]
    """Captures that the API takes in any case."""


class RoutePack:
    """A pack made of routes, which are read when the first request comes."""

    reads_prefix = False

    def __init__(self, name: str, family: str, hosts: tuple[str, ...], read: Callable[[], RouteList]) -> None:
        self.name = name
        self.family = family
        self.hosts = hosts
        self._read = read

    @cached_property
    def operations(self) -> frozenset[str]:
        """Full names of all operations."""
        return frozenset(f"{self.name}:{route.operation}" for route in self._read().routes)

    @cached_property
    def _index(self) -> RouteIndex[Route]:
        index: RouteIndex[Route] = RouteIndex()
        for route in self._read().routes:
            index.add(route, (route.host,) if route.host else (), route.templates)
        return index

    @cached_property
    def _fold(self) -> frozenset[str]:
        return self._read().fold

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        """Return False: routes never read the body."""
        return False

    def recognise(self, request: Request) -> Recognition:
        """Return the operations of the most specific routes that fit."""
        reading = Reading(request)
        subject = Subject(reading, "", _NO_FACTS)
        candidates = []
        for found in self._index.find(request.host, reading.segments, bound=True):
            route = found.item
            method = method_rank(route.methods, request.method)
            if method is not None:
                rank = (len(route.query), route.values, found.literal_chars, found.host, method)
                candidates.append(Candidate(route, rank, route.query, subject, found.captures))
        chosen = choose(candidates)
        if isinstance(chosen, Problem):
            return Recognition((), chosen)
        if not chosen:
            return NOT_RECOGNISED
        calls = {route.item.operation: self._call(route, request.path) for route in chosen}
        return Recognition(tuple(calls.values()))

    def _call(self, chosen: Candidate[Route], path: str) -> Call:
        name = f"{self.name}:{chosen.item.operation}"
        captures = chosen.captures
        if self._fold.isdisjoint(captures):
            return Call(name, captures, trusted=frozenset(captures))
        folded = {key: value.lower() if key in self._fold else value for key, value in captures.items()}
        segments = path.split("/")
        for key, value in captures.items():
            # Captures come in the order of the path, so the first segment like it is the one captured.
            if folded[key] != value and value in segments:
                segments[segments.index(value)] = folded[key]
        return Call(name, folded, trusted=frozenset(folded), path="/".join(segments))
