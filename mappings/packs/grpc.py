"""Names gRPC calls by their path, which is the service and method itself.

Decides nothing about what a method does and never looks into a message. No list of services exists, so only health
checks and reflection, which gRPC itself defines, are marked as known. Operators bind a server's host.

Grammar (grpc.io, "gRPC over HTTP2" and "gRPC Web", section on requests):

    POST /package.Service/Method, content-type application/grpc, application/grpc-web or application/grpc-web-text,
    each with or without "+proto" or another coding

    POST /shop.Orders/Cancel, application/grpc+proto        grpc:shop.Orders/Cancel
    POST /shop.Orders/Cancel, application/json              not recognised: another protocol on the same path
    POST /api/shop.Orders/Cancel, /shop.Orders/Cancel?x     not recognised: no method's path
    two content types that differ                           conflict
"""

import re
from collections.abc import Mapping

from mappings.recognition import NOT_RECOGNISED, Call, Recognition, conflict
from mappings.request import Request

PATH = re.compile(
    r"/(?P<service>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)/(?P<method>[A-Za-z_][A-Za-z0-9_]*)"
)
"""Names as the language of Protocol Buffers writes them (protobuf.dev, "Identifiers")."""

CONTENT_TYPE = re.compile(r"application/grpc(?:-web(?:-text)?)?(?:\+[a-z0-9.-]+)?")

KNOWN: Mapping[str, str] = {
    "grpc.health.v1.Health/Check": "read",
    "grpc.health.v1.Health/List": "list",
    "grpc.health.v1.Health/Watch": "read",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "read",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "read",
}
"""Access by method, of the services gRPC defines (grpc.io, "GRPC Health Checking Protocol", "Server Reflection")."""


class GrpcPack:
    """Any gRPC server."""

    name = "grpc"
    family = "grpc"
    hosts: tuple[str, ...] = ()
    reads_prefix = False

    def known_operations(self) -> tuple[Call, ...]:
        """Return the operations gRPC itself defines, as calls without captures."""
        return tuple(Call(f"grpc:{name}", {}, access=access) for name, access in KNOWN.items())

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        """Return False: the path says it all."""
        return False

    def recognise(self, request: Request) -> Recognition:
        """Name the one call of the request."""
        match = PATH.fullmatch(request.path) if request.method == "POST" and not request.query else None
        if match is None:
            return NOT_RECOGNISED
        is_grpc = grpc_type(request)
        if is_grpc is None:
            return conflict("the request has several content types; send one")
        if not is_grpc:
            return NOT_RECOGNISED
        name = request.path[1:]
        call = Call(
            f"grpc:{name}",
            {"service": match["service"], "rpc": match["method"]},
            trusted=frozenset({"service"}),
            target=f"{request.host}/{name}",
            access=KNOWN.get(name, ""),
            known=name in KNOWN,
        )
        return Recognition((call,))


def grpc_type(request: Request) -> bool | None:
    """Say whether a request is declared as gRPC; None when its declarations differ."""
    kinds = {value.partition(";")[0].strip().lower() for value in request.header_values("content-type")}
    if len(kinds) > 1:
        return None
    return bool(CONTENT_TYPE.fullmatch(next(iter(kinds), "")))


PACK = GrpcPack()
