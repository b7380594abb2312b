"""A target that has on its shelf what each tool of the table asks for, and a trap where it would be without a gate.

Its names resolve, for the tools, to an address where only the trap listens; the gate is told another. Whatever goes
around the gate is therefore seen: it ends in the trap.
"""

import contextlib
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web

from clients.wiring.scripts import PARENT_POM
from support.targets.base import Seen
from support.targets.origin import Origin

TRAP = "198.51.100.1"
"""The machine's address on the network that `networks` makes. Not loopback: Go and Ruby never proxy that."""
PORTS = (443, 80, 5432, 22)

_NPM = '{"name": "x", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "x", "version": "1.0.0", "dist": {"tarball": "x.tgz"}}}}'
_PIP = '<a href="x-1.0-py3-none-any.whl">x-1.0-py3-none-any.whl</a>'
_MODELS = '{"object": "list", "data": [], "has_more": false, "first_id": null, "last_id": null}'
_SHELF = {
    "/npm/x": ("application/json", _NPM),
    "/x": ("application/json", _NPM),
    "/pip/x/": ("text/html", _PIP),
    "/simple/x/": ("text/html", _PIP),
    "/cargo/api/v1/crates": ("application/json", '{"crates": [], "meta": {"total": 0}}'),
    "/goproxy/example.test/x/@v/list": ("text/plain", "v1.0.0\n"),
    "/goproxy/example.test/x/@v/v1.0.0.info": ("application/json", '{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}'),
    "/goproxy/example.test/x/@v/v1.0.0.mod": ("text/plain", "module example.test/x\n"),
    "/maven/test/acme/parent/1/parent-1.pom": ("application/xml", PARENT_POM),
    "/openai/models": ("application/json", _MODELS),
    "/v1/models": ("application/json", _MODELS),
    "/anthropic/v1/models": ("application/json", _MODELS),
    "/v1/projects/acme": ("application/json", '{"projectId": "acme", "lifecycleState": "ACTIVE"}'),
    "/v1.44/containers/json": ("application/json", "[]"),
    "/api/v3/meta": ("application/json", "{}"),
}  # fmt: skip


class Shelf(Origin):
    """Answers by path, and everything else as `Origin` does."""

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if request.path == "/state":
            return web.Response(status=204)  # Terraform, HTTP backend: no state yet
        if request.path == "/cargo/config.json":
            return web.json_response({"dl": "https://origin.test/cargo/dl", "api": "https://origin.test/cargo"})
        if request.path.endswith(".sha1"):
            return web.Response(status=404)
        if request.path in _SHELF:
            kind, text = _SHELF[request.path]
            return web.Response(text=text, content_type=kind)
        return await super().answer(request, seen)


class Trap:
    """Accepts connections on `PORTS` of `TRAP` and says of each what it began with."""

    def __init__(self) -> None:
        self.caught: list[tuple[int, bytes]] = []
        self._selector = selectors.DefaultSelector()
        self._over, waking = socket.socketpair()
        self._selector.register(waking, selectors.EVENT_READ, None)
        for port in PORTS:
            listening = socket.create_server((TRAP, port))
            self._selector.register(listening, selectors.EVENT_READ, port)
        self._thread = threading.Thread(target=self._watch, name="trap")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _watch(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    self.caught.append((key.data, connection.recv(16384)))


def with_hosts(folder: Path, names: Iterable[str]) -> list[str]:
    """The beginning of a command in whose /etc/hosts these names are in the trap; without that right the test ends."""
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{TRAP} {name}\n" for name in names) + Path("/etc/hosts").read_text())
    inner = 'mount --bind "$0" /etc/hosts && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inner, str(hosts)]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("names of its own for a command need root")
    return command
