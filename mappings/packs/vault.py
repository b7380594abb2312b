"""Names requests to Vault by capability and path, as its own policies do.

Decides nothing about policies, and cannot see which engine is mounted where: at the mounts that Vault's own reference
uses (secret, database, pki...) it takes the engine to be the one of that name, and at any other it knows the
capability alone. Who named a mount otherwise writes a rule on ``vault:<capability>:custom`` and the fact ``mount``.

Grammar (https://developer.hashicorp.com/vault/docs/concepts/policies "Capabilities", /vault/api-docs; the table is
`mappings.packs.vault_paths`):

    GET read, LIST or GET ?list=true list, POST and PUT update, PATCH patch, DELETE delete
    /v1/sys/..., /v1/identity/...       vault:<capability>:sys/<words>, the path without its parameters
    /v1/auth/MOUNT/...                  vault:<capability>:auth/<words>, whatever the mount
    /v1/secret/..., /v1/database/...    vault:<capability>:<engine>/<words>
    /v1/MOUNT/...                       vault:<capability>:custom, not known, as grave as the gravest

    POST   /v1/secret/data/app/db       vault:update:kv/data, path app/db
    DELETE /v1/sys/mounts/secret        vault:delete:sys/mounts
    GET    /v1/team-kv/app              vault:read:custom, mount team-kv; it may answer with a secret
    GET    /v1/x?list=true&list=0       conflict: two readings of list
    PUT    /v1/ns1/sys/policy/x         conflict: a namespace in the path, or a secret of that name
    GET    /v1/sys/unheard-of           not recognised

X-Vault-Namespace is part of where a call takes effect: the capture ``namespace``, and the start of the capture ``at``.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from urllib.parse import unquote

from mappings.catalogues import Hit, Operation, RouteTable
from mappings.packs.vault_paths import AUTH, ENGINES, IDENTITY, MOUNTS, SYS
from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict, unreadable
from mappings.request import Request

CAPABILITIES = {
    "GET": "read",
    "HEAD": "read",
    "LIST": "list",
    "POST": "update",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
"""By method. Whether a POST creates or updates hangs on what is there, so both are "update"."""

BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("", "0", "f", "F", "FALSE", "false", "False"), False),
}
"""What the server reads as a boolean (Go, strconv.ParseBool); anything else it refuses."""

NAMESPACE = re.compile(r"/?((?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]+)*)?/?")
"""Vault Enterprise, "Namespaces": parts without spaces, joined by "/"; none that a path could climb by."""

ROOTS = frozenset({"sys", "auth", "identity"})
"""Where every namespace keeps what rules it."""

MAX_SEGMENTS = 64
"""Longer paths are not looked at; each may be looked up once for every segment."""

_LETTERS = {"r": "read", "l": "list", "u": "update", "p": "patch", "d": "delete"}
_ACCESS = {"read": "read", "list": "list"}
_PARAMETER = re.compile(r"\{.*\}")


class VaultPack:
    """Any Vault server; the operator binds its host."""

    name = "vault"
    family = "vault"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    @cached_property
    def table(self) -> RouteTable[Operation]:
        """Operations by capability and path."""
        table: RouteTable[Operation] = RouteTable()
        for capability, template, operation in _rows():
            table.add(capability, template, operation)
        return table

    def known_operations(self) -> tuple[Call, ...]:
        """Return every operation there is, as calls without captures."""
        found = {operation.name: operation for _, _, operation in _rows()}
        known = (
            Call(f"vault:{each.name}", {}, access=each.access, executes=each.executes, mints=each.mints)
            for each in found.values()
        )
        return (*known, *(_custom(capability, (), {}) for capability in dict.fromkeys(CAPABILITIES.values())))

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        """Return False: capability and path stand in the head."""
        return False

    def recognise(self, request: Request) -> Recognition:
        """Name the one operation of the request."""
        if not request.path.startswith("/v1/"):
            return NOT_RECOGNISED
        # The server splits the decoded path, and a secret's name may not tell from its folder.
        if "%2F" in request.path:
            return conflict('path has an encoded "/"; Vault would split there')
        path = unquote(request.path) if "%" in request.path else request.path
        segments = tuple(path[4:].strip("/").split("/"))
        capability = _capability(request)
        namespace = _namespace(request)
        for found in (capability, namespace):
            if isinstance(found, Recognition):
                return found
        if not capability or "" in segments or len(segments) > MAX_SEGMENTS:
            return NOT_RECOGNISED
        return self._recognised(request.host, str(capability), segments, str(namespace))

    def _recognised(self, host: str, capability: str, segments: tuple[str, ...], namespace: str) -> Recognition:
        at = "/".join((namespace, *segments) if namespace else segments)
        captures = {"namespace": namespace, "at": at}
        target = f"{host}/{at}"
        first = segments[0]
        if first in ROOTS or first in MOUNTS:
            hit = next(self.table.find(capability, segments), None)
            return NOT_RECOGNISED if hit is None else Recognition((_known(hit, segments, captures, target),))
        for start, segment in enumerate(segments):
            if segment in ROOTS and next(self.table.find(capability, segments[start:]), None) is not None:
                return conflict(f'"{segment}" behind another name may rule a namespace; use X-Vault-Namespace')
        return Recognition((_custom(capability, segments, captures, target),))


def _rows() -> Iterator[tuple[str, str, Operation]]:
    """Yield capability, template and operation of every line of the table, at every mount."""
    yield from _engine_rows("/sys", "sys", SYS)
    yield from _engine_rows("/identity", "identity", IDENTITY)
    yield from _engine_rows("/auth/{mount}", "auth", AUTH)
    for mount, engine in MOUNTS.items():
        yield from _engine_rows(f"/{mount}", engine, ENGINES[engine])


def _engine_rows(prefix: str, engine: str, lines: str) -> Iterator[tuple[str, str, Operation]]:
    for line in filter(None, lines.split("\n")):
        letters, path, traits = (*line.split(), "")[:3]
        words = "/".join((engine, *(word for word in path.split("/") if word and not _PARAMETER.fullmatch(word))))
        for letter in letters:
            capability = _LETTERS[letter]
            access = _ACCESS.get(capability, "permissions" if "a" in traits else "write")
            operation = Operation(f"{capability}:{words}", access, "x" in traits, "m" in traits)
            yield capability, prefix + path, operation


def _capability(request: Request) -> str | Recognition:
    """Return the capability a request takes, "" for a method without one."""
    capability = CAPABILITIES.get(request.method, "")
    if not request.query or request.method != "GET":
        return capability
    values = {value for name, value in request.query if name == "list"}
    if not values:
        return capability
    if not values <= BOOLEANS.keys():
        return unreadable('query parameter "list" is no boolean')
    asked = {BOOLEANS[value] for value in values}
    if len(asked) > 1:
        return conflict('query parameter "list" is given twice with different values')
    return "list" if asked.pop() else capability


def _namespace(request: Request) -> str | Recognition:
    """Return the namespace that the header names, "" for the root."""
    given = {value.strip() for value in request.header_values("x-vault-namespace")}
    if not given:
        return ""
    value, *others = given
    if others:
        return conflict("the header X-Vault-Namespace stands there twice and differs")
    match = NAMESPACE.fullmatch(value)
    return unreadable("the header X-Vault-Namespace holds no namespace") if match is None else match[1] or ""


def _known(hit: Hit[Operation], segments: tuple[str, ...], captures: dict[str, str], target: str) -> Call:
    operation = hit.entry
    captures = {**captures, **hit.captures(segments)}
    captures.setdefault("mount", segments[0])
    return Call(
        f"vault:{operation.name}",
        captures,
        trusted=frozenset(captures),
        target=target,
        access=operation.access,
        executes=operation.executes,
        mints=operation.mints,
    )


def _custom(capability: str, segments: tuple[str, ...], captures: dict[str, str], target: str = "") -> Call:
    """What an engine that nobody can see would do: read a secret, or change or take away anything."""
    if segments:
        captures = {**captures, "mount": segments[0], "path": "/".join(segments[1:])}
    return Call(
        f"vault:{capability}:custom",
        captures,
        trusted=frozenset(captures),
        target=target,
        access=_ACCESS.get(capability, "permissions"),
        executes=capability not in _ACCESS,
        mints=capability not in ("list", "delete"),
        known=False,
    )


PACK = VaultPack()
