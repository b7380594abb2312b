"""The engines of one gate: each listener has one, and all share what they may cost together.

mitmproxy   every way in and every protocol
fast        the ways in "proxy" and "reverse", at several times the speed
"""

import asyncio
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

from OpenSSL import SSL

from proxy.config import Address, EngineName, ListenerConfig
from proxy.wire.sockets import Where

_OF_FAST = ("proxy", "reverse")


def made(name: EngineName) -> Callable[..., Any]:
    """The class of an engine; what the other one needs is not imported."""
    if name == "fast":
        from proxy.fast.engine import Engine as Fast

        return Fast
    from proxy.mitm import Engine as Mitmproxy

    return Mitmproxy


def serving(listener: ListenerConfig, main: EngineName) -> EngineName:
    """Which engine serves a listener: its own, or the main one where that can."""
    return listener.engine or (main if listener.mode in _OF_FAST else "mitmproxy")


@cache  # every start asks, and reading it takes as long as a tenth of one
def version_of(name: EngineName) -> tuple[str, str]:
    """How records name an engine, and its version."""
    return (name, version("httptools" if name == "fast" else "mitmproxy"))


class Front(Protocol):
    """What agents reach, in this process or in others."""

    async def stop(self, drain_timeout_s: float) -> None:
        """Take nothing more, let what is open end up to a limit, then end it."""

    def reload(self, listener: SSL.Context | None = None) -> None:
        """Let changed rules count in this process."""

    def sweep(self) -> None:
        """End what is open of agents that were stopped."""

    async def spread(self) -> None:
        """Return once what has changed counts in every process that decides."""


class Engines:
    """All of a gate's; the main one serves the proxy's own listener."""

    def __init__(self, main: EngineName, make: Callable[[EngineName], Any]) -> None:
        self._make = make
        self._main = main
        self._all: dict[EngineName, Any] = {}
        self.main: Any = self._engine(main)

    def _engine(self, name: EngineName) -> Any:
        if name not in self._all:
            self._all[name] = self._make(name)
        return self._all[name]

    async def start(self, listen: Where) -> Address:
        """Open the proxy's own listener; returns where it is. Raises OSError when it cannot."""
        bound: Address = await self.main.start(listen)
        return bound

    async def open(self, listener: ListenerConfig, address: Where) -> Address:
        """Open a further way in; returns where it is. Raises OSError when it cannot."""
        bound: Address = await self._engine(serving(listener, self._main)).open(listener, address)
        return bound

    async def stop(self, drain_timeout_s: float) -> None:
        """Stop them all, one beside the other."""
        await asyncio.gather(*(engine.stop(drain_timeout_s) for engine in self._all.values()))

    def reload(self, listener: SSL.Context | None = None) -> None:
        """Let changed rules count."""
        for engine in self._all.values():
            engine.reload(listener)

    def sweep(self) -> None:
        """End what is open of agents that were stopped."""
        for engine in self._all.values():
            engine.sweep()

    async def spread(self) -> None:
        """This process alone decides, so it counts already."""
