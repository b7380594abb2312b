"""Which human a token proves, and which actions may have to wait for one: what `claiim can` and approvals hang on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mappings.documents import read_document
from policies import Policies, compile_policies, credential, token_digest
from policies.values import Credential, Outcome, Question

AT = datetime(2026, 3, 4, tzinfo=UTC)
BEFORE, AFTER = "2026-03-03", "2026-03-05"
TOKEN = "clh_a-token-of-bob-0123456789abcdef0123456789"
SKILL = "skill: s\nallow: [data:read]\napprove: [deploy:*]\n"


def registry(human: str = "", organisation: str = "", token: str = "", policy: str = "") -> Policies:
    """Bob with a token, and what else is said of him, his organisation and his token; one policy, if any."""
    text = (
        "version: 1\n"
        f"organisations: [{{id: acme{organisation}}}]\n"
        f"humans: [{{id: bob@acme.test, org: acme, state: {human or 'active'}, "
        f"tokens: [{{sha256: '{token_digest(TOKEN)}'{token}}}]}}]\n"
        "agents:\n"
        "- {id: asking, anchor: bob@acme.test, org: acme, state: active, skill: s}\n"
        "- {id: plain, anchor: bob@acme.test, org: acme, state: active, skill: p}\n"
    )
    texts = {"s": SKILL, "p": "skill: p\nallow: [data:read]\n", "site": policy}
    return compile_policies(
        read_document(text, "agents.yaml"),
        [read_document(each, f"policies/{name}.yaml") for name, each in texts.items() if each],
    )


REFUSED: dict[str, Callable[[], Policies]] = {
    "suspended": lambda: registry(human="suspended"),
    "revoked": lambda: registry(human="revoked"),
    "organisation suspended": lambda: registry(organisation=", state: suspended"),
    "token over": lambda: registry(token=f", expires: '{BEFORE}'"),
}


def test_a_token_proves_its_human() -> None:
    """While human, organisation and token are in order; any other token proves nobody."""
    for rules in (registry(), registry(organisation=", state: active"), registry(token=f", expires: '{AFTER}'")):
        human = rules.identify_human(token_digest(TOKEN), AT)
        assert human is not None
        assert human.id == "bob@acme.test"
        assert rules.identify_human(token_digest("clh_another"), AT) is None
        assert rules.identify_human("", AT) is None


@pytest.mark.parametrize("name", REFUSED)
def test_who_may_not_speak_is_nobody(name: str) -> None:
    """However right the token is."""
    assert REFUSED[name]().identify_human(token_digest(TOKEN), AT) is None


def test_what_may_have_to_wait_is_known_beforehand() -> None:
    """Its request is read whole before anybody is asked; what never waits is not."""
    rules = registry()
    assert (rules.ever_holds("asking"), rules.ever_holds("plain"), rules.ever_holds("nobody")) == (True, False, False)
    assert rules.may_hold("asking", "deploy:x") is True
    assert rules.may_hold("asking", "data:read") is False
    assert rules.may_hold("plain", "deploy:x") is False
    assert rules.may_hold("nobody", "deploy:x") is False


def test_one_text_that_asks_is_enough_to_wait() -> None:
    """A policy's line makes its agents wait as the skill's does, and the skill's where a policy has none."""
    quiet, asking = ("policy: site\ndeny: [never:*]\n", "policy: site\napprove: [data:*]\n")
    assert registry(policy=quiet).ever_holds("asking") is True
    assert registry(policy=quiet).ever_holds("plain") is False
    assert registry(policy=asking).ever_holds("plain") is True
    assert registry(policy=asking).may_hold("plain", "data:read") is True


def test_the_past_is_decided_without_proofs_and_not_without_agents() -> None:
    """`decide_again` supposes a proof, of an agent that there is; a fault on the way is a denial there too."""
    asked = Question(Credential("plain", ""), "data:read", "x", "", AT, "127.0.0.1")
    stranger = replace(asked, credential=Credential("nobody", ""))
    assert registry().decide_again(asked).outcome is Outcome.ALLOW
    for question, code in ((stranger, "agent.unknown"), (replace(asked, at=None), "policy.error")):
        again = registry(human="active, expires: '2027-01-01'").decide_again(question)
        assert (again.outcome, again.code) == (Outcome.DENY, code)


@pytest.mark.parametrize("name", REFUSED)
def test_the_past_is_decided_by_who_might_act(name: str) -> None:
    """Whoever could not act then, because of its human or its organisation, is not allowed anything afterwards."""
    again = REFUSED[name]().decide_again(Question(Credential("plain", ""), "data:read", "x", "", AT, "127.0.0.1"))
    codes = {"suspended": "anchor.suspended", "revoked": "anchor.revoked", "organisation suspended": "org.suspended"}
    assert (again.outcome, again.code) == (
        (Outcome.DENY, codes[name]) if name in codes else (Outcome.ALLOW, "skill.allowed")
    )


def test_headers_that_any_text_asks_about_are_kept() -> None:
    """In a requirement and in conditions of every kind of line; nothing else a condition names is a header."""
    text = (
        "policy: site\n"
        "deny: [{action: a:*, when: {header: {x-deny: [y]}}}]\n"
        "allow: [{action: '**', unless: {header: {x-allow: [y]}}}]\n"
        "approve: [{action: b:*, unless: {header: {x-approve: [y]}, target: [t]}}]\n"
        "require: [{action: c:*, header: x-require, like: [y], when: {header: {x-when: [y]}}}]\n"
    )
    assert registry(policy=text).headers == {"x-deny", "x-allow", "x-approve", "x-require", "x-when"}
    assert registry().headers == frozenset()


def test_nobody_has_no_limits() -> None:
    """An agent that is unknown counts against nothing, and asking for it is no fault."""
    assert registry().limits("nobody", "data:read") == ()


def test_whom_nobody_knows_is_not_identified() -> None:
    """`identify` says None of who may act, so an agent that is in no file must get a denial of its own."""
    refused = registry().identify(credential("nobody", TOKEN), AT)
    assert refused is not None
    assert (refused.outcome, refused.code) == (Outcome.DENY, "agent.unknown")


def test_an_explanation_supposes_nothing_beside_what_was_presented() -> None:
    """Only of who presents nothing at all it is supposed that the proof is right."""
    asked = Question(Credential("plain", ""), "data:read", "x", "", AT, "127.0.0.1")
    proof = Credential("plain", "", identities=("spiffe://acme.test/nobody",))
    assert registry().explain(asked).decision.outcome is Outcome.ALLOW
    assert registry().explain(replace(asked, credential=proof)).decision.outcome is Outcome.DENY
