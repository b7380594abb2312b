"""A set of policies is made again from its roll and its texts: the same set, or none."""

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from mappings.documents import read_document
from policies import Activations, Policies, PolicyError, compile_policies
from policies.narrowing import narrowed
from policies.recompiling import recompile, roll, roll_of_narrowing

REGISTRY = f"""\
version: 1
humans: [{{id: alice@acme.test, org: acme, state: active}}]
agents:
- {{id: one, anchor: alice@acme.test, org: acme, state: active, skill: work, tokens: ["{"ab" * 32}"]}}
- {{id: two, anchor: alice@acme.test, org: acme, state: active, skill: work@2}}
"""
FIRST = "skill: work\nallow: [data:read]\n"
SECOND = "skill: work\nversion: 2\nextends: [work@1]\nallow: [data:write]\n"
POLICY = "policy: calm\ndeny: [infra:**]\n"


def _digest(text: str) -> str:
    return read_document(text, "x", error=PolicyError).digest


WORLDS: dict[str, dict[str, Any]] = {
    "the highest versions": {},
    "an older version by an act": {"active": {("skill", "work"): (1, _digest(FIRST))}},
    "a policy put out of force": {"active": {("policy", "calm"): (0, "")}},
    "nothing activated, and that is required": {"required": True},
    "one activated, and that is required": {
        "required": True,
        "active": {("skill", "work"): (1, _digest(FIRST))},
        "approved": frozenset({("skill", "work", 1, _digest(FIRST))}),
    },
    "a text that only the log has": {
        "active": {("skill", "other"): (1, _digest("skill: other\nallow: [a:b]\n"))},
        "texts": {("skill", "other", 1): "skill: other\nallow: [a:b]\n"},
    },
}


def made(**activations: Any) -> Policies:
    sources = {"a.yaml": FIRST, "b.yaml": SECOND, "c.yaml": POLICY}
    documents = [read_document(text, source, error=PolicyError) for source, text in sources.items()]
    registry = read_document(REGISTRY, "agents.yaml", error=PolicyError)
    return compile_policies(registry, documents, activations=Activations(**activations))


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_set_is_the_same(world: dict[str, Any]) -> None:
    """However it came about which versions count: what is made again has the digest, the pins and the places."""
    policies = made(**world)
    again = recompile(roll(policies), {text.digest: text.text for text in policies.texts})
    assert again.digest == policies.digest
    assert again.in_force == policies.in_force
    assert roll(again) == roll(policies)
    for name, agent in policies.agents.items():
        assert replace(again.agents[name], tokens=()) == replace(agent, tokens=())


def test_a_narrowed_set_is_the_same() -> None:
    """Narrowed twice, by registries of which no token is kept: what is made again has its digest and its states."""
    whole = made()
    narrowings = (REGISTRY.replace("active, skill: work,", "suspended, skill: work,"), REGISTRY.replace("two", "three"))
    _, once, twice = accumulate(narrowings, _narrowed, initial=whole)
    kept = {text.digest: text.text for text in (*twice.texts, *twice.narrowed_by)}
    assert not any("ab" * 32 in text for text in kept.values())
    assert len({whole.digest, once.digest, twice.digest}) == 3
    for policies in (once, twice):
        again = recompile(roll(policies), kept, roll_of_narrowing(policies))
        assert (again.digest, roll(again)) == (policies.digest, roll(policies))
        assert roll_of_narrowing(again) == roll_of_narrowing(policies)
        states = [(agent.id, agent.state) for agent in policies.agents.values()]
        assert [(agent.id, agent.state) for agent in again.agents.values()] == states
    assert [agent.id for agent in twice.agents.values()] == ["one"]


def _narrowed(policies: Policies, registry: str) -> Policies:
    return narrowed(policies, read_document(registry, "agents.yaml", error=PolicyError))


def test_what_is_missing_or_changed_is_named() -> None:
    """Each text that is not there, or not the one, is told; nothing is made of the others."""
    policies = made()
    kept = {text.digest: text.text for text in policies.texts}
    gone, changed = _digest(POLICY), _digest(SECOND)
    with pytest.raises(PolicyError) as error:
        recompile(roll(policies), {name: text for name, text in kept.items() if name != gone} | {changed: FIRST})
    assert str(error.value).splitlines() == [
        "policy:calm@1:1:1: its text was not kept",
        'skill:work@2:1:1: its kept text has another digest; run "claiim chron verify"',
    ]
    with pytest.raises(PolicyError, match="a set has one registry"):
        recompile([entry for entry in roll(policies) if entry.kind != "agents"], kept)
