"""What changed in the registry, told as events: one for each thing that is another now, none for what stayed."""

from collections.abc import Mapping

import pytest

from mappings.documents import read_document
from policies import Policies, compile_policies
from policies.changes import agents_text, changes, registered, tokens_digest

A, B, CERT = "a" * 64, "b" * 64, f"cert-sha256:{'c' * 64}"
SKILLS = [read_document(f"skill: s\nversion: {version}\nallow: [a:b]\n", f"s{version}.yaml") for version in (1, 2)]


def compiled(text: str) -> Policies:
    return compile_policies(read_document(text, "agents.yaml"), SKILLS)


def site(agent: str = "", human: str = "", organisation: str = "", more: str = "") -> Policies:
    """A registry in which the first of each kind has the given fields."""
    return compiled(
        "version: 1\n"
        f"organisations: [{{id: acme{organisation}}}, {{id: globex}}]\n"
        f"humans: [{_entry('id: al@acme.test, org: acme, state: active', human)}, "
        "{id: bo@acme.test, org: acme, state: active}]\n"
        f"agents: [{_entry('id: bot, anchor: al@acme.test, org: acme, state: active', agent)}]\n{more}"
    )


def _entry(given: str, changed: str) -> str:
    fields = dict(field.split(": ", 1) for field in (given + changed).split(", "))
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


BOT = {"agent": "bot", "anchor": "al@acme.test", "org": "acme"}
AL = {"human": "al@acme.test", "org": "acme"}
GRANT = "cross_grants: [{of: acme, into: globex, actions: ['deploy:*'], until: '2027-01-01'}]\n"
GRANTED: dict[str, str | int] = {
    "organisation": "acme", "into": "globex", "agents": "*", "actions": "deploy:*", "until": "2027-01-01T00:00:00Z",
}  # fmt: skip

TABLE: Mapping[str, tuple[Policies, Policies, list[tuple[str, str, dict[str, str | int]]]]] = {
    "nothing": (site(), site(), []),
    "agent suspended": (
        site(), site(", state: suspended"),
        [("agent", "suspended", {**BOT, "from_state": "active", "to_state": "suspended"})],
    ),
    "agent resumed": (
        site(", state: suspended"), site(),
        [("agent", "resumed", {**BOT, "from_state": "suspended", "to_state": "active"})],
    ),
    "agent activated": (
        site(", state: pending"), site(),
        [("agent", "activated", {**BOT, "from_state": "pending", "to_state": "active"})],
    ),
    "revoked, its token gone": (
        site(f", tokens: ['{A}']"), site(", state: revoked"),
        [
            ("agent", "revoked", {**BOT, "from_state": "active", "to_state": "revoked"}),
            ("agent", "tokens-changed", {**BOT, "tokens_before": 1, "tokens_after": 0, "tokens_new": 0}),
        ],
    ),
    "agent transferred": (
        site(), site(", anchor: bo@acme.test"),
        [(
            "agent", "transferred",
            {**BOT, "anchor": "bo@acme.test", "from_anchor": "al@acme.test", "to_anchor": "bo@acme.test"},
        )],
    ),
    "agent given a skill": (
        site(", skill: s@1"), site(", skill: s@2"),
        [("agent", "re-skilled", {**BOT, "from_skill": "s@1", "to_skill": "s@2"})],
    ),
    "agent observed": (
        site(), site(", mode: observe"),
        [("agent", "mode-changed", {**BOT, "from_mode": "enforce", "to_mode": "observe"})],
    ),
    "agent with an end": (
        site(), site(", expires: '2027-01-01'"),
        [("agent", "expiry-changed", {**BOT, "from_expires": "", "to_expires": "2027-01-01T00:00:00Z"})],
    ),
    "agent labelled": (
        compiled("version: 1\nhumans: [{id: al@acme.test, org: acme, state: active}]\nagents:\n"
                 "- {id: bot, anchor: al@acme.test, org: acme, state: active, labels: {b: c}}\n"),
        compiled("version: 1\nhumans: [{id: al@acme.test, org: acme, state: active}]\nagents:\n"
                 "- {id: bot, anchor: al@acme.test, org: acme, state: active, labels: {b: d, a: e}}\n"),
        [("agent", "labels-changed", {**BOT, "from_labels": "b=c", "to_labels": "a=e b=d"})],
    ),
    "another token": (
        site(f", tokens: ['{A}']"), site(f", tokens: ['{B}']"),
        [("agent", "tokens-changed", {**BOT, "tokens_before": 1, "tokens_after": 1, "tokens_new": 1})],
    ),
    "an identity": (
        site(), site(f", identities: ['{CERT}']"),
        [("agent", "identities-changed", {**BOT, "added": CERT, "removed": ""})],
    ),
    "human suspended and moved": (
        site(), site(human=", state: suspended", agent=", anchor: bo@acme.test"),
        [
            ("human", "suspended", {**AL, "from_state": "active", "to_state": "suspended"}),
            ("agent", "transferred", {
                **BOT, "anchor": "bo@acme.test", "from_anchor": "al@acme.test", "to_anchor": "bo@acme.test",
            }),
        ],
    ),
    "human with a token": (
        site(), site(human=f", tokens: ['{A}']"),
        [("human", "tokens-changed", {**AL, "tokens_before": 0, "tokens_after": 1, "tokens_new": 1})],
    ),
    "organisation suspended": (
        site(), site(organisation=", state: suspended"),
        [("organisation", "suspended", {"organisation": "acme", "from_state": "active", "to_state": "suspended"})],
    ),
    "organisation with targets": (
        site(), site(organisation=", owns: ['acme/*']"),
        [("organisation", "targets-changed", {"organisation": "acme", "from_owns": "", "to_owns": "acme/*"})],
    ),
    "a grant": (
        site(), site(more=GRANT),
        [("organisation", "grant-added", GRANTED)],
    ),
    "no grant any more": (
        site(more=GRANT), site(),
        [("organisation", "grant-removed", GRANTED)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), TABLE.values(), ids=TABLE)
def test_changes(before: Policies, after: Policies, expected: list[tuple[str, str, dict[str, str | int]]]) -> None:
    """Each change is one event that names whom it happened to, and what was before and after."""
    assert [(change.kind, change.event, dict(change.fields)) for change in changes(before, after)] == expected


@pytest.mark.parametrize(("before", "after", "expected"), TABLE.values(), ids=TABLE)
def test_a_kept_registry_tells_the_same(
    before: Policies, after: Policies, expected: list[tuple[str, str, dict[str, str | int]]]
) -> None:
    """Read back from its evidence a registry shows all changes but a token that took another's place."""
    kept_before, kept_after = registered(agents_text(before).text), registered(agents_text(after).text)
    assert kept_after is not None
    shown = [name for _, name, fields in expected if fields.get("tokens_before", 0) != fields.get("tokens_after", 1)]
    assert [change.event for change in changes(kept_before, kept_after)] == shown


def test_the_first_load_adds_everybody() -> None:
    """Without a registry before, each agent, human and organisation was added, with what it is."""
    found = changes(None, site(", skill: s@1"))
    kinds = ["organisation", "organisation", "human", "human", "agent"]
    assert [(change.kind, change.event) for change in found] == [(kind, "added") for kind in kinds]
    assert dict(found[-1].fields) == {**BOT, "state": "active", "skill": "s@1", "mode": "enforce"}
    gone = changes(site(), compiled("version: 1\nhumans: []\nagents: []\n"))
    assert [(change.kind, change.event) for change in gone] == [(change.kind, "removed") for change in found]


def test_tokens_digest() -> None:
    """It is another for every other token, and the same whatever else changes."""
    first = tokens_digest(site(f", tokens: ['{A}']"))
    assert tokens_digest(site(f", tokens: ['{A}'], state: suspended")) == first
    assert tokens_digest(site(f", tokens: ['{B}']")) != first
    assert tokens_digest(site(human=f", tokens: ['{A}']")) != first


def test_a_registry_that_cannot_be_read() -> None:
    """What no longer loads is no registry, and nobody guesses what it said."""
    assert registered("version: 2\n") is None
    assert registered("a: [\n") is None


def test_a_large_registry_is_read_back() -> None:
    """Ten thousand agents are as many for the evidence as for the loader."""
    agents = "".join(f"- {{id: a{n}, anchor: al@acme.test, org: acme, state: active}}\n" for n in range(10_000))
    kept = registered(f"version: 1\nhumans:\n- {{id: al@acme.test, org: acme, state: active}}\nagents:\n{agents}")
    assert kept is not None
    assert len(kept.agents) == 10_000
