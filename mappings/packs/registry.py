"""Names what container clients do at a registry: pull, push, delete, list, and the token they ask for first.

It reads method, path and query and never a body, so layers of any size pass through unread. It decides nothing
about images, and knows a repository only by the name in the path, which holds slashes as often as not: the fixed
words are looked for at the end, where no name can stand.

Grammar (https://github.com/opencontainers/distribution-spec/blob/main/spec.md, "Endpoints"; tokens:
https://distribution.github.io/distribution/spec/auth/token/ and /oauth/):

    GET    /v2/                                            registry:ping
    GET    /v2/NAME/manifests/REFERENCE                    registry:pull, phase manifest
    GET    /v2/NAME/blobs/DIGEST                           registry:pull, phase blob
    PUT    /v2/NAME/manifests/REFERENCE                    registry:push, phase manifest: from here on others get it
    POST   /v2/NAME/blobs/uploads/[?mount=DIGEST&from=N2]  registry:push, phase blob; registry:pull of N2 too
    GET, PATCH, PUT, DELETE  /v2/NAME/blobs/uploads/ID     registry:push, phase blob
    DELETE /v2/NAME/manifests/REFERENCE, .../blobs/DIGEST  registry:delete
    GET    /v2/NAME/tags/list, /v2/NAME/referrers/DIGEST, /v2/_catalog           registry:list
    GET|POST /token, /v2/token, /v2/auth, /oauth2/token, /oauth2/exchange        registry:auth

    PUT /v2/Acme/web/manifests/v1          not recognised: names are lower case
    POST ...uploads/?from=a/b&from=c/d     conflict

Amazon's registries (ID.dkr.ecr.REGION.amazonaws.com) stand below a host of the pack "aws": bind
``*.dkr.ecr.REGION.amazonaws.com`` to this one for each region in use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mappings.paths import split_path
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict
from mappings.request import Request

NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
"""One component of a repository's name (spec, "Pulling manifests"); matching takes linear time, for what may follow
a letter or digit is told by its first character."""

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
"""Spec, "Pulling manifests" and the image specification's "Digests"."""

READS = frozenset({"GET", "HEAD"})
UPLOADS = frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})
"""What a session of uploading takes; DELETE gives up what was sent so far, and nobody else has seen it."""

TOKENS = frozenset({("token",), ("v2", "token"), ("v2", "auth"), ("oauth2", "token"), ("oauth2", "exchange")})
"""Docker Hub, GitHub and Amazon's public one; Google; Quay; Azure."""

MAX_NAME_CHARS = 255

HOSTS = (
    *("registry-1.docker.io", "auth.docker.io", "ghcr.io", "quay.io", "registry.gitlab.com", "public.ecr.aws"),
    *("mcr.microsoft.com", "*.azurecr.io", "gcr.io", "*.gcr.io", "*.pkg.dev", "registry.k8s.io"),
)
"""Registries by their own documentation; one of one's own is bound by its operator."""

TRUSTED = frozenset({"name", "reference"})

ACCESS: Mapping[str, str] = {"pull": "read", "list": "list", "ping": "read", "auth": "read"}


class RegistryPack:
    """Any registry that speaks the distribution protocol."""

    name = "registry"
    family = "registry"
    hosts: tuple[str, ...] = HOSTS
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        """Return False: everything stands in the head."""
        return False

    def recognise(self, request: Request) -> Recognition:
        """Name one request of a container client."""
        segments = split_path(request.path)
        if not segments:
            return NOT_RECOGNISED
        if segments in TOKENS and request.method in {"GET", "POST"}:
            return _one("auth", request, mints=True)
        if segments[0] != "v2":
            return NOT_RECOGNISED
        if len(segments) == 1:
            return _one("ping", request) if request.method in READS else NOT_RECOGNISED
        if len(segments) == 2:
            catalog = segments[1] == "_catalog" and request.method in READS
            return _one("list", request) if catalog else NOT_RECOGNISED
        return _repository(request, segments[1:])


def _repository(request: Request, segments: tuple[str, ...]) -> Recognition:
    """Read the words at the end, then what is before them as the name."""
    *rest, kind, last = segments
    if rest and (rest[-1], kind) == ("blobs", "uploads"):
        return _upload(request, "/".join(rest[:-1]))
    name = "/".join(rest)
    if not _is_name(name):
        return NOT_RECOGNISED
    if (kind, last) == ("blobs", "uploads"):
        return _start(request, name)
    if (kind, last) == ("tags", "list") or (kind == "referrers" and DIGEST.fullmatch(last)):
        return _one("list", request, name) if request.method in READS else NOT_RECOGNISED
    if kind == "blobs" and DIGEST.fullmatch(last):
        verb = "pull" if request.method in READS else {"DELETE": "delete"}.get(request.method, "")
        return _one(verb, request, name, last, "blob") if verb else NOT_RECOGNISED
    if kind == "manifests" and (TAG.fullmatch(last) or DIGEST.fullmatch(last)):
        verb = "pull" if request.method in READS else {"PUT": "push", "DELETE": "delete"}.get(request.method, "")
        return _one(verb, request, name, last, "manifest") if verb else NOT_RECOGNISED
    return NOT_RECOGNISED


def _upload(request: Request, name: str) -> Recognition:
    if request.method not in UPLOADS or not _is_name(name):
        return NOT_RECOGNISED
    return _one("push", request, name, phase="blob")


def _start(request: Request, name: str) -> Recognition:
    """The start of an upload; a blob may be taken from another repository of the registry instead."""
    if request.method != "POST":
        return NOT_RECOGNISED
    sources = [value for key, value in request.query if key == "from"]
    if len(sources) > 1 or any(key.lower() in ("from", "mount") and key != key.lower() for key, _ in request.query):
        return conflict('the query says twice or in another case where to take a blob "from"')
    push = _one("push", request, name, phase="blob")
    if not sources:
        return push
    if not _is_name(sources[0]):
        return NOT_RECOGNISED
    return Recognition((*push.calls, *_one("pull", request, sources[0], phase="blob").calls))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME_CHARS and all(map(NAME.fullmatch, name.split("/")))


def _one(
    verb: str, request: Request, name: str = "", reference: str = "", phase: str = "", *, mints: bool = False
) -> Recognition:
    target = f"{request.host}/{name}" if name else request.host
    if reference:
        target += f"@{reference}" if ":" in reference else f":{reference}"
    captures = {"name": name, "reference": reference, "phase": phase}
    access = ACCESS.get(verb, "write")
    return Recognition(
        (Call(f"registry:{verb}", captures, trusted=TRUSTED, target=target, access=access, mints=mints),)
    )


PACK = RegistryPack()
