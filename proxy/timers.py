"""Calls that come later, so that a test can be the clock."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Handle(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come."""


type Later = Callable[[float, Callable[[], object]], Handle]
"""Calls something when so many seconds have passed; in the running loop."""


def loop_later(seconds: float, call: Callable[[], object]) -> Handle:
    """Call something later in the running loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


def call_at(end: datetime, call: Callable[[], object], *, now: Callable[[], datetime], later: Later) -> None:
    """Call something when the clock has come to `end`, and not before.

    A timer may be early (uvloop's count whole milliseconds, and one in eight is), and a clock may be set back: whoever
    was called then would find that it is not time yet, and would not be called again.
    """

    def look() -> None:
        left_s = (end - now()).total_seconds()
        if left_s > 0:
            later(left_s, look)
        else:
            call()

    later((end - now()).total_seconds(), look)
