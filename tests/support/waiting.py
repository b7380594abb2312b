"""A gate whose agents need humans: who is there, what needs them, and a clock that a test moves."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition
from typing import Any

import httpx

from policies import credential, token_digest
from proxy.timers import Handle
from support.gate import TOKEN, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets.base import Target

HUMANS = ("alice", "bob", "carol", "dave")
"""Alice answers for the agents; dave belongs to another organisation."""
WAIT_S, EXPIRE_S = 60, 900
"""As configured by default; by the first one, timers of parked requests are known."""

SKILLS: dict[str, dict[str, Any]] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["data:read"],
        "approve": ["data:write", {"action": "infra:destroy", "approvers": {"count": 2, "anchor": False}}],
        "deny": ["deploy:production"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}


def human_token(name: str) -> str:
    """The token that a human proves their word with."""
    return f"clh_test-token-of-{name}-0123456789abcdef0123"


def person(name: str, **more: Any) -> dict[str, Any]:
    """A human of the registry."""
    org = "globex" if name == "dave" else "acme"
    tokens = [token_digest(human_token(name))]
    return {"id": f"{name}@acme.test", "org": org, "state": "active", "tokens": tokens, **more}


def registry(**changed: dict[str, Any]) -> dict[str, Any]:
    """The registry; `changed` are other fields of humans, by their first name."""
    return {
        "version": 1,
        "humans": [person(name, **changed.get(name, {})) for name in HUMANS],
        "agents": [
            {
                "id": bot,
                "anchor": "alice@acme.test",
                "org": "acme",
                "state": "active",
                "skill": "deploy-v2",
                "tokens": [credential(bot, token).token_sha256],
            }
            for bot, token in (("deploy-bot", TOKEN), ("other-bot", TOKEN[::-1]))
        ],
    }


class Clock:
    """The time and the timers of a gate; nothing comes before the test says so."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self._calls: list[_Call] = []
        self._changed = Condition()

    def now(self) -> datetime:
        """The time."""
        return self.at

    def later(self, seconds: float, call: Callable[[], object]) -> Handle:
        """Take a call in."""
        one = _Call(self, seconds, call)
        with self._changed:
            self._calls.append(one)
            self._changed.notify_all()
        return one

    def forget(self, one: "_Call") -> None:
        """Let a call not come."""
        with self._changed:
            if one in self._calls:
                self._calls.remove(one)
            self._changed.notify_all()

    def wait_timers(self, seconds: float, count: int, timeout_s: float = 30, of: str = "") -> None:
        """Block until there are exactly so many calls to come of those that were to come after so long.

        With `of` only those count whose qualified name begins so: others may have set a timer of the same length.
        """

        def running() -> int:
            return sum(
                one.seconds == seconds and getattr(one.call, "__qualname__", "").startswith(of) for one in self._calls
            )

        with self._changed:
            assert self._changed.wait_for(lambda: running() == count, timeout_s), f"{running()}, not {count}"

    def pass_(self, seconds: float) -> None:
        """Let time pass; call from the gate's own loop."""
        self.at += timedelta(seconds=seconds)
        for one in [one for one in self._calls if one.due <= self.at]:
            self.forget(one)
            one.call()


class _Call:
    def __init__(self, clock: Clock, seconds: float, call: Callable[[], object]) -> None:
        self.seconds = seconds
        self.due = clock.at + timedelta(seconds=seconds)
        self.call = call
        self._clock = clock

    def cancel(self) -> None:
        self._clock.forget(self)


class WaitingGate(LiveGate):
    """A live gate with humans, and its own clock."""

    def __init__(
        self, folder: Path, *targets: Target, target_ca: Path, approvals: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        settings = {
            "mappings": ORIGIN_MAPPINGS,
            "skills": SKILLS,
            "agents": registry(),
            **more,
            "config": {
                "approvals": {"wait_s": WAIT_S, "keep_alive_s": 0, **(approvals or {})},
                **more.get("config", {}),
            },
        }
        self.clock = Clock()
        super().__init__(folder, *targets, target_ca=target_ca, **settings)
        self.service_options = {"now": self.clock.now, "later": self.clock.later}

    def wait_parked(self, count: int = 1) -> None:
        """Block until so many requests wait for humans."""
        self.clock.wait_timers(WAIT_S, count)

    def pass_(self, seconds: float) -> None:
        """Let time pass at the gate."""

        async def passing() -> None:
            self.clock.pass_(seconds)

        self.call(passing())

    def ask(self, path: str, who: str = "bob", *, method: str = "GET", body: Any = None) -> httpx.Response:
        """Ask the control API as a human, or with a token."""
        token = human_token(who) if who in HUMANS else who
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=self.api, trust_env=False, timeout=30) as client:
            return client.request(method, path, headers=headers, json=body)

    def pending(self) -> list[dict[str, Any]]:
        """The approvals that bob sees as pending."""
        listed = self.ask("/v1/approvals").json()["approvals"]
        return [one for one in listed if one["state"] == "pending"]

    def approve(self, approval: dict[str, Any], who: str = "bob", reason: str = "go") -> httpx.Response:
        """Say yes as a human to what was shown."""
        body = {"fingerprint": approval["fingerprint"], "reason": reason}
        return self.ask(f"/v1/approvals/{approval['approval']}/approve", who, method="POST", body=body)

    def refuse(self, approval: dict[str, Any], who: str = "bob", reason: str = "no") -> httpx.Response:
        """Say no as a human."""
        return self.ask(f"/v1/approvals/{approval['approval']}/refuse", who, method="POST", body={"reason": reason})

    def reload(self) -> None:
        """Load the files anew."""
        self.call(self.service.reload())

    def events(self, kind: str = "approval") -> list[str]:
        """What the Chron says happened, in order."""
        return [str(record["event"]) for record in self.records(kind)]


@contextmanager
def waiting_gate(folder: Path, *targets: Target, target_ca: Path, **more: Any) -> Iterator[WaitingGate]:
    """Run one; at its end every decision has its outcome."""
    live = WaitingGate(folder, *targets, target_ca=target_ca, **more)
    with running(live):
        yield live


def said(response: httpx.Response) -> dict[str, Any]:
    """The problem that a response holds."""
    body: dict[str, Any] = json.loads(response.text)
    return body
