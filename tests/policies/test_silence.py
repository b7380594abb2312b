"""Silence is no permission: a stage that answers nothing, or what no stage answers, has let nothing pass.

The long form of `tests/torture/test_planted.py` breaks every function in a running gate; this table breaks those by
which a decision goes, one by one, against the one line that refuses.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mappings.documents import read_document
from mappings.globs import Glob
from policies import Policies, compile_policies, credential
from policies.deciding import Policies as Deciding
from policies.rules import PASSES, LimitRule, Requirement, TextRules
from policies.standing import Boundaries, Standing
from policies.tokens import Tokens
from policies.values import Agent, BreakGlass, Credential, Decision, Hold, Human, Outcome, Question
from policies.weighing import MatchedText, Weighing

REGISTRY = """
version: 1
organisations: [{id: acme}, {id: other, owns: ["theirs/*"]}]
humans: [{id: bob@acme.test, org: acme, state: active}]
agents:
- {id: bot, anchor: bob@acme.test, org: acme, state: active, skill: s, tokens: [DIGEST]}
- {id: stopped, anchor: bob@acme.test, org: acme, state: suspended, skill: s, tokens: [STOPPED]}
""".replace("DIGEST", credential("", "secret").token_sha256).replace("STOPPED", credential("", "stopped").token_sha256)
SKILL = """
skill: s
allow: [plain:read, ticket:read, counted:read, named:*, guarded:read, {action: timed:read, when: {target: ["in/*"]}}]
deny: [never:*, {action: guarded:read, unless: {environment: [test]}}]
approve: [asked:*]
limits: [{action: counted:read, most: 1, per: hour}]
"""
SITE = """
policy: site
deny: [{action: lifted:*, overridable: break-glass}]
require: [{action: ticket:*, header: x-ticket, like: ["T-*"]}]
"""
LISTS = (
    "policy: lists\nallow: [plain:*, ticket:*, counted:*, named:a*, guarded:*, timed:*, asked:*, never:*, lifted:*]\n"
)
ENDED = "skill: s\nuntil: '2020-01-01'\nallow: [plain:read]\n"


def rules(skill: str = SKILL) -> Policies:
    """A bot, and a line for each reason to refuse."""
    texts = {"s": skill, "site": SITE, "lists": LISTS}
    documents = [read_document(text, f"policies/{name}.yaml") for name, text in texts.items()]
    return compile_policies(read_document(REGISTRY, "agents.yaml"), documents)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "in a deny list": ("never:do", {}),
    "in no allow list": ("other:read", {}),
    "not in the policy's list": ("named:b", {}),
    "without its header": ("ticket:read", {"attributes": {"header.x-ticket": ""}}),
    "with another header": ("ticket:read", {"attributes": {"header.x-ticket": "X-1"}}),
    "used up": ("counted:read", {"uses": {}}),
    "asked of humans": ("asked:write", {}),
    "a deny that is not lifted": ("guarded:read", {"environment": "production"}),
    "an allow elsewhere": ("timed:read", {"target": "out/x"}),
    "a target of others": ("plain:read", {"target": "theirs/x"}),
    "a wrong token": ("plain:read", {"credential": credential("bot", "wrong")}),
    "suspended": ("plain:read", {"credential": credential("stopped", "stopped")}),
}

BROKEN: list[tuple[type, str]] = [
    *((Weighing, name) for name in ("weigh", "lists", "over", "denied", "not_listed", "ended", "permitted")),
    *((Weighing, name) for name in ("permission", "truth", "unmet", "used_up", "unapproved", "_enforced", "_granted")),
    *((Weighing, name) for name in ("_excepted",)),
    *((Standing, name) for name in ("inactive", "_inactive", "boundary", "_boundary", "anchor_inactive", "outside")),
    *((Standing, name) for name in ("foreign", "_unless_active", "barred")),
    *(
        (Deciding, name)
        for name in ("_identify", "_identified_anew", "_unproven", "_matched", "_authorise", "_settled")
    ),
    *((Agent, "state_at"), (Human, "state_at"), (TextRules, "ended")),
    *((Boundaries, "may_cross"), (Boundaries, "owners"), (Tokens, "presented"), (Glob, "fits")),
    *((Hold, "satisfied"), (Hold, "eligible"), (Requirement, "asked"), (Requirement, "_unmet")),
    *((LimitRule, "finding"), (LimitRule, "limit")),
]
WRONG = object()


def asked(ask: Callable[..., Question], action: str, changed: dict[str, Any]) -> Question:
    """A question of the bot, as the row has it."""
    return replace(ask(action), **{"credential": credential("bot", "secret"), "target": "in/x", **changed})


@pytest.mark.parametrize("reason", REFUSED)
def test_what_answers_nothing_lets_nothing_pass(
    reason: str, ask: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever function it is, and whatever it returns instead of what it promises."""
    question = asked(ask, *REFUSED[reason])
    loaded = rules()
    assert loaded.decide(question).outcome is not Outcome.ALLOW
    for where, name in BROKEN:
        for answer in (None, WRONG):
            with monkeypatch.context() as broken:
                broken.setattr(where, name, lambda *_, answer=answer, **__: answer)
                loaded._match.cache_clear()  # type: ignore[attr-defined]
                loaded._decisions.clear()
                # Another credential of the same content, for whom nothing is remembered.
                assert allows(loaded, replace(question, credential=replace(question.credential))) is not True, name


def allows(loaded: Policies, question: Question) -> object:
    """Whether the answer to a question is that it may be done; an answer that is none permits nothing either."""
    found = loaded.decide(question)
    return isinstance(found, Decision) and found.forwards


def test_what_answers_nothing_lifts_no_deny(ask: Callable[..., Question], monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception counts where it is found to cover the question, and nowhere else."""
    question = asked(ask, "lifted:it", {})
    grant = BreakGlass("bgl_1", "bot", "elsewhere:*", "*", question.at, question.at.replace(year=2099), ("a", "b"), "x")
    loaded = rules()
    for answer in (None, WRONG):
        with monkeypatch.context() as broken:
            broken.setattr("policies.weighing.covers", lambda *_, answer=answer: answer)
            assert allows(loaded, replace(question, exceptions=(grant,))) is not True


def test_a_flag_that_is_neither_is_not_taken_for_one(
    ask: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that nothing else has to be asked is believed only when it says exactly that."""
    monkeypatch.setattr(MatchedText, "plain", property(lambda _: WRONG))
    for reason in ("without its header", "used up", "asked of humans"):
        assert allows(rules(), asked(ask, *REFUSED[reason])) is not True


def test_an_end_that_is_no_answer_has_come(ask: Callable[..., Question], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a skill, which then allows nothing."""
    loaded, question = rules(ENDED), asked(ask, "plain:read", {})
    assert allows(loaded, question) is False
    for answer in (None, WRONG):
        monkeypatch.setattr(TextRules, "ended", lambda *_, answer=answer: answer)
        assert allows(loaded, question) is not True


def test_who_is_identified_by_nothing_is_not(ask: Callable[..., Question], monkeypatch: pytest.MonkeyPatch) -> None:
    """`identify` says None of whom it admits, so that it must not come by it otherwise."""
    loaded, at = rules(), ask("plain:read").at
    for where, name in ((Deciding, "_identify"), (Deciding, "_identified_anew"), (Deciding, "_unproven")):
        for answer in (None, WRONG):
            with monkeypatch.context() as broken:
                broken.setattr(where, name, lambda *_, answer=answer: answer)
                refused = loaded.identify(Credential("bot", ""), at)
                assert refused is not None
                assert refused.outcome is Outcome.DENY
    assert loaded.identify(credential("bot", "secret"), at) is None


def test_what_lets_pass_is_a_deny_in_itself() -> None:
    """Were it ever taken for what decides."""
    assert PASSES.outcome is Outcome.DENY
