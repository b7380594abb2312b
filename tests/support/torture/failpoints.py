"""Named places in the gate at which it raises, stalls or dies, once.

They are real functions wrapped from outside, in a child of a test: the gate as it is shipped has no such places, and
nothing that could switch one on.
"""

import functools
import importlib
import inspect
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.torture.small_gate import count
from support.torture.tracing import STRIKES_AT

ACTIONS = ("raise", "stall", "kill")
"""Or a system call, which from then on the tracer makes fail in that thread (`Strike.for_ever`)."""
STALL_S = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Before or after a function of the gate."""

    owner: str
    """Module, and class where there is one."""
    function: str
    after: bool = False


START = {
    "recovery": Place("chron.log", "left_behind", after=True),
    "opening": Place("chron.log:Chron", "_begin"),
}
"""Passed once, when a gate starts."""

PLACES = START | {
    "resolved": Place("mappings:Mappings", "resolve", after=True),
    "decided": Place("proxy.judging:Judging", "decide", after=True),
    "before-enqueue": Place("chron.log:Chron", "append_many"),
    "after-enqueue": Place("chron.log:Chron", "append_many", after=True),
    "before-commit": Place("chron.ledger:Ledger", "commit"),
    "after-commit": Place("chron.ledger:Ledger", "commit", after=True),
    "acknowledged": Place("proxy.pipeline", "verdict_of"),
    "before-forward": Place("proxy.wire.engine:Engine", "opened"),
    "mid-forward": Place("proxy.wire.engine:Engine", "opened", after=True),
    "answered": Place("proxy.wire.engine:Engine", "answered"),
    "before-outcome": Place("proxy.pipeline:Gate", "finish"),
    "after-outcome": Place("proxy.pipeline:Gate", "finish", after=True),
    "telling": Place("chron.writer", "tell"),
    "policy-swap": Place("proxy.reloading:Reloading", "_swap"),
}

KEEPING = {
    "before-seal": Place("chron.log:Chron", "write"),
    "seal-recorded": Place("chron.log:Chron", "write", after=True),
    "segment-filled": Place("chron.segments", "_fill", after=True),
    "segment-synced": Place("chron.segments", "sync_folder"),
    "segment-named": Place("chron.segments", "_make_safe", after=True),
    "segment-read-back": Place("chron.living", "verify", after=True),
    "before-rotation": Place("chron.log:Chron", "rotate_key"),
    "key-made": Place("chron.checkpoints:Checkpoints", "rotation", after=True),
    "rotated": Place("chron.log:Chron", "rotate_key", after=True),
    "before-archive": Place("chron.log:Chron", "empty"),
    "archive-recorded": Place("chron.log:Chron", "_finish"),
    "archived": Place("chron.log:Chron", "_finish", after=True),
}
"""On the way of a log that is sealed, gets another key, and is archived."""

REMOVING = {
    "before-removal": Place("chron.log:Chron", "empty"),
    "removal-recorded": Place("chron.log:Chron", "_finish"),
    "before-emptying": Place("chron.ledger:Ledger", "empty"),
    "emptied": Place("chron.ledger:Ledger", "empty", after=True),
    "before-forgetting": Place("chron.ledger:Ledger", "forget"),
    "forgotten": Place("chron.ledger:Ledger", "forget", after=True),
    "removal-finished": Place("chron.log:Chron", "_finish", after=True),
}
"""On the way of bodies that go for good."""

ERASING = REMOVING | {
    "copies": Place("chron.living", "erase_copies"),
    "copy-emptied": Place("chron.segments", "_erase", after=True),
    "copy-synced": Place("chron.segments", "sync_folder"),
    "copy-named": Place("chron.segments", "_make_safe", after=True),
}
PRUNING = REMOVING | {
    "before-removing-files": Place("chron.living", "remove_pruned"),
    "files-removed": Place("chron.living", "remove_pruned", after=True),
}


def plant(name: str, action: str, hit: int = 1) -> None:
    """Make the gate of this process do it when it comes to the place for the `hit`-th time."""
    place = (PLACES | KEEPING | ERASING | PRUNING)[name]
    module, _, owner_name = place.owner.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, owner_name) if owner_name else owner
    original, struck = getattr(owner, place.function), _counted(action, hit)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not place.after:
            struck()
        result = original(*args, **kwargs)
        if place.after:
            struck()
        return result

    @functools.wraps(original)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if not place.after:
            struck()
        result = await original(*args, **kwargs)
        if place.after:
            struck()
        return result

    setattr(owner, place.function, awaited if inspect.iscoroutinefunction(original) else wrapped)


def _counted(action: str, hit: int) -> Callable[[], None]:
    left = hit

    def struck() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            _act(action)

    return struck


def _act(action: str) -> None:
    match action:
        case "raise":
            raise RuntimeError("planted")
        case "stall":
            time.sleep(STALL_S)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case call:
            count(call, STRIKES_AT)
