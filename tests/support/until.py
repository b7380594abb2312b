"""Waiting for what another thread or process does."""

from collections.abc import Callable
from threading import Event

_LOOKS = 30_000
_PAUSE_S = 0.001
"""Who looks without a pause takes the interpreter from the thread that is waited for: each call that gives it up and
takes it back at once restarts the five milliseconds after which the others may demand it (CPython 3.13, take_gil)."""


def until[T](look: Callable[[], T]) -> T:
    """What is looked for, once it is there; fails when it does not come in a long while."""
    pause = Event()
    for _ in range(_LOOKS):
        if found := look():
            return found
        pause.wait(_PAUSE_S)
    raise AssertionError("what was waited for did not come")
