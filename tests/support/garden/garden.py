"""All eight readers at once, and whether they agree."""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.garden.parsers import PARSERS
from support.garden.reading import END, Reading
from support.garden.servers import Nginx, Node, Tornado, nginx, node, read

READERS = (*PARSERS, "tornado", "node", "nginx")


class Garden:
    """The servers run between enter and exit, in a loop of this thread's own."""

    def __init__(self, folder: Path, *, node: str, nginx: str) -> None:
        self._folder, self._node, self._nginx = folder, node, nginx

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._servers: dict[str, Tornado | Node | Nginx] = self._runner.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _start(self) -> dict[str, Tornado | Node | Nginx]:
        tornado = Tornado()
        self._stack.callback(tornado.close)
        return {
            "tornado": tornado,
            "node": await self._stack.enter_async_context(node(self._node)),
            "nginx": await self._stack.enter_async_context(nginx(self._nginx, self._folder)),
        }

    def read(self, stream: bytes, *, ends: bool) -> dict[str, Reading]:
        """What each reader makes of a stream; `END` is put behind one that `ends` not by itself."""
        whole = stream if ends else stream + END
        found = {name: parser(whole) for name, parser in PARSERS.items()}

        async def ask() -> list[Reading]:
            return await asyncio.gather(*(read(server, whole) for server in self._servers.values()))

        return {**found, **dict(zip(self._servers, self._runner.run(ask()), strict=True))}


_REFUSALS = re.compile(
    r"Invalid method|Expected space after method|HPE_INVALID_METHOD|InvalidRequestMethod"
    r"|Duplicate '[A-Za-z-]+' header|ExpectationFailed|status 405"
)
"""What some servers refuse of a request that they have read as everybody does: a method that they do not know (llhttp
has words of its own for one that begins as one it knows, PUTS), a second User-Agent, an expectation. Nothing that has
to do with where a request ends."""


def refused_by_some(request: bytes) -> bool:
    """Whether a reader may refuse this request for what it asks, and let go of the connection."""
    if request.startswith(b"TRACE "):
        return True
    return any(_REFUSALS.search(parser(request).fault) for parser in PARSERS.values())


def disagreements(readings: Mapping[str, Reading]) -> list[str]:
    """Where readers differ, or one of them stopped, in a line each; compared with the first.

    A server that refuses a request which it read, and reads nothing behind it, does not differ.
    """
    reference = readings["h11"]
    told = []
    for name, reading in readings.items():
        if reading.fault and (reading.requests or not _REFUSALS.search(reading.fault)):
            told.append(f"{name} stops after {len(reading.requests)}: {reading.fault}")
        elif not reading.fault and reading.requests != reference.requests:
            pairs = zip(reading.requests, reference.requests, strict=False)
            differing = next((pair for pair in pairs if pair[0] != pair[1]), None)
            counts = f"{len(reading.requests)} requests, h11 {len(reference.requests)}"
            told.append(f"{name} reads {f'{differing[0]}, h11 {differing[1]}' if differing else counts}")
    return told
