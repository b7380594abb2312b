"""The gate itself as a child: the service with its listeners, in a folder whose files stand already.

It says where it listens through a pipe with a name, and lives until it is killed or told to stop by TERM.
"""

import asyncio
import logging
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from chron import ChronError
from proxy import loops
from proxy.config import Config
from proxy.configloading import load_config
from proxy.serve import Service
from support.torture.failpoints import plant
from support.torture.nursery import Nursery

READY = "ready"
DEADLINE_S = 60


type Places = list[tuple[str, str, int]]
"""Name, action, and at which hit."""


def run(folder: str, starting: Places, serving: Places, *, reload: bool = False) -> None:
    """Be the gate of a folder, with what is planted in its start, and once it serves.

    With `reload` it then reads its rules anew.
    """
    logging.disable()
    for place in starting:
        plant(*place)
    with suppress(ChronError):  # the command tells it in one line and ends
        config = load_config(Path(folder) / "claiim.yaml")
        loops.run(_serve(Path(folder), config, serving, reload), config)


async def _serve(folder: Path, config: Config, places: Places, reload: bool) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Service(config) as service:
        for place in places:
            plant(*place)
        with (folder / READY).open("w") as ready:
            ready.write(f"{service.proxy_address}\n")
        if reload:
            with suppress(RuntimeError):
                await service.reload()
        await stop.wait()


class Ready:
    """The parent's end of the pipe."""

    def __init__(self, folder: Path) -> None:
        path = folder / READY
        if not path.exists():
            os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def address(self, children: Nursery) -> str:
        """Block until the child says where it listens; "" when it ended before."""
        readable, _, _ = select.select([self._descriptor, children.ended], [], [], DEADLINE_S)
        assert readable, "the gate neither starts nor ends"
        return os.read(self._descriptor, 100).decode().strip() if self._descriptor in readable else ""

    def close(self) -> None:
        """Give the pipe up."""
        os.close(self._descriptor)
