"""An end is the first moment at which a thing counts no more: what ends at noon counts just before, and not at noon.

RFC 7519, 4.1.4, says so of tokens ("on or after which" it must not be accepted); here it is one rule for everything.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mappings.documents import read_document
from policies import Policies, compile_policies, credential
from policies.values import Credential, Outcome, Question, Token

JUST_BEFORE = timedelta(microseconds=1)
HUMAN = "clh_of-bob-0123456789abcdef0123456789abcdef"
OURS = "spiffe://acme.test/bot"


def rules(human: str = "", agent: str = "", token: str = "", guard: str = "") -> Policies:
    """A bot and its human; of each what may end."""
    digest, theirs = (credential("", token).token_sha256 for token in ("secret", HUMAN))
    registry = (
        "version: 1\n"
        f"humans: [{{id: bob@acme.test, org: acme, state: active, tokens: [{{sha256: '{theirs}'{token}}}]{human}}}]\n"
        "agents:\n- {id: bot, anchor: bob@acme.test, org: acme, state: active, skill: s, "
        f"identities: ['{OURS}'], tokens: [{{sha256: '{digest}'{token}}}]{agent}}}\n"
    )
    skill = f"skill: s\nallow: [{{action: a{guard}}}]\n"
    return compile_policies(read_document(registry, "agents.yaml"), [read_document(skill, "policies/s.yaml")])


NOON = ", expires: '2026-01-02T12:00:00Z'"
ENDS: dict[str, Callable[[], Policies]] = {
    "a token": lambda: rules(token=NOON),
    "an agent": lambda: rules(agent=NOON),
    "a human": lambda: rules(human=NOON),
    "a rule": lambda: rules(guard=", until: '2026-01-02T12:00:00Z'"),
}


@pytest.mark.parametrize("what", ENDS)
def test_what_ends_at_noon_does_not_count_at_noon(what: str, ask: Callable[..., Question]) -> None:
    """However a request is asked about; one without an end counts on."""
    at_noon = replace(ask("a"), credential=credential("bot", "secret"))
    before = replace(at_noon, at=at_noon.at - JUST_BEFORE)
    ending = ENDS[what]()
    assert (ending.decide(before).outcome, ending.decide(at_noon).outcome) == (Outcome.ALLOW, Outcome.DENY)
    assert rules().decide(at_noon).outcome is Outcome.ALLOW


@pytest.mark.parametrize("what", ["a token", "a human"])
def test_a_human_speaks_until_the_end_and_not_at_it(what: str, ask: Callable[..., Question]) -> None:
    """Approvals hang on it."""
    noon, digest = ask("a").at, credential("", HUMAN).token_sha256
    ending = ENDS[what]()
    assert ending.identify_human(digest, noon - JUST_BEFORE) is not None
    assert ending.identify_human(digest, noon) is None


def test_a_certificate_proves_until_the_end_and_not_at_it(ask: Callable[..., Question]) -> None:
    """The end comes with the credential, from whoever issued it."""
    noon = ask("a").at
    shown = Credential("bot", "", identities=(OURS,), expires=noon)
    assert rules().proves(shown, noon - JUST_BEFORE) is True
    assert rules().proves(shown, noon) is False


def test_who_proves_itself_may_be_in_any_state(ask: Callable[..., Question]) -> None:
    """A right proof of an agent that may not act still opens a tunnel, so that its refusals can be read."""
    at, suspended = ask("a").at, rules(agent=NOON)
    assert suspended.proves(credential("bot", "secret"), at) is True
    assert suspended.proves(credential("bot", "wrong"), at) is False
    assert suspended.proves(credential("nobody", "secret"), at) is False
    assert suspended.proves(Credential("nobody", "", identities=(OURS,)), at) is False


def test_a_token_says_itself_whether_it_counts(ask: Callable[..., Question]) -> None:
    """For those who only look: lists and lints."""
    noon = ask("a").at
    token = Token("0" * 64, expires=noon)
    assert (token.valid(noon - JUST_BEFORE), token.valid(noon)) == (True, False)
