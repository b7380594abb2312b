"""What is to happen at a time happens then or after it, whichever loop counts the milliseconds."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from proxy.timers import call_at, loop_later
from support.waiting import Clock

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
            call_at(end, partial(called, end), now=partial(datetime.now, UTC), later=loop_later)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await done.wait()
        return found

    with asyncio.Runner(loop_factory=loop) as runner:
        assert min(runner.run(late_by())) >= timedelta()


def test_a_clock_that_was_set_back_is_waited_for() -> None:
    """What is to happen at a time of day is not lost when its timer has run down an hour before that."""
    clock = Clock()
    end, called = clock.at + timedelta(seconds=100), list[datetime]()

    def call() -> None:
        called.append(clock.at)

    call_at(end, call, now=clock.now, later=clock.later)
    (timer,) = clock._calls
    clock.at -= timedelta(hours=1)
    timer.cancel()
    timer.call()
    assert called == []
    clock.wait_timers(3700, 1)
    clock.pass_(3700)
    assert called == [end]
