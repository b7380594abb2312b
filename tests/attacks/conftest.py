"""One gate and one target for every row."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import chron
from proxy.attack.judging import Record
from proxy.attack.owngate import now, own_gate, target_tls
from proxy.attack.running import Attacker
from proxy.attack.target import RecordingTarget
from proxy.config import EngineName
from support.gate import engines


class Attacked:
    """A gate under attack, in a thread of its own, and its log."""

    def __init__(self, folder: Path, engine: EngineName) -> None:
        self._folder = folder
        self._engine = engine
        self._up = threading.Event()

    def __enter__(self) -> "Attacked":
        self._target = RecordingTarget(target_tls(self._folder, now()))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._target)
            self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="attacked gate")
            self._thread.start()
            stack.callback(self._end)
            assert self._up.wait(60)
            self.attacker = Attacker(self.gate, self._target)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with own_gate(self._folder, self._target, None, self._engine) as (self.gate, self.config):
            self._up.set()
            await self._stop.wait()

    def records(self) -> dict[str, Record]:
        """Every decision so far, by its id."""
        return {record.fields["id"]: record.fields for record in chron.find(self.config.chron, kind="decision")}


@pytest.fixture(scope="session", params=engines())
def attacked(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """The gate and target of this run, for each engine."""
    with Attacked(tmp_path_factory.mktemp("attacked"), request.param) as running:
        yield running
