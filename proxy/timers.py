"""Calls that come later, so that a test can be the clock."""

import asyncio
from collections.abc import Callable
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
