"""What follows an upgrade: bytes both ways, counted; or messages, judged one by one.

One side's end is the end of both, but for what an agent ends by halves (`proxy.upgrades`): there the target hears that
no more comes and may go on speaking.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from proxy.fast.streams import Stream
from proxy.upgrades import ENDS_BY_HALVES

if TYPE_CHECKING:
    from proxy.fast.exchanging import Serving


async def relay(serving: "Serving", agent: Stream, target: Stream) -> None:
    """Pass on what follows an upgrade until one side ends it."""
    verdict = serving.exchange.verdict
    if verdict is not None and verdict.messages:
        from proxy.fast.messages import relay_messages  # which is read here as well

        await relay_messages(serving, agent, target, verdict.messages)
        return
    exchange = serving.exchange
    facts = exchange.head.facts
    halves = facts is not None and facts.upgrade in ENDS_BY_HALVES
    up = _pump(agent, target, exchange.count_request, half=halves)
    await both(up, _pump(target, agent, exchange.count_response))


async def _pump(source: Stream, sink: Stream, passed: Callable[[bytes], bytes], *, half: bool = False) -> None:
    """Pass on what comes until no more does; with `half` the end is passed on too, and is not the end of all."""
    with contextlib.suppress(OSError):
        while data := await source.read():
            sink.write(passed(data))
            await sink.drain()
        if half:
            sink.write_eof()
            await asyncio.Event().wait()


async def both(*directions: Awaitable[None]) -> None:
    """Run until the first has ended; what raises, raises here."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
