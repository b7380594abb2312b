"""Simulations of pasts that no single run of a gate makes: restarts, exceptions, approvals, agents that are gone."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chron import rules_made_of
from policies import BreakGlass, Policies
from policies.simulating import Tally
from proxy import manifests
from proxy.breakglass import AgentException, fields_of
from proxy.simulation import Replay, tallied
from proxy.uses import Uses
from support.history import BEGIN, REGISTRY, History, texts

SKILL = "skill: deploy-v2\nallow: [deploy:staging, data:read]\n"
DIGEST = next(text.digest for text in texts(SKILL).texts if text.kind == "skill")
CALM = "policy: calm\nlimits: [{action: deploy:staging, most: 2, per: hour, of: human}]\n"


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "chron.db", texts(SKILL))


def simulated(history: History, *rules: str, agents: str = REGISTRY, **options: Any) -> Tally:
    return tallied(Replay(history.write(), texts(*rules, agents=agents), **options).decisions())


def turned(tally: Tally) -> list[tuple[str, str, int]]:
    return [(change.then.outcome, change.now.outcome, seen.count) for change, seen in tally.flips().items()]


def test_a_new_limit_counts_the_simulated_past(history: History) -> None:
    """Two in an hour over both agents of a human; the third is denied and leaves room when the hour is over."""
    for agent in ("deploy-bot", "other-bot", "deploy-bot"):
        history.ask("deploy:staging", agent=agent)
    history.at += timedelta(minutes=58)
    history.ask("deploy:staging")
    tally = simulated(history, SKILL, CALM)
    assert turned(tally) == [("ALLOW", "DENY", 1)]
    (change,) = tally.flips()
    assert change.now.reason == "policy:calm -- limit of 2 per hour reached for alice@acme.test"


def _listed(policies: Policies) -> tuple[str, str]:
    """The manifest of a set without mappings, and the digest of its rules."""
    manifest = manifests.written(SimpleNamespace(texts=()), policies)  # type: ignore[arg-type]
    return manifest, rules_made_of(manifest)


OTHER_SKILL = SKILL.replace("data:read", "data:write")
SIDE_BY_SIDE: dict[str, tuple[str, dict[str, Any], list[tuple[str, str, int]]]] = {
    "the same skill": (SKILL, {}, []),
    "another one under its name and version": (OTHER_SKILL, {}, [("ALLOW", "DENY", 1)]),
    "the same by a record until 0.1.0": (SKILL, {"rules_digest": "?", "skill_digest": DIGEST}, []),
    "rules of which nothing is known": (SKILL, {"rules_digest": "?"}, [("ALLOW", "DENY", 1)]),
}


@pytest.mark.parametrize(("skill", "record", "turns"), SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
def test_what_a_record_says_of_uses_holds_for_the_very_texts_that_decided(
    tmp_path: Path, skill: str, record: dict[str, Any], turns: list[tuple[str, str, int]]
) -> None:
    """Of calls that ran side by side no log tells the order: by the same texts, what was counted then is believed."""
    rules = texts(SKILL, CALM)
    manifest, digest = _listed(rules)
    history = History(tmp_path / "chron.db", rules)
    for _ in range(3):
        history._uses = Uses()  # none of them saw the others
        history.ask("deploy:staging", record={"rules_digest": digest, **record})
    path = history.write([(manifests.KIND, "rules", "", manifests.digest_of(manifest), manifest)])
    assert turned(tallied(Replay(path, texts(skill, CALM)).decisions())) == turns


def test_what_was_used_before_the_time_asked_about_counts(history: History) -> None:
    """A simulation that begins in the middle of a window finds the uses that were made before it."""
    for _ in range(3):
        history.ask("deploy:staging")
    tally = simulated(history, SKILL, CALM, since=history.at)
    assert (tally.decisions, turned(tally)) == (1, [("ALLOW", "DENY", 1)])


def test_until_is_not_included(history: History) -> None:
    """The time asked about ends before `until`."""
    history.ask("deploy:staging")
    history.ask("deploy:staging")
    assert simulated(history, SKILL, until=history.at).decisions == 1


def test_a_call_that_found_no_target_used_nothing(history: History) -> None:
    """What was allowed and never reached anything is counted against no limit."""
    for _ in range(3):
        history.ask("deploy:staging", record={"address": None})
    assert turned(simulated(history, SKILL, CALM)) == []


def test_a_question_over_the_api_uses_nothing(history: History) -> None:
    """Asking is not doing."""
    for _ in range(3):
        history.ask("deploy:staging", record={"channel": "api", "request": None, "address": None})
    assert turned(simulated(history, SKILL, CALM)) == []


def test_an_approval_is_part_of_the_past(history: History) -> None:
    """What a human said yes to is allowed again where the new texts hold it, and held where they ask for two."""
    history.policies = texts(SKILL + "approve: [infra:destroy]\n")
    history.ask("infra:destroy", approvers=("alice@acme.test",))
    history.ask("infra:destroy")
    one = simulated(history, SKILL + "approve: [infra:destroy]\n")
    assert (one.decided, one.changes) == (2, {})
    two = tallied(
        Replay(history.path, texts(SKILL + "approve: [{action: infra:destroy, approvers: {count: 2}}]\n")).decisions()
    )
    assert turned(two) == [("ALLOW", "HOLD", 1)]


def grant() -> BreakGlass:
    until = BEGIN + timedelta(minutes=50)
    return BreakGlass("bgl_1", "deploy-bot", "infra:*", "*", BEGIN, until, ("alice@acme.test", "bob@acme.test"), "fire")


def test_an_exception_is_part_of_the_past(history: History) -> None:
    """A grant that two humans made is found in the log and counts for the calls made under it."""
    history.ask("infra:destroy", exceptions=(grant(),))
    one = grant()
    asked = AgentException(
        one.id, one.agent, one.action, one.target, 50, one.reason, one.by[0], BEGIN, approved_by=one.by[1], since=BEGIN
    )
    history.note("exception", **fields_of("granted", asked))
    tally = simulated(history, SKILL)
    assert (tally.decided, tally.changes) == (1, {})


def test_an_exception_that_no_record_tells_of_is_not_guessed(history: History) -> None:
    """A call under a grant that is not in the log cannot be decided again."""
    assert history.ask("infra:destroy", exceptions=(grant(),)).code == "exception.granted"
    assert simulated(history, SKILL).left_out == {"exception not recorded": 1}


LEFT_OUT: dict[str, dict[str, Any]] = {
    "identity": {"stage": "agent", "code": "agent.wrong-token"},
    "elsewhere": {"stage": "pdp", "code": "pdp.denied"},
    "target redacted": {"target": "[redacted]", "redacted": "target"},
    "inputs not recorded": {"at": None},
    "unnamed": {"at": None, "stage": "mapping"},
    "agent not in the registry": {"agent": "gone-bot"},
    "action cut": {"action": "a" * 513},
}


@pytest.mark.parametrize(("why", "record"), LEFT_OUT.items(), ids=LEFT_OUT)
def test_what_cannot_be_decided_again_is_counted(history: History, why: str, record: dict[str, Any]) -> None:
    """Nothing is skipped in silence, and nothing is guessed."""
    history.ask("deploy:staging", record=record)
    history.ask("deploy:staging")
    tally = simulated(history, "skill: deploy-v2\nallow: []\n")
    assert tally.left_out == {why: 1}
    assert (tally.decisions, turned(tally)) == (2, [("ALLOW", "DENY", 1)])


def test_an_agent_that_was_stopped_since_is_no_flip_of_the_texts(history: History) -> None:
    """Its calls are left out, unless another registry is what is tried."""
    history.ask("deploy:staging")
    stopped = REGISTRY.replace("state: active, skill", "state: suspended, skill", 1)
    assert simulated(history, SKILL, agents=stopped).left_out == {"agent stopped since": 1}
    tried = tallied(Replay(history.path, texts(SKILL, agents=stopped), standing=True).decisions())
    assert turned(tried) == [("ALLOW", "DENY", 1)]
    (change,) = tried.flips()
    assert change.now.reason == "agent:deploy-bot -- suspended"


def test_an_observed_denial_went_on(history: History) -> None:
    """That a call is stopped which was only watched before is a flip."""
    watching = REGISTRY.replace("skill: deploy-v2}", "skill: deploy-v2, mode: observe}")
    history.policies = texts(SKILL, agents=watching)
    history.ask("infra:destroy")
    assert turned(simulated(history, SKILL)) == [("DENY observed", "DENY", 1)]


def test_another_reason_is_no_flip(history: History) -> None:
    """The same answer by another line is told apart from an answer that turned."""
    history.ask("deploy:production")
    tally = simulated(history, "skill: deploy-v2\nallow: []\ndeny: [deploy:production]\n")
    (change,) = tally.changes
    assert (change.then.reason, change.now.reason) == (
        "skill:deploy-v2 -- action not in allow list",
        "skill:deploy-v2 -- action in deny list",
    )
    assert not change.flips
    assert tally.flips() == {}


def test_the_registry_of_then(history: History) -> None:
    """Each decision may be asked with the registry that it was made by, as far as the log says which."""
    history.ask("deploy:staging")
    history.ask("deploy:staging", record={"rules_digest": "unknown"})
    then = texts(SKILL)
    stopped = REGISTRY.replace("state: active, skill", "state: revoked, skill", 1)
    options = {"standing": True, "then": lambda fields: then if fields["rules_digest"] == "rules" else None}
    tally = simulated(history, SKILL, agents=stopped, **options)
    assert (tally.decided, tally.changes, tally.left_out) == (1, {}, {"agents of then": 1})
