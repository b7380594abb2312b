"""Names requests to an Argo CD server: its REST routes, and the gRPC methods its command line uses for the same.

Decides nothing about applications, and cannot see what a repository holds. Operators bind the server's host. Whether a
sync or rollback is a dry run, and whether it deletes what the repository no longer has, stands in the body, and its
name hangs on that; so does, over gRPC, the name of the application. A body that says neither plainly is unreadable.

Grammar (argo-cd.readthedocs.io, "API Docs"; the tables are `mappings.packs.argocd_operations`):

    /api/v1/..., /api/version, /terminal, ...           argocd:<Service>_<Method>, argocd:terminal
    POST /package.Service/Method, application/grpc...   argocd:<Service>_<Method>

The server splits the decoded path, but for clusters, repositories and their credentials, whose ids are addresses
(its workaround for Go issue 21955): there "%2F" does not separate, elsewhere it does.

    POST /api/v1/applications/web/sync, {"prune": true}     argocd:ApplicationService_Sync, prune "true"
    POST /application.ApplicationService/Sync, not read     unreadable
    POST .../sync, {"dryRun": "yes"}                        conflict: of another kind than the server takes
    DELETE /api/v1/applications/a%2Foperation               conflict
"""

from collections.abc import Iterator
from functools import cached_property
from urllib.parse import unquote

from mappings.bodies import MISSING, look_up, read_json, read_pointer
from mappings.catalogues import Routes, read_rows
from mappings.packs.argocd_operations import BESIDE, SERVICES
from mappings.packs.grpc import grpc_type
from mappings.packs.protobuf import BYTES, VARINT, read_fields
from mappings.paths import MAX_SEGMENTS
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request
from mappings.resolution import CONFLICT, Problem

ADDRESSED = ("/api/v1/clusters/", "/api/v1/repositories/", "/api/v1/repocreds/")
"""Where the server splits the path as it was sent."""

SHIPPING = frozenset({"ApplicationService_Sync", "ApplicationService_Rollback"})
"""Operations whose name hangs on the body."""

NAME, DRY_RUN, PRUNE = 1, 3, 4
"""Fields of ApplicationSyncRequest and ApplicationRollbackRequest; the first also of every other request about one
application (server/application/application.proto)."""

ABOUT_ONE = frozenset(
    f"ApplicationService_{method}"
    for method in (
        *("Delete", "DeleteResource", "PatchResource", "RunResourceAction", "RunResourceActionV2"),
        *("Patch", "TerminateOperation", "UpdateSpec"),
    )
)
"""Changes whose gRPC body is read for the application's name, where it can be."""

FLAGS = {"dryRun": read_pointer("dryRun"), "prune": read_pointer("prune")}


class ArgocdPack:
    """Any Argo CD server; the operator binds its host."""

    name = "argocd"
    family = "argocd"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    @cached_property
    def routes(self) -> Routes:
        """The table of both kinds of routes."""
        return read_rows(_rows())

    def known_operations(self) -> tuple[Call, ...]:
        """Return every operation there is, as calls without captures."""
        return tuple(
            Call(f"argocd:{each.name}", {}, access=each.access, executes=each.executes, mints=each.mints)
            for each in self.routes.operations.values()
        )

    def needs_body(self, request: Request) -> bool:
        """Only shipping hangs on the body, and over gRPC the name of the application."""
        if request.method != "POST":
            return False
        path = request.path.removesuffix("/")
        return path.endswith(("/sync", "/rollback")) or path.startswith("/application.ApplicationService/")

    def recognise(self, request: Request) -> Recognition:
        """Name the one operation of the request."""
        if "%2F" in request.path and not request.path.startswith(ADDRESSED):
            return conflict('path has an encoded "/"; Argo CD would split there')
        sent = request.path[1:].removesuffix("/").split("/")
        segments = tuple(map(unquote, sent) if "%" in request.path else sent)
        if len(segments) > MAX_SEGMENTS:
            return NOT_RECOGNISED
        is_grpc = grpc_type(request)
        if is_grpc is None:
            return conflict("the request has several content types; send one")
        remote = "." in segments[0] and segments[0] in SERVICES
        # The server tells the two apart by the content type alone.
        if remote is not is_grpc:
            return NOT_RECOGNISED
        hit = next(self.routes.table.find("GET" if request.method == "HEAD" else request.method, segments), None)
        if hit is None:
            return NOT_RECOGNISED
        operation = hit.entry.operation
        captures = hit.captures(segments)
        told = _told(request, operation.name, remote)
        if isinstance(told, Recognition):
            return told
        captures.update(told)
        trusted = frozenset(captures) - FLAGS.keys()
        path = "/".join((*segments, *filter(None, (told.get("application", ""),))))
        call = Call(
            f"argocd:{operation.name}",
            {**captures, "path": f"/{path}"},
            trusted=trusted,
            target=f"{request.host}/{path}",
            access=operation.access,
            executes=operation.executes,
            mints=operation.mints,
        )
        return Recognition((call,))


def _rows() -> Iterator[list[object]]:
    for service, rows in SERVICES.items():
        for method, access, traits, *routes in rows:
            rest = [route.replace(" /", " /api/v1/", 1) for route in routes]
            name = f"{service.partition('.')[2]}_{method}"
            yield [name, access, traits, [f"POST /{service}/{method}", *rest]]
    for name, access, traits, *routes in BESIDE:
        yield [name, access, traits, routes]


def _told(request: Request, operation: str, remote: bool) -> dict[str, str] | Recognition:
    """Return what the body says of an operation that hangs on it, or why that cannot be told."""
    if operation in SHIPPING:
        return _remote_options(request) if remote else _options(request)
    if not remote or operation not in ABOUT_ONE:
        return {}
    fields = read_fields(request.body or b"", {NAME: BYTES})
    name = _name(fields.get(NAME)) if fields else ""
    return {"application": name} if name else {}


def _options(request: Request) -> dict[str, str] | Recognition:
    body = read_json(request)
    found: dict[str, str] = {}
    for name, pointer in FLAGS.items():
        value = body if isinstance(body, Problem) or body is MISSING else look_up(body, pointer)
        if isinstance(value, Problem):
            return Recognition((), value)
        if value is not MISSING and not isinstance(value, bool):
            return Recognition((), Problem(CONFLICT, f'"{name}" in the body is neither true nor false'))
        found[name] = "true" if value is True else "false"
    return found


def _remote_options(request: Request) -> dict[str, str] | Recognition:
    if request.body is None:
        return unreadable("the call was not read, so its application is not known")
    # A message in base64 is another spelling of the same frame; nothing of Argo CD's sends it.
    text = any("-text" in value for value in request.header_values("content-type"))
    fields = None if text else read_fields(request.body, {NAME: BYTES, DRY_RUN: VARINT, PRUNE: VARINT})
    name = _name(fields.get(NAME)) if fields else ""
    if not fields or not name:
        return unreadable("the call holds no plain message that names an application")
    flags = {"dryRun": fields.get(DRY_RUN, 0), "prune": fields.get(PRUNE, 0)}
    return {"application": name, **{key: "true" if value else "false" for key, value in flags.items()}}


def _name(value: object) -> str:
    """Return an application's name, "" for anything that cannot be one (it is an object of Kubernetes)."""
    if not isinstance(value, bytes):
        return ""
    try:
        name = value.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return name if name.isprintable() and "/" not in name else ""


PACK = ArgocdPack()
