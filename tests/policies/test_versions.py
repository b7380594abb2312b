"""From records to versions in force, and from what a human types to a change: tables, no wire."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from policies import Outcome, PolicyError, TextRef
from policies.choosing import ChoiceRefused, choose
from policies.rulebook import Activations
from policies.versions import (
    REQUEST_LIFETIME,
    SIMULATION_LIFETIME,
    Change,
    History,
    Request,
    Simulation,
    change_fields,
    read_history,
    spelled,
)

AT = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def ref(version: int, kind: Any = "skill", name: str = "deploy-v2") -> TextRef:
    return TextRef(kind, name, version, f"d{version}" if version else "")


def record(event: str, version: int, previous: int = 0, act: str = "act_1", **more: Any) -> dict[str, Any]:
    change = {name: value for name, value in change_fields(Change(ref(version), previous)).items() if value is not None}
    stamp = {"ts": AT.isoformat(), "id": "chr_1", "kind": "policy", "by": "alice@acme.test"}
    return {**stamp, "event": event, "activation": act, **change, **more}


HISTORIES: dict[str, tuple[list[dict[str, Any]], tuple[int, str] | None, set[int], list[str]]] = {
    "nothing": ([], None, set(), []),
    "one": ([record("activated", 1)], (1, "d1"), {1}, []),
    "the last counts": ([record("activated", 1), record("activated", 2, 1)], (2, "d2"), {1, 2}, []),
    "back again": (
        [record("activated", 1), record("activated", 2, 1), record("activated", 1, 2)],
        (1, "d1"),
        {1, 2},
        [],
    ),
    "retired": ([record("activated", 1), record("retired", 0, 1)], (0, ""), {1}, []),
    "a request changes nothing": ([record("activation-requested", 2)], None, set(), ["act_1"]),
    "a request that was approved": ([record("activation-requested", 2), record("activated", 2)], (2, "d2"), {2}, []),
    "a request that was refused": (
        [record("activation-requested", 2), {**record("activation-refused", 2)}],
        None,
        set(),
        [],
    ),
    "other events": ([{"event": "loaded"}, {"event": "refused"}, record("activated", 1)], (1, "d1"), {1}, []),
}


@pytest.mark.parametrize(("records", "active", "approved", "waiting"), HISTORIES.values(), ids=HISTORIES)
def test_what_was_activated_last_is_in_force(
    records: list[dict[str, Any]], active: tuple[int, str] | None, approved: set[int], waiting: list[str]
) -> None:
    """The pointer is the last record about a text; what was ever activated is known, and what waits."""
    history = read_history(records)
    activations = history.in_force(required=False)
    assert activations.active.get(("skill", "deploy-v2")) == active
    assert {version for _, _, version, _ in activations.approved} == approved
    assert list(history.waiting) == waiting


BROKEN = {
    "no digest": {"text_digest": None},
    "no version": {"text_version": None},
    "a version that is no number": {"text_version": "x"},
    "another kind": {"text_kind": "mapping"},
    "nobody": {"by": None},
    "no time": {"ts": None},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_an_activation_that_cannot_be_read_is_never_skipped(change: dict[str, Any]) -> None:
    """It may have taken something out of force, so no rules load without it."""
    broken = {name: value for name, value in {**record("activated", 1), **change}.items() if value is not None}
    with pytest.raises(PolicyError, match=r'^chr_1:1:1: a record of the event "activated" cannot be read'):
        read_history([record("activated", 1), broken])


def test_a_request_waits_for_a_week() -> None:
    """Then nobody can approve it any more."""
    request = Request("act_1", (Change(ref(1)),), AT, "alice@acme.test")
    assert not request.expired(AT + REQUEST_LIFETIME - datetime.timedelta(seconds=1))
    assert request.expired(AT + REQUEST_LIFETIME)


SIMULATIONS = {
    "right": ([ref(2)], 30, datetime.timedelta(), ""),
    "another version": ([ref(3)], 30, datetime.timedelta(), "that simulation was of other texts"),
    "fewer texts": ([ref(2), ref(1, "policy", "no-prod")], 30, datetime.timedelta(), "that simulation was of other"),
    "a text that goes needs none": ([ref(2), ref(0, "policy", "no-prod")], 30, datetime.timedelta(), ""),
    "too little past": ([ref(2)], 29, datetime.timedelta(), "that simulation goes back less than 30 days"),
    "just young enough": ([ref(2)], 30, SIMULATION_LIFETIME - datetime.timedelta(seconds=1), ""),
    "too old": ([ref(2)], 30, SIMULATION_LIFETIME, "that simulation is older than a day"),
}


@pytest.mark.parametrize(("refs", "days", "later", "fault"), SIMULATIONS.values(), ids=SIMULATIONS)
def test_a_simulation_is_of_exactly_these_texts_and_recent(
    refs: list[TextRef], days: int, later: datetime.timedelta, fault: str
) -> None:
    """By digest; neither more texts nor fewer."""
    simulation = Simulation("r", frozenset({spelled(ref(2))}), AT, AT - days * DAY, AT, 0, "alice@acme.test")
    found = simulation.fault([Change(each) for each in refs], 30 * DAY, AT + later)
    assert found.startswith(fault)
    assert bool(found) is bool(fault)


def test_a_simulation_of_a_past_that_ended_long_ago_is_no_ground() -> None:
    """However recently somebody vouched for it."""
    texts = frozenset({spelled(ref(2))})
    old = Simulation("r", texts, AT, AT - 60 * DAY, AT - 2 * DAY, 0, "alice@acme.test")
    assert old.fault([Change(ref(2))], 30 * DAY, AT) == "that simulation is older than a day; simulate again"


# --- choosing ---

PLACES = {1: "chron:skill:deploy-v2@1", 2: "policies/v2.yaml", 3: "policies/v3.yaml", 4: "chron:skill:deploy-v2@4"}
KNOWN = {("skill", "deploy-v2", version): (ref(version), place) for version, place in PLACES.items()}
KNOWN |= {(kind, "shared", 1): (ref(1, kind, "shared"), "policies/x.yaml") for kind in ("skill", "policy")}

CHOICES: dict[str, tuple[Any, str, list[tuple[int, int]], tuple[int, int] | str]] = {
    "the highest of the files": ("activate", "deploy-v2", [], (3, 0)),
    "one that only was kept": ("activate", "deploy-v2@1", [], (1, 0)),
    "with its kind": ("activate", "skill:deploy-v2@2", [(1, 0)], (2, 1)),
    "the same again": ("activate", "deploy-v2@1", [(1, 0)], "skill:deploy-v2@1 is in force already; nothing to do"),
    "of the other kind": ("activate", "policy:deploy-v2", [], 'policy "deploy-v2" does not exist; '),
    "two of a name": (
        "activate",
        "shared",
        [],
        '"shared" is the name of a skill and of a policy; write "skill:shared"',
    ),
    "back": ("rollback", "deploy-v2", [(1, 0), (2, 1)], (1, 2)),
    "back and forth": ("rollback", "deploy-v2", [(1, 0), (2, 1), (1, 2)], (2, 1)),
    "back from nothing": ("rollback", "deploy-v2", [], "nothing was in force before this version; use"),
    "back to nothing": ("rollback", "deploy-v2", [(2, 0)], "nothing was in force before this version; use"),
    "back from retirement": ("rollback", "deploy-v2", [(2, 0), (0, 2)], (2, 0)),
    "retired": ("retire", "deploy-v2", [(2, 0)], (0, 2)),
    "retired again": ("retire", "deploy-v2", [(2, 0), (0, 2)], "no version of skill:deploy-v2 is in force already"),
    "a zero": ("activate", "deploy-v2@0", [], '"deploy-v2@0" names no text; write'),
    "nothing": ("activate", "", [], '"" names no text; write'),
}


@pytest.mark.parametrize(("verb", "typed", "moves", "expected"), CHOICES.values(), ids=CHOICES)
def test_what_a_human_types_means_one_change_or_none(
    verb: Any, typed: str, moves: list[tuple[int, int]], expected: tuple[int, int] | str
) -> None:
    """A wrong name is told apart from a name that means too much."""
    history, in_force = History(), {}
    for version, previous in moves:
        history = history.with_changes([Change(ref(version), previous)], AT)
        in_force = {("skill", "deploy-v2"): ref(version)} if version else {}
    if isinstance(expected, str):
        with pytest.raises(ChoiceRefused) as refused:
            choose(verb, typed, KNOWN, history, in_force)
        assert str(refused.value).startswith(expected)
    else:
        change = choose(verb, typed, KNOWN, history, in_force)
        assert (change.ref, change.previous) == (ref(expected[0]), expected[1])


# --- what the rulebook makes of it ---

BASE = "skill: base-v1\nallow: [health:check]\n"
ONE = "skill: deploy-v2\nextends: [base-v1@1]\nallow: [deploy:staging]\n"
TWO = "skill: deploy-v2\nversion: 2\nallow: [deploy:production]\n"


def test_a_text_in_force_brings_all_that_it_extends(
    build: Callable[..., Any], ask: Callable[..., Any], agents_text: Callable[..., str]
) -> None:
    """From the kept texts, when the files of both are gone."""
    digest = next(text.digest for text in build(BASE, ONE).texts if text.id == "deploy-v2")
    kept = {("skill", "deploy-v2", 1): ONE, ("skill", "base-v1", 1): BASE}
    activations = Activations({("skill", "deploy-v2"): (1, digest)}, texts=kept)
    policies = build(TWO, activations=activations)
    assert policies.in_force["skill", "deploy-v2"].version == 1
    decision = policies.decide(ask("health:check"))
    assert (decision.outcome, decision.rule) == (Outcome.ALLOW, "chron:skill:base-v1@1:2:9")


def test_a_text_in_force_that_nobody_has_is_a_fault(build: Callable[..., Any]) -> None:
    """No other version takes its place by itself, nor does another text under the same version."""
    for texts in ({}, {("skill", "deploy-v2", 1): ONE + "deny: [infra:destroy]\n", ("skill", "base-v1", 1): BASE}):
        activations = Activations({("skill", "deploy-v2"): (1, "d1")}, texts=texts)
        with pytest.raises(PolicyError, match="version 1 is in force and its text is not here"):
            build(TWO, activations=activations)


@pytest.mark.parametrize("required", [False, True])
def test_what_was_retired_is_out_of_force(build: Callable[..., Any], ask: Callable[..., Any], required: bool) -> None:
    """Its agents are denied, whatever files there are."""
    policies = build(TWO, activations=Activations({("skill", "deploy-v2"): (0, "")}, required=required))
    decision = policies.decide(ask("deploy:production"))
    assert (decision.outcome, decision.code) == (Outcome.DENY, "skill.not-active")
    assert decision.reason == "skill:deploy-v2 -- not activated"
