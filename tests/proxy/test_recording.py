"""Waiting for records to be durable: for as long as the gate has patience, and without calling anything back."""

import asyncio
from types import CodeType
from typing import cast

import pytest

from chron import Chron, ChronError, Receipt
from proxy.metrics import Metrics
from proxy.recording import Recorder
from proxy.records import Origin
from support.planting.bugs import planted
from support.planting.sites import Functions, Site

LONG_S = 3600.0


def recorder() -> Recorder:
    return Recorder(cast(Chron, None), Origin("session", "fast", "1"), Metrics())


def pending() -> asyncio.Future[tuple[Receipt, ...]]:
    return asyncio.get_running_loop().create_future()


async def test_records_that_are_durable_end_the_waiting() -> None:
    """Whoever waits goes on as soon as it is known, and what was not durable says why."""
    waits, good, bad = recorder(), pending(), pending()
    waits.patience_s = LONG_S
    both = asyncio.gather(waits.answered(good), waits.answered(bad))
    await asyncio.sleep(0)
    good.set_result(())
    bad.set_exception(ChronError("disk full"))
    assert [*await both] == [True, True]
    with pytest.raises(ChronError, match="disk full"):
        bad.result()


async def test_patience_ends_for_each_by_itself() -> None:
    """A request that has less patience than one before it does not wait for the other's to end."""
    waits, long, short = recorder(), pending(), pending()
    waits.patience_s = LONG_S
    first = asyncio.ensure_future(waits.answered(long))
    await asyncio.sleep(0)
    waits.patience_s = 0.01
    assert await waits.answered(short) is False
    assert not short.done()
    assert await waits.answered(pending()) is False
    assert not first.done()
    long.set_result(())
    assert await first is True


async def test_a_request_that_is_cancelled_calls_no_record_back() -> None:
    """What is on its way to the disk stays on its way."""
    waits, writing = recorder(), pending()
    waiting = asyncio.ensure_future(waits.answered(writing))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not writing.done()
    writing.set_result(())
    await asyncio.sleep(0)


WAYS = [each for each in Recorder.answered.__code__.co_consts if isinstance(each, CodeType)]
"""What an answer comes by."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.co_name)
async def test_a_wait_ends_though_one_way_to_its_end_is_broken(way: CodeType) -> None:
    """Known to be durable, or out of patience: a bug in the one leaves the other."""
    waits, written, unwritten = recorder(), pending(), pending()
    waits.patience_s = 0.01
    with planted(Functions(), Site(way), "exception") as bug:
        waiting = [asyncio.ensure_future(waits.answered(each)) for each in (written, unwritten)]
        await asyncio.sleep(0)
        written.set_result(())
        assert await asyncio.to_thread(bug.met.wait, 20)
        unwritten.set_result(())
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
