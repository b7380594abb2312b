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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from claiim.answer import Asked, CheckResult, read_answer, read_answers
from claiim.errors import ActionDenied, GateUnavailable
from claiim.exchange import Exchange
from claiim.settings import Settings, settings

DEFAULT_TIMEOUT_S = 5.0
MOST_QUESTIONS = 100
"""In one request; the gate takes no more."""

# openid/authzen, Authorization API 1.0
ONE = "/access/v1/evaluation"
MANY = "/access/v1/evaluations"

_NAMES = frozenset({"action", "target", "environment", "context"})


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
    ) -> Asked:
        for name, text in (("action", action), ("target", target)):
            if not isinstance(text, str) or not text:
                raise ValueError(f"{name} is {text!r}; give a non-empty string")
        return Asked(self._settings.agent, action, target, environment, None if context is None else dict(context))

    def _questions(self, questions: Iterable[Mapping[str, Any]]) -> list[Asked]:
        asked = []
        for number, one in enumerate(questions):
            if unknown := set(one) - _NAMES:
                raise ValueError(f"question {number} has {sorted(unknown)}; give {', '.join(sorted(_NAMES))}")
            asked.append(
                self._question(one.get("action", ""), one.get("target", ""), one.get("environment"), one.get("context"))
            )
        if len(asked) > MOST_QUESTIONS:
            raise ValueError(f"{len(asked)} questions at once; ask at most {MOST_QUESTIONS}")
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
        """Returns the decision: ALLOW, DENY or HOLD; raises GateUnavailable or NotAuthenticated, never guesses."""
        asked = self._question(action, target, environment, context)
        return read_answer(*self._ask(ONE, asked.evaluation()), asked)

    def check_many(self, questions: Iterable[Mapping[str, Any]]) -> list[CheckResult]:
        """Returns the decisions on several questions, in their order; raises as `check` does when one has none.

        A question is a mapping with the arguments of `check`. Each is a record of its own; at most 100.
        """
        asked = self._questions(questions)
        return read_answers(*self._ask(MANY, _batch(asked)), asked) if asked else []

    def require(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the ALLOW; raises ActionDenied on DENY and HOLD, and whatever `check` raises."""
        return _allowed(self.check(action=action, target=target, environment=environment, context=context))

    def _ask(self, path: str, question: dict[str, object]) -> tuple[int, str, bytes]:
        body = _encoded(question)
        return Exchange(self._settings, path, self._deadline()).ask(body)


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
        """Returns the decision: ALLOW, DENY or HOLD; raises GateUnavailable or NotAuthenticated, never guesses."""
        asked = self._question(action, target, environment, context)
        return read_answer(*await self._ask(ONE, asked.evaluation()), asked)

    async def check_many(self, questions: Iterable[Mapping[str, Any]]) -> list[CheckResult]:
        """Returns the decisions on several questions, as `Gate.check_many` does."""
        asked = self._questions(questions)
        return read_answers(*await self._ask(MANY, _batch(asked)), asked) if asked else []

    async def require(
        self,
        *,
        action: str,
        target: str,
        environment: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> CheckResult:
        """Returns the ALLOW; raises ActionDenied on DENY and HOLD, and whatever `check` raises."""
        return _allowed(await self.check(action=action, target=target, environment=environment, context=context))

    async def _ask(self, path: str, question: dict[str, object]) -> tuple[int, str, bytes]:
        body = _encoded(question)
        exchange = Exchange(self._settings, path, self._deadline())
        try:
            # The thread keeps the deadline itself; wait_for is for the time spent waiting for a free thread.
            return await asyncio.wait_for(asyncio.to_thread(exchange.ask, body), self._settings.timeout_s)
        except asyncio.TimeoutError as error:
            raise GateUnavailable(f"no answer from the gate at {self._settings.url}: timed out") from error
        finally:
            exchange.abort()


def _encoded(asked: dict[str, object]) -> bytes:
    try:
        return json.dumps(asked, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the context cannot be written as JSON: {error}") from error


def _batch(asked: list[Asked]) -> dict[str, object]:
    return {"evaluations": [each.evaluation() for each in asked]}


def _allowed(result: CheckResult) -> CheckResult:
    if result.outcome != "ALLOW":
        raise ActionDenied(result)
    return result
