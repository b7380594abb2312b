"""What is to happen at a time happens then or after it, whichever loop counts the milliseconds."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from proxy.timers import loop_later

TIMERS = 300


def loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    """Those that a gate may run on here."""
    try:
        import uvloop
    except ImportError:  # as on Windows
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("loop", loops(), ids=lambda loop: loop.__module__.partition(".")[0])
def test_nothing_is_called_before_its_time(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """An approval that is looked at half a millisecond before its end has none yet, and nobody looks again."""

    async def late_by() -> list[timedelta]:
        found: list[timedelta] = []
        done = asyncio.Event()

        def called(end: datetime) -> None:
            found.append(datetime.now(UTC) - end)
            if len(found) == TIMERS:
                done.set()

        for number in range(TIMERS):
            end = datetime.now(UTC) + timedelta(microseconds=20_000 + 137 * number)
            loop_later((end - datetime.now(UTC)).total_seconds(), lambda end=end: called(end))  # type: ignore[misc]
            if number % 10 == 0:
                await asyncio.sleep(0)
        await done.wait()
        return found

    with asyncio.Runner(loop_factory=loop) as runner:
        assert min(runner.run(late_by())) >= timedelta()
