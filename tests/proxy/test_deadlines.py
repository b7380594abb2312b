"""One timer for many deadlines: each is kept by itself."""

import asyncio

import pytest

from proxy.deadlines import Deadlines

LONG_S = 3600.0


async def until_quiet() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_due_first_comes_first_whenever_it_was_set() -> None:
    """A deadline that is set later and ends earlier does not wait for the one before it."""
    deadlines, came = Deadlines(), asyncio.Event()
    deadlines.set("long", LONG_S, lambda: pytest.fail("it has not come"))
    deadlines.set("short", 0.001, came.set)
    await came.wait()
    assert len(deadlines) == 1


async def test_what_is_done_in_time_is_never_called() -> None:
    """A cleared deadline is forgotten, and so is one that another replaced."""
    deadlines, called, ended = Deadlines(), list[str](), asyncio.Event()
    deadlines.set("cleared", 0.001, lambda: called.append("cleared"))
    deadlines.set("moved", 0.001, lambda: called.append("moved"))
    deadlines.clear("cleared")
    deadlines.clear("never set")
    deadlines.set("moved", LONG_S, lambda: called.append("moved"))
    deadlines.set("last", 0.002, ended.set)
    await ended.wait()
    await until_quiet()
    assert called == []
    assert len(deadlines) == 1


async def test_one_that_fails_takes_no_other_with_it() -> None:
    """What is due beside a call that raises is called all the same, and so is what comes after."""
    deadlines, came, later = Deadlines(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    deadlines.set("broken", 0, lambda: 1 // 0)
    deadlines.set("beside", 0, came.set)
    deadlines.set("after", 0.002, later.set)
    await came.wait()
    await later.wait()


async def test_a_call_may_set_its_deadline_anew() -> None:
    """Whoever looks and finds that it still goes on looks again."""
    deadlines, looked = Deadlines(), asyncio.Event()
    deadlines.set("look", 0, lambda: deadlines.set("look", 0, looked.set))
    await looked.wait()
    assert len(deadlines) == 0
