"""Names requests to a Docker daemon by the operations of its Engine API.

Decides nothing about images, registries or what a container does once it runs. Operators bind a daemon's host; there
is no way to see a daemon's socket. Podman's own API (/libpod/) and versions of the API before 1.24, where starting a
container could change how it was made, are not known.

Grammar (https://docs.docker.com/reference/api/engine/; the table is `mappings.packs.docker_operations`):

    [/vMAJOR.MINOR]/containers/..., /images/..., ...      docker:<operationId>

The daemon splits the decoded path, so "%2F" separates. Names of images, plugins and volumes hold slashes. Creating a
container or a service takes the body: the captures ``privileged`` and ``host_access`` say whether it stays within its
walls (`mappings.packs.docker_bodies`). The capture ``path`` is the decoded path without the version.

    POST /v1.47/containers/create       docker:ContainerCreate, host_access "false" for a plain container
    DELETE /images/registry.acme.test/shop/web     docker:ImageDelete, image registry.acme.test/shop/web
    POST /v1.23/containers/x/start      not recognised: another API
    POST /containers/create, not read   unreadable
"""

import re
from functools import cached_property
from urllib.parse import unquote

from mappings.catalogues import Hit, Routes, read_rows
from mappings.catalogues.routes import Entry
from mappings.packs.docker_bodies import container_facts, service_facts
from mappings.packs.docker_operations import OPERATIONS
from mappings.paths import MAX_SEGMENTS
from mappings.recognition import NOT_RECOGNISED, Call, Recognition
from mappings.request import Request
from mappings.resolution import Problem

VERSION = re.compile(r"v1\.(?:2[4-9]|[3-9][0-9]|[1-9][0-9]{2})")
"""Engine API reference, "API version history": 1.24 is the oldest that any supported daemon serves."""

MADE_FROM_BODIES = {
    "ContainerCreate": container_facts,
    "ServiceCreate": service_facts,
    "ServiceUpdate": service_facts,
}
"""Operations whose effect hangs on what the body asks of the host."""

_BODY_PATH = re.compile(r"(?:/v[0-9.]+)?/(?:containers/create|services/(?:create|[^/]+/update))/?")


class DockerPack:
    """Any Docker daemon that listens on a port; the operator binds its host."""

    name = "docker"
    family = "docker"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    @cached_property
    def routes(self) -> Routes:
        """The table."""
        return read_rows([name, access, traits, [route]] for name, access, traits, route in OPERATIONS)

    def known_operations(self) -> tuple[Call, ...]:
        """Return every operation there is, as calls without captures."""
        return tuple(
            Call(f"docker:{each.name}", {}, access=each.access, executes=each.executes, mints=each.mints)
            for each in self.routes.operations.values()
        )

    def needs_body(self, request: Request) -> bool:
        """Only what makes containers hangs on the body; builds and images may be large."""
        return request.method == "POST" and bool(_BODY_PATH.fullmatch(request.path))

    def recognise(self, request: Request) -> Recognition:
        """Name the one operation of the request."""
        path = unquote(request.path) if "%" in request.path else request.path
        segments = tuple(path.strip("/").split("/"))
        if VERSION.fullmatch(segments[0]):
            segments = segments[1:]
        if len(segments) > MAX_SEGMENTS or "" in segments:
            return NOT_RECOGNISED
        hit = self._closest(request.method, segments)
        return NOT_RECOGNISED if hit is None else _recognised(request, hit, segments)

    def _closest(self, method: str, segments: tuple[str, ...]) -> Hit[Entry] | None:
        hit = next(self.routes.table.find(method, segments), None)
        if hit is None and method == "HEAD":
            # RFC 9110 section 9.3.2: HEAD asks for what GET would answer.
            hit = next(self.routes.table.find("GET", segments), None)
        return hit


def _recognised(request: Request, hit: Hit[Entry], segments: tuple[str, ...]) -> Recognition:
    operation = hit.entry.operation
    captures = hit.captures(segments)
    trusted = frozenset(captures)
    captures["path"] = f"/{'/'.join(segments)}"
    if operation.name in MADE_FROM_BODIES:
        facts = MADE_FROM_BODIES[operation.name](request)
        if isinstance(facts, Problem):
            return Recognition((), facts)
        captures.update(facts)
    call = Call(
        f"docker:{operation.name}",
        captures,
        trusted=trusted,
        target="/".join((request.host, *segments)),
        access=operation.access,
        executes=operation.executes or captures.get("host_access") == "true",
        mints=operation.mints,
    )
    return Recognition((call,))


PACK = DockerPack()
