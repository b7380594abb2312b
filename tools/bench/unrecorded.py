"""A gate that writes nothing down, to see what the Chron costs. It exists here alone.

    python -m bench.unrecorded claiim.yaml

No setting and no flag of `claiim serve` does this: the log of a gate that has started is taken from it from outside,
and what takes its place answers as if everything were on disk. Everything else is as `claiim serve` has it.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from chron import Receipt
from proxy.configloading import load_config
from proxy.loops import run
from proxy.serve import Service


class NoLog:
    """Takes records and keeps none."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def append_many(self, records: Sequence[Any]) -> asyncio.Future[tuple[Receipt, ...]]:
        """Receipts at once."""
        future: asyncio.Future[tuple[Receipt, ...]] = asyncio.get_running_loop().create_future()
        numbers = [next(self._numbers) for _ in records]
        future.set_result(tuple(Receipt(number, f"chr_{number:026}", b"") for number in numbers))
        return future

    def note(self, kind: str, fields: Any) -> None:
        """Nothing."""


async def _serve(config: Any) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Service(config) as service:
        service.gate._recorder._chron = NoLog()  # type: ignore[assignment]
        await stopped.wait()


if __name__ == "__main__":
    loaded = load_config(Path(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(loaded), loaded)
