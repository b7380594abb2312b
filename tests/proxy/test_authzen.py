"""AuthZEN: the same decisions in another form; who may ask about whom; nothing there permits by accident."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from policies import credential
from support.gate import AGENTS, OTHER_TOKEN, SKILLS, TOKEN, LiveGate

ONE, MANY = "/access/v1/evaluation", "/access/v1/evaluations"
HUMAN_TOKEN = "clh_test-token-of-alice-0123456789abcdef0123456"
BOB_TOKEN = "clh_test-token-of-bob-0123456789abcdef012345678"
HUMANS = [
    {**AGENTS["humans"][0], "tokens": [credential("", HUMAN_TOKEN).token_sha256]},
    {"id": "bob@acme.test", "org": "acme", "state": "active", "tokens": [credential("", BOB_TOKEN).token_sha256]},
]
ASKING = {
    **SKILLS,
    "deploy-v2": {**SKILLS["deploy-v2"], "allow": [*SKILLS["deploy-v2"]["allow"], "deploy:canary"]}
    | {"approve": [{"action": "deploy:canary"}]},
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGate]:
    """One gate for all: questions leave nothing behind but their records."""
    with LiveGate(tmp_path_factory.mktemp("gate"), skills=ASKING, agents={**AGENTS, "humans": HUMANS}) as live:
        yield live


@pytest.fixture(scope="module")
def api(gate: LiveGate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        yield client


def operator(gate: LiveGate) -> str:
    return gate.config.operator_token.read_text().strip()


def evaluation(action: str, target: str = "api-v2", agent: str = "deploy-bot", **more: Any) -> dict[str, Any]:
    return {
        "subject": {"type": "agent", "id": agent},
        "action": {"name": action},
        "resource": {"type": "target", "id": target},
        **more,
    }


def ask(api: httpx.Client, body: Any, token: str = TOKEN, path: str = ONE, **headers: str) -> httpx.Response:
    return api.post(path, json=body, headers={"Authorization": f"Bearer {token}", **headers})


def record(gate: LiveGate, said: dict[str, Any]) -> dict[str, Any]:
    (found,) = gate.records(id=said["context"]["chron_id"])
    return found


# --- one evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "decision", "outcome", "code", "reason"),
    [
        ("deploy:staging", True, "ALLOW", "skill.allowed", "skill:deploy-v2 -- action in allow list"),
        ("Deploy:Production", False, "DENY", "skill.denied", "skill:deploy-v2 -- action in deny list"),
        ("pr:merge", False, "DENY", "skill.not-in-allow-list", "skill:deploy-v2 -- action not in allow list"),
        ("deploy:canary", False, "HOLD", "skill.needs-approval", "skill:deploy-v2 -- action needs approval"),
    ],
)
def test_an_evaluation_is_decided_and_recorded(
    gate: LiveGate, api: httpx.Client, action: str, decision: bool, outcome: str, code: str, reason: str
) -> None:
    """200 with a boolean, and in the context all that /v1/check says; a HOLD is no permission."""
    response = ask(api, evaluation(action))
    said = response.json()
    context = said["context"]
    assert (response.status_code, said["decision"]) == (200, decision)
    assert (context["outcome"], context["code"], context["reason_user"]) == (outcome, code, {"en": reason})
    assert (context["agent"], context["anchor"], context["mode"]) == ("deploy-bot", "alice@acme.test", "enforce")
    assert (context["action"], context["target"], context["skill"]) == (action.lower(), "api-v2", "deploy-v2@1")
    found = record(gate, said)
    wanted = {"channel": "api", "action": action.lower(), "target": "api-v2", "outcome": outcome, "reason": reason}
    assert {name: found.get(name) for name in wanted} == wanted
    assert "asked_by" not in found


def test_an_agent_is_not_told_where_a_rule_stands(gate: LiveGate, api: httpx.Client) -> None:
    """File and line are for the operator and for humans."""
    body = evaluation("deploy:production")
    assert not {"rule", "reason_admin"} & set(ask(api, body).json()["context"])
    for token in (operator(gate), HUMAN_TOKEN):
        context = ask(api, body, token).json()["context"]
        assert "deploy-v2.yaml:" in context["rule"]
        assert context["reason_admin"] == {"en": "skill: skill:deploy-v2 -- action in deny list"}


ENVIRONMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "of the resource": ({"resource": {"type": "target", "id": "a", "properties": {"environment": "e"}}}, "e"),
    "of the action": ({"action": {"name": "data:read", "properties": {"environment": "e"}}}, "e"),
    "of the context": ({"context": {"environment": "e"}}, "e"),
    "none": ({"context": {"time": "2026-01-01T00:00:00Z", "x": {"y": [1.5, None]}}}, ""),
}


@pytest.mark.parametrize(("more", "environment"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_environment_may_stand_anywhere(
    gate: LiveGate, api: httpx.Client, more: dict[str, Any], environment: str
) -> None:
    """It is read from the properties of resource and action and from the context; nothing else of them is."""
    assert record(gate, ask(api, evaluation("data:read") | more).json()).get("environment", "") == environment


def test_what_an_agent_says_about_itself_is_not_read(gate: LiveGate, api: httpx.Client) -> None:
    """Properties of the subject, a client address, an approval and members nobody knows change nothing."""
    vouching = {"anchor": "bob@acme.test", "org": "other", "ip_address": "10.0.0.1", "approvers": ["bob@acme.test"]}
    body = evaluation("deploy:canary", context=vouching, approvers=["bob@acme.test"])
    body["subject"]["properties"] = vouching
    said = ask(api, body).json()
    assert (said["decision"], said["context"]["anchor"]) == (False, "alice@acme.test")
    assert record(gate, said)["client"] == "127.0.0.1"


def test_a_resource_of_another_type_is_named_by_both(gate: LiveGate, api: httpx.Client) -> None:
    """The target is "type/id"."""
    body = evaluation("data:read") | {"resource": {"type": "book", "id": "123"}}
    assert record(gate, ask(api, body).json())["target"] == "book/123"


# --- who asks about whom -------------------------------------------------------------------------------

CALLERS: dict[str, tuple[str, str, int]] = {
    "an agent about itself": (OTHER_TOKEN, "other-bot", 200),
    "an agent about another": (OTHER_TOKEN, "deploy-bot", 403),
    "an agent about nobody": (OTHER_TOKEN, "ghost", 403),
    "a human about their agent": (HUMAN_TOKEN, "deploy-bot", 200),
    "a human about another's agent": (BOB_TOKEN, "deploy-bot", 403),
    "a human about nobody": (HUMAN_TOKEN, "ghost", 403),
    "nobody": ("clm_wrong", "deploy-bot", 401),
}


@pytest.mark.parametrize(("token", "agent", "status"), CALLERS.values(), ids=CALLERS)
def test_who_may_ask_about_whom(gate: LiveGate, api: httpx.Client, token: str, agent: str, status: int) -> None:
    """Agents ask about themselves, humans about those they answer for; nothing else is decided or recorded."""
    before = len(gate.records())
    response = ask(api, evaluation("data:read", agent=agent), token)
    assert response.status_code == status
    assert len(gate.records()) == before + (status == 200)
    batch = ask(api, {"evaluations": [evaluation("data:read", agent=agent)]}, token, MANY)
    if status == 403:
        (said,) = batch.json()["evaluations"]
        assert (said["decision"], said["context"]["error"]["status"]) == (False, 403)
    else:
        assert batch.status_code == status


def test_who_asked_for_another_stands_in_the_record(gate: LiveGate, api: httpx.Client) -> None:
    """The operator asks about all, also about nobody; humans and operator are named, their tokens prove no agent."""
    said = ask(api, evaluation("deploy:staging"), operator(gate)).json()
    assert said["decision"] is True
    assert record(gate, said)["asked_by"] == "operator"
    said = ask(api, evaluation("deploy:staging"), HUMAN_TOKEN).json()
    assert record(gate, said)["asked_by"] == "human:alice@acme.test"
    said = ask(api, evaluation("deploy:staging", agent="ghost"), operator(gate)).json()
    assert (said["decision"], said["context"]["code"]) == (False, "agent.unknown")


# --- many ----------------------------------------------------------------------------------------------

SEMANTICS: dict[str, tuple[list[str], list[bool]]] = {
    "execute_all": (["data:read", "pr:merge", "deploy:staging"], [True, False, True]),
    "deny_on_first_deny": (["data:read", "pr:merge", "deploy:staging"], [True, False]),
    "permit_on_first_permit": (["pr:merge", "data:read", "deploy:staging"], [False, True]),
}


@pytest.mark.parametrize("semantic", SEMANTICS)
def test_every_semantic_answers_and_records_what_it_evaluated(gate: LiveGate, api: httpx.Client, semantic: str) -> None:
    """In the order asked, up to where the semantic stops; each answer has a record, and nothing else has."""
    actions, decisions = SEMANTICS[semantic]
    before = len(gate.records())
    shared = evaluation("x:y")
    body = shared | {"evaluations": [{"action": {"name": action}} for action in actions]}
    body["options"] = {"evaluations_semantic": semantic, "another": 1}
    said = ask(api, body, path=MANY).json()["evaluations"]
    assert [each["decision"] for each in said] == decisions
    records = gate.records()[before:]
    assert [each["id"] for each in records] == [each["context"]["chron_id"] for each in said]
    assert [each["action"] for each in records] == actions[: len(decisions)]


def test_what_an_evaluation_says_goes_before_what_stands_beside(gate: LiveGate, api: httpx.Client) -> None:
    """Defaults are replaced whole, not mixed: a resource of its own does not keep the default's environment."""
    shared = evaluation("data:read") | {
        "resource": {"type": "target", "id": "default", "properties": {"environment": "e"}}
    }
    own = {"resource": {"type": "target", "id": "own"}}
    said = ask(api, shared | {"evaluations": [{}, own]}, path=MANY).json()["evaluations"]
    first, second = (record(gate, each) for each in said)
    assert (first["target"], first["environment"]) == ("default", "e")
    assert (second["target"], second.get("environment")) == ("own", None)


@pytest.mark.parametrize("body", [evaluation("data:read"), evaluation("data:read", evaluations=[])])
def test_without_evaluations_it_is_a_single_one(gate: LiveGate, api: httpx.Client, body: dict[str, Any]) -> None:
    """Absent or empty: answered as /evaluation answers."""
    assert ask(api, body, path=MANY).json()["decision"] is True


def test_one_that_is_none_is_denied_among_the_others(gate: LiveGate, api: httpx.Client) -> None:
    """It has an error and no record, the others are decided; after it nothing is asked where a denial ends it."""
    bad = [{"action": {"name": "deploy:*"}}, {"action": {}}, {"subject": {"type": "user", "id": "deploy-bot"}}]
    body = evaluation("data:read") | {"evaluations": [{}, *bad, {}]}
    before = len(gate.records())
    said = ask(api, body, path=MANY).json()["evaluations"]
    assert [each["decision"] for each in said] == [True, False, False, False, True]
    assert [each["context"]["error"]["status"] for each in said[1:4]] == [400, 400, 400]
    assert len(gate.records()) == before + 2
    stopping = body | {"options": {"evaluations_semantic": "deny_on_first_deny"}}
    assert [each["decision"] for each in ask(api, stopping, path=MANY).json()["evaluations"]] == [True, False]
    assert len(gate.records()) == before + 3


# --- what is no question -------------------------------------------------------------------------------

NO_QUESTIONS: dict[str, tuple[str, Any, str]] = {
    "no body": (ONE, None, "authzen.body"),
    "no subject": (ONE, {"action": {"name": "a:b"}, "resource": {"type": "t", "id": "x"}}, "authzen.body"),
    "a number as id": (ONE, evaluation("a:b") | {"subject": {"type": "agent", "id": 7}}, "authzen.body"),
    "a list of properties": (ONE, evaluation("a:b") | {"action": {"name": "a:b", "properties": []}}, "authzen.body"),
    "a user": (ONE, evaluation("a:b") | {"subject": {"type": "user", "id": "deploy-bot"}}, "authzen.subject"),
    "a pattern": (ONE, evaluation("deploy:*"), "authzen.action"),
    "two environments": (
        ONE,
        evaluation("a:b", context={"environment": "x"})
        | {"resource": {"type": "target", "id": "x", "properties": {"environment": "y"}}},
        "authzen.environment",
    ),
    "an environment that is none": (ONE, evaluation("a:b", context={"environment": 1}), "authzen.environment"),
    "an unknown semantic": (
        MANY,
        {"evaluations": [evaluation("a:b")], "options": {"evaluations_semantic": "first"}},
        "authzen.body",
    ),
    "too many": (MANY, {"evaluations": [{}] * 101}, "authzen.body"),
    "an evaluation that is a text": (MANY, {"evaluations": ["x"]}, "authzen.body"),
}


@pytest.mark.parametrize(("path", "body", "code"), NO_QUESTIONS.values(), ids=NO_QUESTIONS)
def test_what_is_no_question_is_400(gate: LiveGate, api: httpx.Client, path: str, body: Any, code: str) -> None:
    """Neither decided nor recorded; the problem says what is wrong."""
    before = len(gate.records())
    response = ask(api, body, path=path)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert "decision" not in response.json()
    assert len(gate.records()) == before


def test_a_request_keeps_its_name(api: httpx.Client) -> None:
    """X-Request-ID comes back with answers and with failures alike."""
    for body, status in ((evaluation("data:read"), 200), ({}, 400)):
        response = ask(api, body, **{"X-Request-ID": "bfe9eb29 x"})
        assert (response.status_code, response.headers["x-request-id"]) == (status, "bfe9eb29 x")
    assert "x-request-id" not in ask(api, evaluation("data:read")).headers


def test_the_metadata_lead_to_the_endpoints(gate: LiveGate, api: httpx.Client) -> None:
    """Anybody may read where the endpoints are; both answer there."""
    told = api.get("/.well-known/authzen-configuration").json()
    assert told["policy_decision_point"] == gate.api
    said = ask(api, evaluation("data:read"), path=told["access_evaluation_endpoint"])
    assert said.json()["decision"] is True
    said = ask(api, {"evaluations": [evaluation("data:read")]}, path=told["access_evaluations_endpoint"])
    assert said.json()["evaluations"][0]["decision"] is True
