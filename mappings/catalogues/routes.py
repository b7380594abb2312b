"""How the operations of a REST API are kept in a catalogue, and the table they become.

A member holds rows ``[name, access, traits, routes]``: access is the first letter of a word of
`mappings.recognition.ACCESS`, traits are ``x`` (executes) and ``m`` (mints), a route is
``METHOD [host]/path/{template}[?key[=value]...]`` as in a YAML pack. Rows are sorted by name.

    ["dns.records.create", "w", "", ["POST /client/v4/zones/{zone_id}/dns_records"]]
    ["actions/create-workflow-dispatch", "w", "x", ["POST /repos/{owner}/{repo}/actions/.../dispatches"]]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mappings.catalogues.table import RouteTable
from mappings.recognition import ACCESS

ACCESS_OF_LETTER: Mapping[str, str] = {word[0]: word for word in ACCESS}
EXECUTES = "x"
MINTS = "m"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a catalogue."""

    name: str
    """Without the family: ``dns.records.create``."""
    access: str
    executes: bool
    mints: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One route of an operation: what must hold beside method and path."""

    operation: Operation
    host: str
    """The one host it is served on, "" for any that is bound."""
    query: tuple[tuple[str, str | None], ...]
    """Parameters that must be there, with the value they must have when it matters."""


@dataclass(slots=True)
class Routes:
    """The table of a member, and its operations by name."""

    table: RouteTable[Entry] = field(default_factory=RouteTable)
    operations: dict[str, Operation] = field(default_factory=dict)


def read_rows(rows: Iterable[Sequence[object]], into: Routes | None = None) -> Routes:
    """Return the table of a member's rows; they were checked when they were written."""
    routes = into if into is not None else Routes()
    for name, letter, traits, texts in rows:
        operation = Operation(str(name), ACCESS_OF_LETTER[str(letter)], EXECUTES in str(traits), MINTS in str(traits))
        routes.operations[operation.name] = operation
        assert isinstance(texts, list)  # noqa: S101 - narrows a type; the digest was checked when the file was opened
        for text in texts:
            method, host, path, query = split_route(text)
            routes.table.add(method, path, Entry(operation, host, query))
    return routes


def split_route(text: str) -> tuple[str, str, str, tuple[tuple[str, str | None], ...]]:
    """Return method, host, path and query conditions of a route."""
    method, _, place = text.partition(" ")
    path, _, conditions = place.partition("?")
    host, _, rest = path.partition("/")
    query: list[tuple[str, str | None]] = []
    for condition in conditions.split("&") if conditions else ():
        key, equals, value = condition.partition("=")
        query.append((key, value if equals else None))
    return method, host, f"/{rest}", tuple(query)
