"""Every operation of Argo CD, by REST and by gRPC-Web.

No registry holds a description of its API, so the requests are made from the table that was written by hand from the
server's own (`mappings.packs.argocd_operations`): this shows that no two operations collide, not that none is missing.
Addresses of repositories and clusters are encoded, as the server's web page sends them.
"""

from __future__ import annotations

from collections.abc import Iterator

from case import Case

from mappings.packs.argocd_operations import BESIDE, SERVICES

SAMPLE_EVERY = 2
SITE = '{"version": 1, "bind": [{"host": "argocd.selftest.invalid", "pack": "argocd"}]}'
HOST = "https://argocd.selftest.invalid"

JSON = (("Content-Type", "application/json"),)
GRPC_WEB = (("Content-Type", "application/grpc-web+proto"),)
NAMED = b"\0\0\0\0\x04\n\x02x1"
"""A message whose first field is the text "x1"."""

VALUES = {
    "{cluster_id+}": "https%3A%2F%2Fk8s.acme.test",
    "{repository+}": "https%3A%2F%2Fgit.acme.test%2Facme%2Fx1",
    "{url+}": "https%3A%2F%2Fgit.acme.test%2Facme",
    "{subresource+}": "x1",
    "{rest+}": "x1/y2",
}


def cases() -> Iterator[Case]:
    """Yield the requests of every operation."""
    for service, rows in SERVICES.items():
        for method, _, _, *routes in rows:
            wanted = frozenset({f"argocd:{service.split('.')[1]}_{method}"})
            yield Case("POST", f"{HOST}/{service}/{method}", wanted, GRPC_WEB, NAMED, "gRPC-Web")
            for route in routes:
                yield _rest(route.replace(" /", " /api/v1/"), wanted)
    for name, _, _, *routes in BESIDE:
        for route in routes:
            yield _rest(route, frozenset({f"argocd:{name}"}))


def _rest(route: str, wanted: frozenset[str]) -> Case:
    method, path = route.split(" ")
    # In the services' own addresses "/" is encoded; elsewhere the server would split there.
    encodes = any(word in path for word in ("/clusters/", "/v1/repositories/", "/repocreds/"))
    for parameter, value in VALUES.items():
        path = path.replace(parameter, value if encodes or "%" not in value else "x1")
    words = [("x1" if word.startswith("{") else word) for word in path.split("/")]
    return Case(method, f"{HOST}{'/'.join(words)}", wanted, JSON, b"{}" if method != "GET" else b"")
