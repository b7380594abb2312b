"""What real tools make of NO_PROXY: whether a request goes to the proxy, or tries to go directly."""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx
import requests

ROWS = {
    "a host, itself": ("acme.test", "http://acme.test/"),
    "a host, below it": ("acme.test", "http://api.acme.test/"),
    "a host, another that ends so": ("acme.test", "http://evilacme.test/"),
    "a leading dot, below it": (".acme.test", "http://api.acme.test/"),
    "a leading dot, the host itself": (".acme.test", "http://acme.test/"),
    "a leading star": ("*.acme.test", "http://api.acme.test/"),
    "other letters": ("ACME.Test", "http://acme.test/"),
    "a port, that one": ("acme.test:8080", "http://acme.test:8080/"),
    "a port, another": ("acme.test:8080", "http://acme.test/"),
    "an address": ("127.1.2.3", "http://127.1.2.3:18999/"),
    "a network": ("127.0.0.0/8", "http://127.1.2.3:18999/"),
    "a star": ("*", "http://acme.test/"),
    "blanks between": ("other.test acme.test", "http://acme.test/"),
    "nothing, loopback": ("", "http://127.1.2.3:18999/"),
}
"""By what is tried: the value, and what is asked for."""

type Tool = Callable[[str, str, str], None]
"""Asks for a URL with a proxy and a value of NO_PROXY; what comes of it does not matter."""


class Listening:
    """A proxy that only counts who comes."""

    def __init__(self) -> None:
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                if connection.recv(65536):
                    self.asked += 1
                    connection.sendall(b"HTTP/1.1 502 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=30)


@contextmanager
def counting() -> Iterator[Listening]:
    """One of these."""
    listening = Listening()
    try:
        yield listening
    finally:
        listening.close()


def variables(proxy: str, exceptions: str) -> dict[str, str]:
    """An environment with these and no other variables of proxies."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    named = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": exceptions}
    return kept | named | {name.lower(): value for name, value in named.items()}


def run(command: list[str], proxy: str, exceptions: str, **more: str) -> None:
    """A program."""
    environment = {**variables(proxy, exceptions), **more}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)


def curl(proxy: str, exceptions: str, url: str) -> None:
    run(["curl", "-sS", "--max-time", "60", url], proxy, exceptions)


def git(proxy: str, exceptions: str, url: str) -> None:
    run(["git", "ls-remote", url], proxy, exceptions, GIT_TERMINAL_PROMPT="0")


def go(proxy: str, exceptions: str, url: str) -> None:
    """Build it with `go_program` first."""
    run([str(GO_PROGRAM), url], proxy, exceptions)


def node(proxy: str, exceptions: str, url: str) -> None:
    preload = Path(__file__).parents[2] / "proxy" / "wiring" / "preload.cjs"
    run(["node", "--require", str(preload), "-e", f"fetch({url!r}).catch(() => 0)"], proxy, exceptions)


@contextmanager
def _environment(proxy: str, exceptions: str) -> Iterator[None]:
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables(proxy, exceptions))
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def urllib_(proxy: str, exceptions: str, url: str) -> None:
    with _environment(proxy, exceptions), contextlib.suppress(OSError):
        urllib.request.build_opener().open(url, timeout=60).close()


def requests_(proxy: str, exceptions: str, url: str) -> None:
    with _environment(proxy, exceptions), contextlib.suppress(OSError), requests.Session() as session:
        session.get(url, timeout=60)


def httpx_(proxy: str, exceptions: str, url: str) -> None:
    with _environment(proxy, exceptions), contextlib.suppress(httpx.HTTPError), httpx.Client() as client:
        client.get(url, timeout=60)


def aiohttp_(proxy: str, exceptions: str, url: str) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession(trust_env=True) as session:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(url):
                    pass

    with _environment(proxy, exceptions):
        asyncio.run(ask())


GO_SOURCE = """package main

import ("net/http"; "os")

func main() {
	answer, err := http.Get(os.Args[1])
	if err == nil { answer.Body.Close() }
}
"""
GO_PROGRAM = Path(tempfile.gettempdir()) / f"claiim-noproxy-go-{os.getpid()}"


def build_go(folder: Path) -> None:
    """Make the program; a cold cache of Go's takes half a minute of processor time."""
    (folder / "main.go").write_text(GO_SOURCE)
    environment = {**os.environ, "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", str(GO_PROGRAM), "main.go"], cwd=folder, env=environment, check=True)


TOOLS: dict[str, Tool] = {
    "curl": curl,
    "git": git,
    "urllib": urllib_,
    "requests": requests_,
    "httpx": httpx_,
    "aiohttp": aiohttp_,
    "node": node,
    "Go": go,
}


def goes_around(tool: Tool, exceptions: str, url: str) -> bool:
    """Whether a tool does not ask the proxy."""
    with counting() as proxy:
        tool(proxy.url, exceptions, url)
        return proxy.asked == 0
