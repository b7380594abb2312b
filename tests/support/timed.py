"""A gate whose limits are small, and whose time is the test's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.targets.base import Target
from support.waiting import Clock


class TimedGate(LiveGate):
    """A live gate with limits; what it does after a while it does when the test lets time pass."""

    def __init__(
        self, folder: Path, *targets: Target, target_ca: Path, limits: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        self.clock = Clock()
        settings = {"mappings": ORIGIN_MAPPINGS, **more}
        settings["config"] = {"limits": dict(limits or {}), **more.get("config", {})}
        super().__init__(folder, *targets, target_ca=target_ca, **settings)
        self.service_options = {"later": self.clock.later, "clock": lambda: self.clock.at.timestamp()}

    def pass_(self, seconds: float) -> None:
        """Let time pass: a second first, so that the gate has looked at everybody, and then the rest."""

        async def passing() -> None:
            self.clock.pass_(1)
            self.clock.pass_(seconds - 1)

        self.call(passing())

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.service.engine.crowd)

    def unread_bytes(self) -> int:
        """The most that any connection holds of what its agent has sent."""

        async def most() -> int:
            return max((each.unread_bytes() for each in self.service.engine._connections), default=0)

        return self.call(most())

    def refusals(self) -> list[dict[str, Any]]:
        """What was refused without a record of its own, told by now."""
        self.loop.call_soon_threadsafe(self.service.gate.flush)
        return self.records("refusals")

    def in_use(self) -> int:
        """What is counted of all agents."""
        return len(self.service.gate.quotas)

    def settle_log(self) -> None:
        """Return when the log has written something and the gate has looked at all its sockets."""

        async def settled() -> None:
            await self.service._chron.append("lifecycle", {"event": "settled"})

        self.call(settled())
