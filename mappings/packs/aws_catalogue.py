"""The AWS catalogue at run time: which services a host or a signature leads to, and what each of them offers.

A service's member is read when the first request for it comes. Services that share a host (`rds`, `neptune` and
`docdb`; `ses` and `sesv2`) make one `Group`, whose routes stand in one table, so that the closest route wins
whichever service it is of. How members are written is said in `mappings.sources.aws`.

    email.eu-west-1.amazonaws.com       ses, sesv2 and pinpoint-email
    signed for es, on a stand-in        es and opensearch
    nonsense.eu-west-1.amazonaws.com    no group
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mappings.catalogues import Archive, RouteTable
from mappings.catalogues.routes import ACCESS_OF_LETTER, EXECUTES, MINTS, split_route

HEADER = "@"
HOST = "^"
NEEDED = "!"
"""Before the key of a route's condition (`mappings.sources.aws_models`)."""

REST, JSON, QUERY, CBOR = "r", "j", "q", "c"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as calls name it."""

    name: str
    """The full name: ``aws:ec2:TerminateInstances``."""
    service: str
    """The signing name."""
    wire: str
    """The name on the wire: ``TerminateInstances``."""
    access: str
    executes: bool = False
    mints: bool = False
    naming: tuple[str, ...] = ()
    """The parameters that say what it acts on; a route's are in its path."""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """One route of a REST operation: what must hold beside method and path."""

    operation: Operation
    query: tuple[tuple[str, str | None], ...]
    headers: tuple[str, ...]
    host: str
    """What the host's key begins with, "" for any."""
    asks: tuple[frozenset[str], frozenset[str]]
    """Keys of the conditions: those of the route, and members that must be given."""
    allowed: frozenset[str] | None
    """Query parameters that may be there; None for any."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    id: str
    name: str
    """The signing name, which is also the IAM prefix for all but a few."""
    protocols: str
    """Letters: REST, JSON, QUERY, CBOR."""
    target_prefix: str
    names: frozenset[str]
    """All names its requests are signed for."""
    one_region: bool
    """Whether they are signed for one region of the partition, whatever the host says."""


@dataclass(slots=True)
class Group:
    """The services that a request may be for."""

    services: tuple[Service, ...]
    names: frozenset[str]
    protocols: frozenset[str]
    one_region: bool
    operations: dict[tuple[str, str], Operation] = field(default_factory=dict)
    """By service and name on the wire."""
    routes: RouteTable[list[Entry]] = field(default_factory=RouteTable)
    """What there is under each method and path: up to thirty operations of S3 share one."""
    filed: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    """The same lists by method and template, while they are filled."""

    def file(self, method: str, path: str, entry: Entry) -> None:
        """Add a route."""
        entries = self.filed.get((method, path))
        if entries is None:
            entries = self.filed[method, path] = []
            self.routes.add(method, path, entries)
        entries.append(entry)

    @property
    def rest(self) -> bool:
        """Whether a path may name an operation."""
        return REST in self.protocols

    @property
    def rpc(self) -> bool:
        """Whether something else may."""
        return self.protocols != {REST}

    def speaking(self, protocol: str, prefix: str = "") -> list[Service]:
        """Return the services that speak a protocol, and with that target prefix when one is given."""
        return [
            service
            for service in self.services
            if protocol in service.protocols and (not prefix or service.target_prefix == prefix)
        ]

    def operation(self, services: Iterable[Service], wire: str) -> Operation:
        """Return the operation that the wire names; one that the table lacks keeps its name and counts as a write."""
        first: Service | None = None
        for service in services:
            first = first or service
            found = self.operations.get((service.id, wire))
            if found is not None:
                return found
        name = first.name if first else ""
        return Operation(f"aws:{name}:{wire}", name, wire, "write", known=False)


class Catalogue:
    """The services of an archive, and the way to them."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._groups: dict[tuple[str, ...], Group] = {}

    @cached_property
    def _index(self) -> Mapping[str, Mapping[str, list[str]]]:
        index: Mapping[str, Mapping[str, list[str]]] = self._archive.read("index.json")
        return index

    @cached_property
    def suffixes(self) -> tuple[str, ...]:
        """What Amazon's host names end with, the longest first."""
        return tuple(self._index["suffixes"])

    @cached_property
    def hosts(self) -> Mapping[str, tuple[str, ...]]:
        """Services by key of their host."""
        return {key: tuple(services) for key, services in self._index["hosts"].items()}

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """All services by the name of their member."""
        return {
            id_: Service(id_, name, protocols, prefix, frozenset((name, *others)), bool(region))
            for id_, (name, protocols, prefix, others, region) in self._index["services"].items()
        }

    @cached_property
    def _signed(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for service in self.services.values():
            for name in service.names:
                found[name] = (*found.get(name, ()), service.id)
        return found

    def signed_for(self, name: str) -> tuple[str, ...]:
        """Return the services whose requests are signed for a name."""
        return self._signed.get(name, ())

    def narrowed(self, ids: tuple[str, ...], name: str) -> tuple[str, ...]:
        """Return those of the services whose requests are signed for a name."""
        return tuple(id_ for id_ in ids if name in self.services[id_].names)

    def group(self, ids: tuple[str, ...]) -> Group:
        """Return the services as one."""
        group = self._groups.get(ids)
        if group is None:
            group = self._groups[ids] = self._loaded(ids)
        return group

    def _loaded(self, ids: tuple[str, ...]) -> Group:
        services = tuple(self.services[id_] for id_ in ids)
        names = frozenset(name for service in services for name in service.names)
        protocols = frozenset("".join(service.protocols for service in services))
        group = Group(services, names, protocols, any(service.one_region for service in services))
        for service in services:
            for letter, traits, rows in self._archive.read(f"{service.id}.json"):
                for row in rows.split(" ") if isinstance(rows, str) else rows:
                    _file(group, service, ACCESS_OF_LETTER[letter], traits, row)
        group.filed.clear()
        return group


def _file(group: Group, service: Service, access: str, traits: str, row: str | list[str]) -> None:
    wire, *naming = row.split("=") if isinstance(row, str) else row[:1]
    operation = Operation(
        f"aws:{service.name}:{wire}", service.name, wire, access, EXECUTES in traits, MINTS in traits, tuple(naming)
    )
    group.operations[service.id, wire] = operation
    if isinstance(row, str):
        return
    _, route, allowed = row
    method, _, path, conditions = split_route(route)
    group.file(method, path, _entry(operation, conditions, allowed))


def _entry(operation: Operation, conditions: Iterable[tuple[str, str | None]], allowed: str) -> Entry:
    query: list[tuple[str, str | None]] = []
    headers: list[str] = []
    asks: tuple[set[str], set[str]] = (set(), set())
    host = ""
    for text, value in conditions:
        key = text.removeprefix(NEEDED)
        asks[key != text].add(key)
        if key[0] == HEADER:
            headers.append(key[1:])
        elif key[0] == HOST:
            host = key[1:]
        else:
            query.append((key, value))
    return Entry(
        operation,
        tuple(query),
        tuple(headers),
        host,
        (frozenset(asks[0]), frozenset(asks[1])),
        None if allowed == "*" else frozenset(allowed.split(" ")),
    )
