"""A past that is written down without a gate: questions, decided by given texts, as the gate would record them."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chron import Chron
from mappings.documents import read_document
from policies import Credential, Decision, Policies, PolicyError, Question, compile_policies
from proxy.records import decision_fields
from proxy.uses import Uses

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

REGISTRY = """\
version: 1
humans:
- {id: alice@acme.test, org: acme, state: active}
agents:
- {id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
- {id: other-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
"""


def texts(*rules: str, agents: str = REGISTRY) -> Policies:
    """Compile texts; the source of each is "policies/NAME.yaml"."""
    documents = []
    for text in rules:
        name = text.split("\n", 1)[0].partition(": ")[2]
        documents.append(read_document(text, f"policies/{name}.yaml", error=PolicyError))
    return compile_policies(read_document(agents, "agents.yaml", error=PolicyError), documents)


class History:
    """Decisions, a minute apart, and the Chron they stand in once it is closed."""

    def __init__(self, path: Path, policies: Policies) -> None:
        self.path = path
        self.policies = policies
        self.at = BEGIN
        self._uses = Uses()
        self._records: list[tuple[datetime, str, dict[str, Any]]] = []

    def ask(self, action: str, target: str = "", *, agent: str = "deploy-bot", **more: Any) -> Decision:
        """Decide a question of its own request and keep its record; `record` in `more` changes fields of it."""
        self.at += timedelta(minutes=1)
        changes = more.pop("record", {})
        environment = more.pop("environment", "")
        uses = self._uses.counts(self.policies.limits(agent, action), self.at)
        who = Credential(agent, "")
        question = Question(who, action, target, environment, self.at, "127.0.0.1", uses=uses, **more)
        decision = self.policies.decide_again(question)
        if decision.forwards:
            self._uses.charge(decision.limits, self.at)
        attributes = question.attributes
        fields: dict[str, Any] = {
            "channel": "wire",
            "request": f"r-{len(self._records)}",
            "client": question.client,
            "address": "127.0.0.1 443" if decision.forwards else None,
            "action": action,
            "target": target,
            "environment": question.environment or None,
            **{name: attributes.get(name) for name in ("method", "scheme", "host", "access")},
            **{name: True if attributes.get(name) == "true" else None for name in ("executes", "mints")},
            "rules_digest": "rules",
            **decision_fields(decision, question),
            **changes,
        }
        self._records.append((self.at, "decision", fields))
        return decision

    def note(self, kind: str, **fields: Any) -> None:
        """Keep a record of another kind."""
        self._records.append((self.at, kind, fields))

    def write(self, kept: Iterable[tuple[str, str, str, str, str]] = ()) -> Path:
        """Write everything down; the path of the Chron."""
        times = iter([*(at for at, _, _ in self._records)])
        last = BEGIN

        def clock_ns() -> int:
            nonlocal last
            last = next(times, last) if writing else last
            return int(last.timestamp()) * 1_000_000_000

        writing = False
        chron = Chron.open(self.path, low_water_bytes=0, clock_ns=clock_ns)
        try:
            chron.keep(list(kept))
            writing = True

            async def append() -> None:
                for _, kind, fields in self._records:
                    await chron.append(kind, fields)

            asyncio.run(append())
            writing = False
        finally:
            chron.close()
        return self.path
