"""Decisions per second, beside Cedar and Casbin on the same rules and the same requests; part of `make bench`.

    bench_policies.py            the comparison, and how the rate depends on agents and rules
    bench_policies.py --quick    a tenth of the time, for looking

The three engines must agree on every request, or the run ends with an error. All run in this process, one thread. A
second is one of the processor's: neighbours that take turns with us do not count, what they do to its cache does.
The rules are those that all three can say: an action of four segments, a wildcard for each of two of them.
"""

from __future__ import annotations

import argparse
import gc
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ROOT / ".bench"
sys.path[:0] = [str(ROOT)]

from mappings.documents import read_document  # noqa: E402
from policies import Outcome, Policies, Question, compile_policies, credential  # noqa: E402

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
AGENTS, ALLOW, DENY, REQUESTS, NEW, TURNS = 50, 40, 20, 2000, 20_000, 12
VERBS, ENVIRONMENTS = ("read", "delete", "write"), ("production", "staging", "dev")

type Decide = Callable[[str, str], bool]
"""(agent, action) -> whether it may."""


def rules(allow: int, deny: int) -> tuple[list[str], list[str]]:
    """Return allow and deny patterns, all of them with wildcards."""
    return [f"svc{n}:*:read:*" for n in range(allow)], [f"svc{n}:*:*:production" for n in range(deny)]


def requests(count: int, services: int, agents: int, *, new: bool = False) -> list[tuple[str, str]]:
    """Return (agent, action) pairs, the same in every run; with `new` no action comes twice."""
    chosen = random.Random(20260102)
    return [
        (
            f"agent{chosen.randrange(agents)}",
            f"svc{chosen.randrange(services)}:thing{n if new else chosen.randrange(20)}:"
            f"{chosen.choice(VERBS)}:{chosen.choice(ENVIRONMENTS)}",
        )
        for n in range(count)
    ]


def claiim(allow: Sequence[str], deny: Sequence[str], agents: int) -> Policies:
    """Return our engine with these rules as the skill of all agents."""
    listed = "\n".join(["allow:", *(f"- {each}" for each in allow), "deny:", *(f"- {each}" for each in deny)])
    rows = "\n".join(
        f"- {{id: agent{n}, anchor: alice@acme.test, org: acme, state: active, skill: wide, "
        f"tokens: ['{credential('', f'token{n}').token_sha256}']}}"
        for n in range(agents)
    )
    registry = f"version: 1\nhumans:\n- {{id: alice@acme.test, org: acme, state: active}}\nagents:\n{rows}\n"
    texts = [read_document(f"skill: wide\n{listed}\n", "wide.yaml")]
    return compile_policies(read_document(registry, "agents.yaml", times_larger=32), texts)


def questions(asked: Sequence[tuple[str, str]]) -> list[Question]:
    """Return the requests as questions."""
    return [
        Question(credential(agent, f"token{agent.removeprefix('agent')}"), action, "target", "", NOW, "127.0.0.1")
        for agent, action in asked
    ]


def cedar(allow: Sequence[str], deny: Sequence[str], agents: int) -> Decide:
    """Return Cedar with policies and entities parsed once."""
    import cedarpy

    def policy(effect: str, pattern: str) -> str:
        return f'{effect}(principal in Skill::"wide", action, resource) when {{ context.action like "{pattern}" }};'

    texts = [policy("permit", each) for each in allow] + [policy("forbid", each) for each in deny]
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    skill: dict[str, Any] = {"uid": {"type": "Skill", "id": "wide"}, "attrs": {}, "parents": []}
    members = [
        {"uid": {"type": "Agent", "id": f"agent{n}"}, "attrs": {}, "parents": [skill["uid"]]} for n in range(agents)
    ]
    import json

    entities = cedarpy.Entities.from_json_str(json.dumps([skill, *members]))

    def decide(agent: str, action: str) -> bool:
        request = {
            "principal": f'Agent::"{agent}"',
            "action": 'Action::"do"',
            "resource": 'Target::"target"',
            "context": {"action": action},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return decide


_CASBIN_MODEL = """
[request_definition]
r = sub, act
[policy_definition]
p = sub, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && segments(r.act, p.act)
"""


def casbin(allow: Sequence[str], deny: Sequence[str], agents: int) -> Decide:
    """Return Casbin with roles, deny override and a cached expression for each pattern."""
    import casbin as engine

    model = engine.model.Model()
    model.load_model_from_text(_CASBIN_MODEL)
    enforcer = engine.Enforcer(model)
    for effect, patterns in (("allow", allow), ("deny", deny)):
        enforcer.add_policies([("wide", pattern, effect) for pattern in patterns])
    enforcer.add_grouping_policies([(f"agent{n}", "wide") for n in range(agents)])
    compiled: dict[str, re.Pattern[str]] = {}

    def segments(action: str, pattern: str) -> bool:
        if pattern not in compiled:
            compiled[pattern] = re.compile(re.escape(pattern).replace(r"\*", "[^:]*"))
        return compiled[pattern].fullmatch(action) is not None

    enforcer.add_function("segments", segments)
    return lambda agent, action: bool(enforcer.enforce(agent, action))


def rate(ask: Callable[[], object], count: int, seconds: float) -> float:
    """Return how many of `count` answers a second `ask` gives, the best of three."""
    best = 0.0
    for _ in range(3):
        began, rounds = time.process_time(), 0
        while time.process_time() - began < seconds:
            ask()
            rounds += 1
        best = max(best, rounds * count / (time.process_time() - began))
    return best


def once(policies: Policies, asked: Sequence[Question]) -> float:
    """Return how many questions a second are answered when none was asked before."""
    settle()
    began = time.process_time()
    for question in asked:
        policies.decide(question)
    return len(asked) / (time.process_time() - began)


def settle() -> None:
    """Do with the collector what `claiim serve` does once everything is loaded."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def compare(seconds: float) -> None:
    """Print the three engines side by side."""
    allow, deny = rules(ALLOW, DENY)
    asked = requests(REQUESTS, 60, AGENTS)
    ours = claiim(allow, deny, AGENTS)
    put = questions(asked)
    answers = [ours.decide(question).outcome is Outcome.ALLOW for question in put]
    rates = {"claiim": rate(lambda: [ours.decide(question) for question in put], REQUESTS, seconds)}
    for name, engine in (("cedarpy", cedar), ("casbin", casbin)):
        decide = engine(allow, deny, AGENTS)
        for (agent, action), answer in zip(asked, answers, strict=True):
            if decide(agent, action) is not answer:
                raise SystemExit(f"{name} does not agree about {agent} {action}: we say {answer}")
        some = asked[:200]
        rates[name] = rate(lambda decide=decide, some=some: [decide(*each) for each in some], len(some), seconds)
    print(f"  {ALLOW + DENY} wildcard rules, {AGENTS} agents, {REQUESTS} mixed requests, {sum(answers)} of them ALLOW")
    for name, found in rates.items():
        print(f"  {name:<10}{found:>12,.0f}/s   {rates['claiim'] / found:>8.1f} : 1   agrees on every request")


SIZES = {
    # What varies -> (agents there are, agents that ask, allow lines, deny lines)
    "agents, 60 rules": [(10, 10, 40, 20), (50, 50, 40, 20), (1000, 1000, 40, 20), (10_000, 10_000, 40, 20)],
    "agents, 50 ask": [(50, 50, 40, 20), (1000, 50, 40, 20), (10_000, 50, 40, 20)],
    "rules, 50 agents": [(50, 50, 7, 3), (50, 50, 40, 20), (50, 50, 340, 160), (50, 50, 3400, 1600)],
}


def flatness(seconds: float) -> None:
    """Print how the rate depends on how many agents and rules there are.

    The sizes take turns, and the best turn of each counts: a neighbour's minute then spoils none of them alone.
    """
    print("\n  decisions/s                     asked again      never asked before")
    for label, sizes in SIZES.items():
        sites = [claiim(*rules(*lines), agents) for agents, _, *lines in sizes]
        again = [questions(requests(REQUESTS, 60, asking)) for _, asking, *_ in sizes]
        new = [questions(requests(NEW, 60, asking, new=True)) for _, asking, *_ in sizes]
        warm, cold = [0.0] * len(sizes), [0.0] * len(sizes)
        for _ in range(TURNS):
            for n, site in enumerate(sites):
                asked = again[n]
                found = rate(lambda site=site, asked=asked: [site.decide(q) for q in asked], REQUESTS, seconds / TURNS)
                warm[n] = max(warm[n], found)
                # The same rules, with nothing remembered.
                cold[n] = max(cold[n], once(site.with_tokens({}), new[n]))
        for n, (agents, _, *lines) in enumerate(sizes):
            size = sum(lines) if label.startswith("rules") else agents
            rates = f"{warm[n]:>14,.0f} ({warm[n] / warm[0]:.2f}){cold[n]:>16,.0f} ({cold[n] / cold[0]:.2f})"
            print(f"  {size:>7,} {label:<18}{rates}")


def main(arguments: Sequence[str] = ()) -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    seconds = 0.1 if parser.parse_args(arguments).quick else 1.0
    sys.path.insert(0, str(ENGINES))
    print("decisions, in process")
    compare(seconds)
    flatness(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
