"""Names GitHub's REST calls by its own operation ids, and each root field of a GraphQL request.

The list of operations is the catalogue's. What is added here is where the API stands on each kind of host, its
addresses by number, the one spelling of owner and repository, and GraphQL. It decides nothing, and reads a body
only at the GraphQL address.

    api.github.com, api.SUB.ghe.com, api.HOST     /repos/...            /graphql
    uploads.github.com, uploads.SUB.ghe.com       /repos/.../assets
    any other bound host (Enterprise Server)      /api/v3/repos/...     /api/uploads/...  /api/graphql  /manage/...

    /repositories/7/...                           as /repos/OWNER/REPO/...; what it is called is not known
    /organizations/7/..., /organizations/7/team/8/..., /user/7/...     likewise, under /orgs and /users

    PUT  https://api.github.com/repos/Acme/Web/pulls/7/merge           github:pulls/merge, repository acme/web
    PUT  https://api.github.com/repositories/123/pulls/7/merge         github:pulls/merge, repository 123
    POST https://api.github.com/graphql {a: mergePullRequest(...)}     github:graphql.mergePullRequest
    POST https://api.github.com/repos/acme/web/unheard-of              not recognised
    POST https://github.acme.test/repos/acme/web/forks                 not recognised: the API stands at /api/v3

The capture ``repository`` is ``owner/repo`` or the number; what a GraphQL node id points to is not known either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from mappings.catalogues import CatalogueError, CataloguePack, Entry, Hit, Operation, read_rows
from mappings.packs.graphql import RootField, read_graphql
from mappings.paths import split_path
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request
from mappings.resolution import Problem

Segments = tuple[str, ...]

FIELDS = "graphql.json"
"""The member that holds the root fields of GraphQL."""

SERVER_API = ("api", "v3")
SERVER_GRAPHQL = ("api", "graphql")
SERVER_ROOTS = frozenset({("api", "uploads"), ("manage", "v1")})
"""docs.github.com/enterprise-server: "Getting started with the REST API", "Forming calls with GraphQL"; the
description's own servers say where uploads and management stand."""

UPLOADS = ("api", "uploads")
GRAPHQL = ("graphql",)

REFS = "updateRefs"
"""Changes any number of refs at once; an ``afterOid`` of zeros deletes one, ``force`` rewinds it."""

UNKNOWN = "\0"
"""Stands in the place of a name that an address by number does not say; no path holds it."""


class GithubPack(CataloguePack):
    """github.com, Enterprise Cloud with data residency, and Enterprise Server."""

    @cached_property
    def fields(self) -> Mapping[str, Operation]:
        """Root fields of GraphQL by operation name; raises CatalogueError when they cannot be read."""
        return read_rows(self._archive.read(FIELDS)).operations

    @property
    def operations(self) -> frozenset[str]:
        """Full names of all operations."""
        return super().operations | {f"{self.name}:{name}" for name in self.fields}

    def needs_body(self, request: Request) -> bool:
        """GraphQL says in the body what it asks for; REST says it in the head."""
        return request.path.endswith(("/graphql", "/graphql/"))

    def recognise(self, request: Request) -> Recognition:
        """Return the one REST call, or every root field asked for."""
        segments = split_path(request.path)
        place = None if segments is None else _place(request.host, segments)
        if place is None:
            return NOT_RECOGNISED
        try:
            return self._graphql(request) if place == GRAPHQL else self._rest(request, place)
        except CatalogueError:
            return unreadable(f'the catalogue of "{self.name}" cannot be read')

    def _rest(self, request: Request, place: Segments) -> Recognition:
        segments = place
        found = self._closest(request, segments)
        if not found and (other := _by_name(place)):
            segments = other
            found = self._closest(request, segments)
        if isinstance(found, str):
            return conflict(found)
        return Recognition(tuple([self._named(hit, segments, place, request) for hit in found]))

    def _closest(self, request: Request, segments: Segments) -> list[Hit[Entry]] | str:
        table = self.routes.table
        found = self.closest(request, table.find(request.method, segments))
        if not found and request.method == "HEAD":
            # RFC 9110 section 9.3.2: HEAD asks for what GET would answer.
            found = self.closest(request, table.find("GET", segments))
        return found

    def _named(self, hit: Hit[Entry], segments: Segments, place: Segments, request: Request) -> Call:
        captures = hit.captures(segments)
        # Captures come in the order of the path.
        changes = [
            (name, value, new)
            for name, value in captures.items()
            if name in self._fold and (new := _folded(name, value)) != value
        ]
        path = ""
        if changes:
            path = _respelt(request.path, changes)
            captures.update((name, new) for name, _, new in changes)
        if segments is not place:
            captures = {name: value for name, value in captures.items() if value != UNKNOWN}
            captures |= _numbers(place)
        if "owner" in captures and "repo" in captures:
            captures["repository"] = f"{captures['owner']}/{captures['repo']}"
        operation = hit.entry.operation
        return Call(
            f"{self.name}:{operation.name}",
            captures,
            trusted=frozenset(captures),
            path=path,
            access=operation.access,
            executes=operation.executes,
            mints=operation.mints,
        )

    def _graphql(self, request: Request) -> Recognition:
        if request.method not in ("GET", "POST"):
            return NOT_RECOGNISED
        fields = read_graphql(request)
        if fields is None and request.method == "GET":
            # docs.github.com/graphql, "Introspection": a plain GET answers with the schema.
            fields = (RootField("query", "__schema", {}, {}),)
        if isinstance(fields, Problem):
            return Recognition((), fields)
        if any(field.kind == "subscription" for field in fields or ()):
            return unreadable("GitHub has no subscriptions")  # docs.github.com/graphql/reference: queries, mutations
        calls: list[Call] = []
        for field in fields or ():
            several = _refs(field.arguments) if field.name == REFS else [{}]
            if not several:
                return unreadable("the refs to be changed do not stand in the request as they should")
            calls += [self._field(field, request, more) for more in several]
        return Recognition(tuple(calls))

    def _field(self, field: RootField, request: Request, more: Mapping[str, str]) -> Call:
        name = f"graphql.{field.name}"
        operation = self.fields.get(name)
        if operation is None or (operation.access == "read") is not (field.kind == "query"):
            # Named by the wire alone: newer than the list, or no field of this kind at all.
            operation, known = Operation(name, "read" if field.kind == "query" else "write", False, False), False
        else:
            known = True
        node = field.captures.get("node")
        return Call(
            f"{self.name}:{name}",
            {**field.captures, **more},
            target=f"{request.host}{request.path}" + (f"#{node}" if node else ""),
            access=operation.access,
            executes=operation.executes,
            mints=operation.mints,
            known=known,
        )


def _place(host: str, segments: Segments) -> Segments | None:
    """Return the path as it would be on api.github.com, None where no API stands."""
    label = host.partition(".")[0]
    if label == "api":
        return None if segments[:1] in (("api",), ("manage",)) else segments
    if label == "uploads":
        return UPLOADS + segments
    if segments[:2] == SERVER_API:
        rest = segments[2:]
        return None if rest[:1] in (("api",), ("manage",), GRAPHQL) else rest
    if segments == SERVER_GRAPHQL:
        return GRAPHQL
    return segments if segments[:2] in SERVER_ROOTS else None


def _by_name(place: Segments) -> Segments | None:
    """Return the path with names where it has numbers, None when it has none."""
    if len(place) < 2 or not (place[1].isascii() and place[1].isdigit()):
        return None
    rest = place[2:]
    match place[0]:
        case "repositories":
            return ("repos", UNKNOWN, UNKNOWN, *rest)
        case "organizations":
            # The description of the teams' operations: "using the route GET /organizations/{org_id}/team/{team_id}".
            if rest[:1] == ("team",) and len(rest) > 1 and rest[1].isascii() and rest[1].isdigit():
                return ("orgs", UNKNOWN, "teams", UNKNOWN, *rest[2:])
            return ("orgs", UNKNOWN, *rest)
        case "user":
            return ("users", UNKNOWN, *rest)
        case _:
            return None


def _numbers(place: Segments) -> Mapping[str, str]:
    """Return the captures of a path that was recognised by its numbers."""
    if place[0] == "repositories":
        return {"repository_id": place[1], "repository": place[1]}
    if place[0] == "user":
        return {"user_id": place[1]}
    return {"org_id": place[1], "team_id": place[3]} if place[2:3] == ("team",) else {"org_id": place[1]}


def _refs(arguments: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return ref and change of each ref that "updateRefs" is to change, nothing when one of them cannot be read."""
    given = arguments.get("input")
    updates = given.get("refUpdates") if isinstance(given, Mapping) else None
    found: list[Mapping[str, str]] = []
    # One that stands alone is a list of one: https://spec.graphql.org/October2021/#sec-List.Input-Coercion
    for update in [updates] if isinstance(updates, Mapping) else updates if isinstance(updates, list) else ():
        ref, new = (update.get("name"), update.get("afterOid")) if isinstance(update, Mapping) else (None, None)
        if not isinstance(ref, str) or not isinstance(new, str) or not ref.isprintable():
            return []
        change = "force" if update.get("force") not in (None, False) else "update"
        found.append({"ref": ref, "change": change if new.strip("0") else "delete"})
    return found


def _folded(name: str, value: str) -> str:
    # "The name of the repository without the .git extension. The name is not case sensitive.": GitHub takes it with
    # the extension too, and no repository can be called so.
    folded = value.lower()
    return (folded.removesuffix(".git") or folded) if name in ("repo", "template_repo") else folded


def _respelt(path: str, changes: list[tuple[str, str, str]]) -> str:
    parts = path.split("/")
    for _, value, new in changes:
        if value in parts:
            parts[parts.index(value)] = new
    return "/".join(parts)
