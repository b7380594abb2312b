"""The two faces of the same question: `Gate` for threads, `AsyncGate` for asyncio.

`check` returns the gate's answer or raises; `require` returns only an ALLOW. One call is one question on a
connection of its own, asked once: a retry could hide a gate that fails half the time, and a second question
is a second record. Both objects hold no connection, so they are safe to share and need no closing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from claiim.answer import CheckResult, read_answer
from claiim.errors import ActionDenied, GateUnavailable
from claiim.exchange import Exchange
from claiim.settings import Settings, settings

DEFAULT_TIMEOUT_S = 5.0


class _Asker:
    """What both gates share: settings, the question and the reading of its answer."""

    def __init__(
        self,
        agent_id: str | None = None,
        token: str | None = None,
        url: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        ca: str | Path | None = None,
    ) -> None:
        self._settings: Settings = settings(agent_id, token, url, timeout_s, ca, os.environ)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings!r})"

    def _question(
        self, action: str, target: str, environment: str | None, context: Mapping[str, object] | None
    ) -> dict[str, object]:
        for name, text in (("action", action), ("target", target)):
            if not isinstance(text, str) or not text:
                raise ValueError(f"{name} is {text!r}; give a non-empty string")
        asked: dict[str, object] = {"agent": self._settings.agent, "action": action, "target": target}
        if environment is not None:
            asked["environment"] = environment
        if context is not None:
            asked["context"] = dict(context)
        return asked

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.timeout_s


class Gate(_Asker):
    """Asks the gate, blocking until it answers or `timeout_s` is over."""

    def check(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the decision, ALLOW or DENY; raises GateUnavailable or NotAuthenticated, never guesses."""
        asked = self._question(action, target, environment, context)
        body = _encoded(asked)
        return read_answer(*Exchange(self._settings, self._deadline()).ask(body), asked)

    def require(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the ALLOW; raises ActionDenied on DENY, and whatever `check` raises."""
        return _allowed(self.check(action=action, target=target, environment=environment, context=context))


class AsyncGate(_Asker):
    """Asks the gate without blocking the event loop; cancelling the call ends its connection at once."""

    async def check(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the decision, ALLOW or DENY; raises GateUnavailable or NotAuthenticated, never guesses."""
        asked = self._question(action, target, environment, context)
        body = _encoded(asked)
        exchange = Exchange(self._settings, self._deadline())
        try:
            # The thread keeps the deadline itself; wait_for is for the time spent waiting for a free thread.
            answer = await asyncio.wait_for(asyncio.to_thread(exchange.ask, body), self._settings.timeout_s)
        except asyncio.TimeoutError as error:
            raise GateUnavailable(f"no answer from the gate at {self._settings.url}: timed out") from error
        finally:
            exchange.abort()
        return read_answer(*answer, asked)

    async def require(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the ALLOW; raises ActionDenied on DENY, and whatever `check` raises."""
        return _allowed(await self.check(action=action, target=target, environment=environment, context=context))


def _encoded(asked: dict[str, object]) -> bytes:
    try:
        return json.dumps(asked, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the context cannot be written as JSON: {error}") from error


def _allowed(result: CheckResult) -> CheckResult:
    if result.outcome != "ALLOW":
        raise ActionDenied(result)
    return result
