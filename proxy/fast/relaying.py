"""What follows an upgrade: bytes both ways, counted; or messages, judged one by one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from proxy.fast.streams import Stream

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
    await both(_pump(agent, target, exchange.count_request), _pump(target, agent, exchange.count_response))


async def _pump(source: Stream, sink: Stream, passed: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read():
            sink.write(passed(data))
            await sink.drain()


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
