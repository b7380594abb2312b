"""A pack that is a catalogue: method, host, path and query of a request, looked up in the API's own list.

It reads nothing else, above all no body. Of routes on one template the one with the most query conditions that hold
names the operation; a parameter that servers would judge differently (twice with different values, in another
case) is a conflict. The table is built when the first request comes; a catalogue that cannot be read makes every
request to its hosts unreadable, which is a refusal.

    GET https://api.github.com/repos/Acme/Web/pulls/7      github:pulls/get, owner "acme", repo "web"
    PATCH https://api.cloudflare.com/client/v4/unheard-of  not recognised
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from mappings.catalogues.archive import Archive, CatalogueError
from mappings.catalogues.routes import Entry, Routes, read_rows
from mappings.catalogues.table import Hit
from mappings.paths import split_path
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request

ROUTES = "routes.json"
"""The member that holds the rows."""


class CataloguePack:
    """An API whose operations are told by method, path and query."""

    reads_prefix = False

    def __init__(self, archive: Archive) -> None:
        header = archive.header
        self.name = header.family
        self.family = header.refusals or header.family
        self.hosts = header.hosts
        self.keeps_encoded_slashes = header.keeps_slashes
        self._archive = archive
        self._prefixes = tuple(tuple(prefix.strip("/").split("/")) for prefix in header.prefixes if prefix)
        self._bare = "" in header.prefixes
        self._fold = frozenset(header.fold)

    @cached_property
    def routes(self) -> Routes:
        """The table; raises CatalogueError when the file is not what the index says."""
        return read_rows(self._archive.read(ROUTES))

    @property
    def operations(self) -> frozenset[str]:
        """Full names of all operations."""
        return frozenset(f"{self.name}:{name}" for name in self.routes.operations)

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        """Return False: everything stands in the head."""
        return False

    def recognise(self, request: Request) -> Recognition:
        """Return the one call that method, path and query name; several when nothing tells them apart."""
        segments = split_path(request.path)
        if segments is None:
            return NOT_RECOGNISED
        try:
            table = self.routes.table
        except CatalogueError:
            return unreadable(f'the catalogue of "{self.name}" cannot be read')
        for start in self._starts(segments):
            rest = segments[start:]
            found = self.closest(request, table.find(request.method, rest))
            if not found and request.method == "HEAD":
                # RFC 9110 section 9.3.2: HEAD asks for what GET would answer.
                found = self.closest(request, table.find("GET", rest))
            if isinstance(found, str):
                return conflict(found)
            if found:
                return Recognition(tuple(self._call(hit, rest, request) for hit in found))
        return NOT_RECOGNISED

    def _starts(self, segments: tuple[str, ...]) -> Iterable[int]:
        """Yield where the path proper may begin, the longest prefix first."""
        for prefix in self._prefixes:
            if segments[: len(prefix)] == prefix:
                yield len(prefix)
        if self._bare:
            yield 0

    def closest(self, request: Request, hits: Iterable[Hit[Entry]]) -> list[Hit[Entry]] | str:
        """Return the hits of the closest template whose conditions hold, or why that cannot be told."""
        best: list[Hit[Entry]] = []
        for hit in hits:
            entry = hit.entry
            if entry.host and entry.host != request.host:
                continue
            if best and hit.captured != best[0].captured:
                break  # of a template further away
            holds = all_there(entry.query, request) if entry.query else True
            if isinstance(holds, str):
                return holds
            if not holds or (best and len(entry.query) < len(best[0].entry.query)):
                continue
            if best and len(entry.query) > len(best[0].entry.query):
                best.clear()
            best.append(hit)
        return best

    def _call(self, hit: Hit[Entry], segments: tuple[str, ...], request: Request) -> Call:
        captures = hit.captures(segments)
        operation = hit.entry.operation
        path = ""
        if not self._fold.isdisjoint(captures):
            path = request.path
            parts = path.split("/")
            for name in self._fold.intersection(captures):
                value = captures[name]
                captures[name] = folded = value.lower()
                if folded != value and value in parts:
                    parts[parts.index(value)] = folded
            path = "/".join(parts)
        return Call(
            f"{self.name}:{operation.name}",
            captures,
            trusted=frozenset(captures),
            path=path,
            access=operation.access,
            executes=operation.executes,
            mints=operation.mints,
        )


def all_there(query: Iterable[tuple[str, str | None]], request: Request) -> bool | str:
    """Return whether every condition on the query holds, or why servers would differ about one."""
    for key, wanted in query:
        values = {value for name, value in request.query if name == key}
        if not values:
            if any(name.lower() == key.lower() for name, _ in request.query):
                return f'the query holds "{key}" in another case, and servers differ'
            return False
        if wanted is not None:
            if len(values) > 1:
                return f'the query holds "{key}" with different values, and servers differ'
            if wanted not in values:
                return False
    return True
