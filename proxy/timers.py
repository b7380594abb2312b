"""Calls that come later, so that a test can be the clock."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come."""


EARLY_S = 0.002
"""uvloop's timers count whole milliseconds from the last one that the loop has seen, and one in eight comes early."""

type Later = Callable[[float, Callable[[], object]], Handle]
"""Calls something when so many seconds have passed, and never before; in the running loop."""


def loop_later(seconds: float, call: Callable[[], object]) -> Handle:
    """Call something later in the running loop."""
    # Whoever is called looks at the clock, finds that it is not time yet, and is not called again.
    return asyncio.get_running_loop().call_later(max(seconds, 0.0) + EARLY_S, call)
