"""AsyncGate does not block the loop, and leaves nothing behind when it is cancelled."""

import asyncio
import threading

import pytest

from claiim import ActionDenied, AsyncGate, GateUnavailable
from sdk.loopback_gate import ALLOWED, LoopbackGate, answered, json_reply

QUESTION = {"action": "deploy:staging", "target": "api-v2"}


def gate_at(url: str, timeout_s: float = 5.0) -> AsyncGate:
    return AsyncGate(agent_id="deploy-bot", token="secret-token", url=url, timeout_s=timeout_s)


async def test_the_same_answers_as_gate(served: LoopbackGate) -> None:
    """`await` gives the same result, and `require` raises the same denial."""
    gate = gate_at(served.url)
    assert (await gate.check(**QUESTION)).outcome == "ALLOW"
    assert (await gate.require(**QUESTION)).allowed
    served.reply = json_reply(200, answered(ALLOWED | {"outcome": "DENY"}))
    assert not await gate.check(**QUESTION)
    with pytest.raises(ActionDenied):
        await gate.require(**QUESTION)


async def test_the_loop_goes_on_while_the_gate_thinks(served: LoopbackGate) -> None:
    """Other tasks run, and many questions are under way at once."""
    together = threading.Barrier(4)
    good = json_reply(200, answered(ALLOWED))

    def reply(handler: object) -> None:
        together.wait(10)  # nobody is answered before all four have asked
        good(handler)  # type: ignore[arg-type]

    served.reply = reply
    gate = gate_at(served.url, timeout_s=20)
    results = await asyncio.gather(*(gate.check(**QUESTION) for _ in range(4)))
    assert all(result.allowed for result in results)


async def test_cancelling_ends_the_connection_at_once(served: LoopbackGate) -> None:
    """A cancelled question raises CancelledError, never answers, and does not hold its thread."""
    served.reply = lambda _: served.released.wait(30) and None
    before = threading.active_count()
    task = asyncio.create_task(gate_at(served.url, timeout_s=60).check(**QUESTION))
    await asyncio.to_thread(served.arrived.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Joins the pool's threads, for which a socket that is still read would be waited for until the gate answers.
    async with asyncio.timeout(25):
        await asyncio.get_running_loop().shutdown_default_executor()
    assert threading.active_count() <= before + 1, "only the server's own thread may be left"


async def test_a_silent_gate_is_unavailable(served: LoopbackGate) -> None:
    """The time limit holds under asyncio too."""
    served.reply = lambda _: served.released.wait(30) and None
    with pytest.raises(GateUnavailable, match="timed out"):
        await gate_at(served.url, timeout_s=0.1).check(**QUESTION)
