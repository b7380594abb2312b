"""What the forked processes of a gate do, from their first line to their last."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from proxy.config import Config
from proxy.loops import run_on
from proxy.running import reload_in_background, settle_memory, warn_of_age
from proxy.workers.coordinator import Coordinator
from proxy.workers.listening import Listening, Share
from proxy.workers.worker import Worker


def coordinate(config: Config, folder: Path, listening: Listening, end: int, ready: Callable[[], None]) -> None:
    """Be the coordinator until TERM, and until nobody holds the other side of the pipe `end` any more."""
    run_on(_coordinate(config, folder, listening, end, ready), uv=True)


def work(config: Config, folder: Path, listening: Listening, share: Share, ready: Callable[[], None]) -> None:
    """Be a worker until TERM."""
    run_on(_work(config, folder, listening, share, ready), uv=share.engine == "fast")


async def _coordinate(config: Config, folder: Path, listening: Listening, end: int, ready: Callable[[], None]) -> None:
    stopping, loop = _until_told(), asyncio.get_running_loop()
    async with Coordinator(config, folder, listening) as service:

        def deserted() -> None:
            loop.remove_reader(end)
            os.close(end)
            service.deserted()

        loop.add_reader(end, deserted)
        warn_of_age(config)
        settle_memory()
        loop.add_signal_handler(signal.SIGHUP, lambda: reload_in_background(service.reload()))
        ready()
        await stopping.wait()


async def _work(config: Config, folder: Path, listening: Listening, share: Share, ready: Callable[[], None]) -> None:
    stopping = _until_told()
    async with Worker(config, folder, listening, share):
        settle_memory()
        ready()
        await stopping.wait()


def _until_told() -> asyncio.Event:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    return stopping
