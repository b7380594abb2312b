"""Bring each new checkpoint to the anchors, beside everything else, and say how far they are.

A decision never waits for an anchor. Each place has its own task, takes the newest checkpoint, which covers all
before it, and tries again for as long as it does not take it. `require` of them must hold a checkpoint before it
counts as anchored; while it does not for some minutes, the gate says so where it says whether it is well.

At the start the other way: what the places have seen is read back and the log is held against it (`chron.Head`), so
that an old copy or another log is not continued. Places that cannot be read then are passed over, unless fewer than
`require` of them answered: a guard that a pulled cable turns off would be none.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chron import Cadence, Head, Signing, parse_note
from proxy.anchors import Anchor, AnchorError, make_anchor
from proxy.checkpointconfig import CheckpointsConfig
from proxy.config import ConfigError
from proxy.timers import Later, loop_later

_log = logging.getLogger(__name__)

GRACE = timedelta(minutes=5)
"""How long a checkpoint may take to its anchors before somebody should look."""
STOP_S = 5.0
"""How long the last checkpoint may take when the gate stops."""
_PAUSES_S = (1, 5, 25, 60)
"""Between one try and the next; the last one again and again."""


@dataclass(slots=True)
class AnchorState:
    """How far one place is."""

    name: str
    size: int = 0
    """Records that the newest checkpoint there covers, as far as we know."""
    at: datetime | None = None
    """When it took that one; None when it was there before we came."""
    fault: str = ""
    """Why it did not take the newest one."""


class Anchoring:
    """The anchors of one log; lives in an event loop."""

    def __init__(
        self,
        config: CheckpointsConfig,
        *,
        now: Callable[[], datetime],
        later: Later = loop_later,
        anchors: Sequence[Anchor] | None = None,
    ) -> None:
        self._config = config
        self._now, self._later = now, later
        self._anchors = [make_anchor(each, now=now) for each in config.anchors] if anchors is None else list(anchors)
        self.states = [AnchorState(anchor.name) for anchor in self._anchors]
        self._note, self._size = "", 0
        self._owed_since: datetime | None = None
        """Since when there is a checkpoint that too few places hold."""
        self._wakes = [asyncio.Event() for _ in self._anchors]
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    async def signing(self, *, lost: bool = False) -> Signing:
        """With what the log is to be opened: its key, and what is known of it here; raises ConfigError."""
        cadence = Cadence(self._config.every_records, self._config.every_s)
        heads = await self._heads()
        return Signing(self._config.key, self._config.ml_dsa_key, cadence, heads, self.tell, lost)

    async def _heads(self) -> list[Head]:
        readable = [
            (anchor, state) for anchor, state in zip(self._anchors, self.states, strict=True) if anchor.readable
        ]
        found = await asyncio.gather(*(anchor.read() for anchor, _ in readable), return_exceptions=True)
        heads: list[Head] = []
        answered = 0
        for (anchor, state), note in zip(readable, found, strict=True):
            if isinstance(note, AnchorError):
                state.fault = str(note)
                _log.warning("anchor %s cannot be read back: %s", anchor.name, note)
                continue
            if isinstance(note, BaseException):
                raise note
            answered += 1
            if note is not None:
                state.size = parse_note(note).checkpoint().size
                heads.append(Head(anchor.name, note))
        needed = min(self._config.require, len(readable))
        if answered < needed:
            faults = "; ".join(f"{state.name}: {state.fault}" for _, state in readable if state.fault)
            raise ConfigError.plain(
                f"anchors cannot be read back, {needed} must ({faults}); bring them back, or lower "
                '"checkpoints.require" if you know that this log was not replaced'
            )
        return heads

    def start(self, newest: str) -> None:
        """Begin to bring checkpoints there; the newest one at once, in case the last run could not."""
        for anchor, state, wake in zip(self._anchors, self.states, self._wakes, strict=True):
            state.fault = ""
            self._tasks.append(asyncio.create_task(self._bring(anchor, state, wake), name=f"anchor {anchor.name}"))
        if newest:
            self._take(newest)

    def tell(self, note: str) -> None:
        """There is a new checkpoint; from any thread, and never an error."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: the next start brings it there
            self._loop.call_soon_threadsafe(self._take, note)

    def _take(self, note: str) -> None:
        size = parse_note(note).checkpoint().size
        if size > self._size:
            self._note, self._size = note, size
            self._owed_since = self._owed_since or self._now()
            self._settle()
            for state, wake in zip(self.states, self._wakes, strict=True):
                if not state.fault:  # else it is pausing, and takes the newest one when it tries again
                    wake.set()

    def _settle(self) -> None:
        if self._anchored() >= self._size:
            self._owed_since = None

    def _anchored(self) -> int:
        """Records under a checkpoint that enough places hold."""
        if not self._config.require:
            return self._size
        return sorted((state.size for state in self.states), reverse=True)[self._config.require - 1]

    async def _bring(self, anchor: Anchor, state: AnchorState, wake: asyncio.Event) -> None:
        failures = 0
        while not self._stopping or state.size < self._size:
            await wake.wait()
            wake.clear()
            while state.size < self._size:
                note, size = self._note, self._size
                try:
                    await anchor.write(note)
                except AnchorError as error:
                    _tell_once(state, str(error))
                    if self._stopping:
                        return
                    self._later(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)], wake.set)
                    failures += 1
                    break
                state.size, state.at, state.fault, failures = size, self._now(), "", 0
                self._settle()

    def fault(self) -> str:
        """Why checkpoints do not count as anchored; "" when they do, or not for long yet."""
        if self._owed_since is None or self._now() - self._owed_since < GRACE:
            return ""
        faults = "; ".join(f"{state.name}: {state.fault}" for state in self.states if state.fault)
        return f"{self._config.require} must hold a checkpoint ({faults or 'no answer yet'})"

    async def stop(self) -> None:
        """Bring the last checkpoint there, if that is soon done; after the log was closed."""
        await asyncio.sleep(0)  # what the writer's thread told last is taken first
        self._stopping = True
        for wake in self._wakes:
            wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell_once(state: AnchorState, fault: str) -> None:
    if fault != state.fault:
        _log.warning("anchor %s did not take a checkpoint: %s", state.name, fault)
    state.fault = fault
