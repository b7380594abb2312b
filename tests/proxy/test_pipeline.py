"""The pipeline without an engine: plain values in, a verdict out, and nothing forwarded that is not on record."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chron
from chron import Chron, ChronError, Receipt
from mappings import Mappings, Problem, compile_mappings, read_document
from policies import Credential, Decision, Policies, compile_policies, credential
from proxy.config import ApprovalsConfig, UpstreamConfig
from proxy.destinations import Destinations, DestinationUnknown
from proxy.facts import Inbound
from proxy.holding import Holding
from proxy.identity import NOBODY, read_credential
from proxy.metrics import Metrics
from proxy.pipeline import Gate
from proxy.records import Origin
from proxy.verdicts import Book, Case, Decided, Ending, Head, Inquiry, Judgement, Verdict

TOKEN = "clm_pipeline-test-token-0123456789abcdef"
WHO = credential("deploy-bot", TOKEN)

MAPPINGS = {
    "version": 1,
    "rules": [
        {"id": "read", "match": {"host": "a.test", "method": "GET", "path": "/{x+}"}, "action": "data:read"},
        {"id": "delete", "match": {"host": "a.test", "method": "DELETE", "path": "/{x+}"}, "action": "infra:destroy"},
        {
            "id": "one",
            "match": {"host": "a.test", "method": "PUT", "path": "/both", "query": {"a": "1"}},
            "action": "data:read",
        },
        {
            "id": "two",
            "match": {"host": "a.test", "method": "PUT", "path": "/both", "query": {"b": "1"}},
            "action": "infra:destroy",
        },
        {
            "id": "by-body",
            "match": {"host": "a.test", "method": "POST", "path": "/runs", "json": {"destroy": True}},
            "action": "infra:destroy",
        },
        {"id": "run", "match": {"host": "a.test", "method": "POST", "path": "/runs"}, "action": "deploy:staging"},
    ],
}


def agent(name: str, **more: str) -> dict[str, Any]:
    tokens = [credential(name, TOKEN if name != "other-bot" else "clm_other").token_sha256]
    return {"id": name, "anchor": "alice@acme.test", "org": "acme", "state": "active", "skill": "s", **more} | {
        "tokens": tokens if name in ("deploy-bot", "other-bot") else []
    }


AGENTS = {
    "version": 1,
    "humans": [{"id": "alice@acme.test", "org": "acme", "state": "active"}],
    "agents": [agent("deploy-bot"), agent("other-bot", state="suspended")],
}
SKILL = {"skill": "s", "allow": ["data:read", "deploy:staging"], "deny": ["infra:destroy"]}


def book(**changed: Any) -> Book:
    agents = read_document(json.dumps(changed.get("agents", AGENTS)), "agents.yaml")
    texts = [changed.get("skill", SKILL), *changed.get("policies", [])]
    rules = [read_document(json.dumps(text), f"policies/{number}.yaml") for number, text in enumerate(texts)]
    return Book(
        compile_mappings([read_document(json.dumps(changed.get("mappings", MAPPINGS)), "mappings/site.yaml")]),
        compile_policies(agents, rules),
        "rules-digest",
    )


BOOK = book()


def inbound(method: str = "GET", target: str = "/x", host: str = "a.test", **fields: str) -> Inbound:
    named = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return Inbound(method, "https", target, ((b"Host", host.encode()), *named), "10.0.0.9", (host, 443), host)


async def lookup(host: str) -> tuple[str, ...]:
    if host != "a.test":
        raise DestinationUnknown(f'"{host}" cannot be resolved')
    return ("93.184.215.14",)


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def gate_with(log: Any, rules: Book = BOOK, **more: Any) -> Gate:
    """A gate that never waits: what humans must approve is answered at once."""
    destinations = Destinations({}, UpstreamConfig(None, 10, 600, (), frozenset()), frozenset({443}), lookup=lookup)
    metrics = Metrics()
    return Gate(
        rules,
        log,
        destinations,
        origin=Origin("session", "test", "1"),
        now=now,
        metrics=metrics,
        holding=Holding(log, metrics, ApprovalsConfig(wait_s=0), session="session", now=now),
        **more,
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Chron]:
    """A Chron whose last records are on disk when the test looks."""
    opened = Chron.open(tmp_path / "chron.db", low_water_bytes=0)
    yield opened
    opened.close()


async def records(log: Chron, kind: str = "decision") -> list[dict[str, Any]]:
    await log.append("lifecycle", {"event": "settled"})  # outcomes wait for the next batch
    return [dict(record.fields) for record in chron.find(log.path, kind=kind)]


async def judged(gate: Gate, request: Inbound, body: bytes | None = b"", who: Credential = WHO) -> Verdict:
    return await gate.judge(gate.read_head(request, who), body)


# --- one request, one verdict --------------------------------------------------------------------------


async def test_an_allowed_request_gets_a_route_and_a_record(log: Chron) -> None:
    """The verdict holds the checked address and the canonical form; its decision is on disk, its outcome is not yet."""
    gate = gate_with(log)
    verdict = await judged(gate, inbound(target="/%7ex?q=1"))
    assert verdict.answer is None
    assert verdict.route is not None
    assert verdict.route.address == ("93.184.215.14", 443)
    assert verdict.facts is not None
    assert verdict.facts.wire_target == "/~x?q=1"
    (record,) = await records(log)
    assert (record["id"], record["outcome"], record["action"]) == (verdict.chron_id, "ALLOW", "data:read")
    assert record["reason"] == "skill:s -- action in allow list"
    assert await records(log, "outcome") == []
    gate.finish(verdict, Ending("sent", 200, 3, 5))
    (outcome,) = await records(log, "outcome")
    assert (outcome["ref"], outcome["result"], outcome["status"]) == (record["id"], "sent", 200)
    assert (outcome["request_bytes"], outcome["response_bytes"]) == (3, 5)


REFUSED = {
    "a deny list": (inbound("DELETE"), b"", WHO, 403, "skill.denied", "skill:s -- action in deny list"),
    "one of several operations": (
        inbound("PUT", "/both?a=1&b=1"), b"", WHO, 403, "skill.denied", "skill:s -- action in deny list",
    ),
    "a body that says so": (
        inbound("POST", "/runs", content_type="application/json"), b'{"destroy": true}', WHO,
        403, "skill.denied", "skill:s -- action in deny list",
    ),
    "a body that was not read": (
        inbound("POST", "/runs", content_type="application/json"), None, WHO,
        403, "mapping.unreadable", "mapping -- ",
    ),
    "nothing names it": (
        inbound("PATCH"), b"", WHO, 403, "mapping.unmapped", "mapping -- no rule names this request",
    ),
    "no reading": (inbound(target="/a/../b"), b"", WHO, 400, "wire.path.dot-segment", "wire -- "),
    "no credentials": (inbound(), b"", NOBODY, 407, "agent.no-credentials", "agent -- no credentials"),
    "a wrong token": (
        inbound(), b"", credential("deploy-bot", "x"), 407, "agent.wrong-token", "agent:deploy-bot -- wrong token",
    ),
    "nobody's name": (inbound(), b"", credential("ghost", "x"), 407, "agent.unknown", "agent:ghost -- unknown"),
    "suspended": (
        inbound(), b"", credential("other-bot", "clm_other"), 403, "agent.suspended", "agent:other-bot -- suspended",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "body", "who", "status", "code", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_has_reason_record_and_outcome(
    log: Chron, request_: Inbound, body: bytes | None, who: Credential, status: int, code: str, reason: str
) -> None:
    """No route, an answer with the reason, a decision on disk, and its outcome `blocked` at once."""
    verdict = await judged(gate_with(log), request_, body, who)
    assert verdict.route is None
    assert verdict.answer is not None
    assert verdict.answer.status == status
    denied = [record for record in await records(log) if record["outcome"] == "DENY"]
    (record,) = denied
    assert (record["id"], record["code"]) == (verdict.chron_id, code)
    assert str(record["reason"]).startswith(reason)
    assert json.loads(verdict.answer.body)["chron_id"] == verdict.chron_id
    outcomes = await records(log, "outcome")
    assert {outcome["ref"] for outcome in outcomes} == set(verdict.record_ids)
    assert {outcome["result"] for outcome in outcomes} == {"blocked"}


STOPPED_AGENTS = {**AGENTS, "agents": [agent("deploy-bot", state="suspended")]}
STOPPED = book(agents=STOPPED_AGENTS)


async def test_an_agent_that_is_stopped_while_its_record_is_written_sends_nothing(log: Chron) -> None:
    """The permission is on disk and nothing has left: its outcome is `blocked`, and what stopped it is decided too."""
    gate = gate_with(log)

    async def stopped_meanwhile(host: str) -> tuple[str, ...]:
        gate.book = STOPPED
        return await lookup(host)

    gate.destinations._lookup = stopped_meanwhile
    verdict = await judged(gate, inbound())
    assert verdict.route is None
    assert verdict.answer is not None
    allowed, denied = await records(log)
    assert (allowed["outcome"], denied["outcome"], denied["code"]) == ("ALLOW", "DENY", "agent.suspended")
    assert (verdict.chron_id, json.loads(verdict.answer.body)["reason"]) == (denied["id"], denied["reason"])
    outcomes = {outcome["ref"]: outcome for outcome in await records(log, "outcome")}
    assert {outcome["result"] for outcome in outcomes.values()} == {"blocked"}
    assert outcomes[allowed["id"]]["error"] == denied["reason"] == "agent:deploy-bot -- suspended"
    assert len(outcomes) == 2


async def test_a_body_is_judged_by_what_stopped_its_agent(log: Chron) -> None:
    """Rules of the head stay those of the body, but for whether the agent may act at all."""
    gate = gate_with(log)
    head = gate.read_head(inbound("POST", "/runs", content_type="application/json", content_length="2"), WHO)
    assert head.needs_body
    gate.book = STOPPED
    verdict = await gate.judge(head, b"{}")
    assert verdict.route is None
    (denied,) = await records(log)
    assert (denied["outcome"], denied["reason"]) == ("DENY", "agent:deploy-bot -- suspended")


async def test_a_target_that_cannot_be_found_was_allowed(log: Chron) -> None:
    """A name without an address is no denial: 502, the decision says ALLOW and the outcome `failed`."""
    rules = {**MAPPINGS, "rules": [{"id": "b", "match": {"host": "b.test", "path": "/x"}, "action": "data:read"}]}
    mapped = compile_mappings([read_document(json.dumps(rules), "m.yaml")])
    verdict = await judged(gate_with(log, replace(BOOK, mappings=mapped)), inbound(host="b.test"))
    assert verdict.answer is not None
    assert verdict.answer.status == 502
    assert json.loads(verdict.answer.body)["reason"] == 'upstream -- "b.test" cannot be resolved'
    (record,) = await records(log)
    (outcome,) = await records(log, "outcome")
    assert (record["outcome"], outcome["result"], outcome["status"]) == ("ALLOW", "failed", 502)


async def test_a_destination_that_is_refused_refuses_every_operation(log: Chron) -> None:
    """Where it goes is decided before it is recorded, so the record says DENY and not ALLOW."""

    async def private(_: str) -> tuple[str, ...]:
        return ("10.0.0.1",)

    gate = gate_with(log)
    gate.destinations._lookup = private
    verdict = await judged(gate, inbound())
    assert verdict.answer is not None
    assert verdict.answer.status == 403
    (record,) = await records(log)
    assert (record["outcome"], record["code"]) == ("DENY", "destination.private")


async def test_what_is_kept_out_of_the_record_stays_out_whatever_refuses(log: Chron) -> None:
    """A policy's `redact` holds for an ALLOW, for a denial by rule and for a destination that is refused."""

    async def private(_: str) -> tuple[str, ...]:
        return ("10.0.0.1",)

    quiet = {"policy": "quiet", "redact": [{"action": "**", "fields": ["path", "query_keys"]}]}
    gate = gate_with(log, book(policies=[quiet]))
    await judged(gate, inbound(target="/secret-place?k=1"))
    await judged(gate, inbound("DELETE", target="/secret-place?k=1"))
    elsewhere = gate_with(log, book(policies=[quiet]))
    elsewhere.destinations._lookup = private
    await judged(elsewhere, inbound(target="/secret-place?k=1"))
    found = await records(log)
    assert [record["code"] for record in found] == ["skill.allowed", "skill.denied", "destination.private"]
    for record in found:
        assert (record["path"], record["query_keys"]) == ("[redacted]", "[redacted]")
        assert record["redacted"] == "path query_keys"


async def test_observe_lets_through_what_nothing_names_but_not_what_cannot_be_read(log: Chron) -> None:
    """An agent under observation passes with a would-be denial on record; what has no single reading does not pass."""
    watched = {**AGENTS, "agents": [agent("deploy-bot", mode="observe")]}
    gate = gate_with(log, book(agents=watched))
    assert (await judged(gate, inbound("PATCH"))).route is not None
    assert (await judged(gate, inbound("DELETE"))).route is not None
    assert (await judged(gate, inbound("POST", "/runs", content_type="application/json"), None)).route is None
    assert (await judged(gate, inbound(target="/a/../b"))).route is None
    found = [(record["outcome"], record["mode"], record["code"]) for record in await records(log)]
    assert found == [
        ("DENY", "observe", "mapping.unmapped"),
        ("DENY", "observe", "skill.denied"),
        ("DENY", "enforce", "mapping.unreadable"),
        ("DENY", "enforce", "wire.path.dot-segment"),
    ]


async def test_a_stopping_gate_refuses(log: Chron) -> None:
    """From the stop on every request gets 503, recorded; a CONNECT too."""
    gate = gate_with(log)
    gate.stop()
    verdict = await judged(gate, inbound())
    opened = await gate.open_tunnel(inbound("CONNECT", "/"), WHO, "a.test:443")
    assert verdict.answer is not None
    assert isinstance(opened, Verdict)
    assert opened.answer is not None
    assert (verdict.answer.status, opened.answer.status) == (503, 503)
    assert [record["code"] for record in await records(log)] == ["gate.stopping"] * 2


async def test_the_body_is_asked_for_only_where_it_decides(log: Chron) -> None:
    """A head says whether its body must be read; nobody's body is read for a stranger."""
    gate = gate_with(log)
    post = inbound("POST", "/runs", content_type="application/json")
    assert gate.read_head(post, WHO).needs_body
    assert not gate.read_head(inbound(), WHO).needs_body
    assert not gate.read_head(post, credential("deploy-bot", "x")).needs_body
    assert not gate.read_head(post, NOBODY).needs_body
    asking = gate_with(log, book(skill={**SKILL, "deny": [], "approve": ["infra:destroy"]}))
    assert asking.read_head(inbound("DELETE"), WHO).needs_body
    assert asking.read_head(inbound("PUT", "/both?a=1&b=1"), WHO).needs_body, "one of two operations asks humans"
    assert not asking.read_head(inbound(), WHO).needs_body


async def test_a_request_is_judged_by_the_rules_its_head_was_read_by(log: Chron) -> None:
    """A reload between head and body does not mix two sets; the next request meets the new one."""
    gate = gate_with(log)
    head = gate.read_head(inbound(), WHO)
    gate.book = replace(BOOK, mappings=compile_mappings([]), digest="new")
    assert (await gate.judge(head, b"")).route is not None
    assert (await judged(gate, inbound())).route is None
    assert [record["rules_digest"] for record in await records(log)] == ["rules-digest", "new"]


TUNNELS: dict[str, tuple[Credential | Problem, str, int, str]] = {
    "no credentials": (NOBODY, "a.test:443", 407, "agent.no-credentials"),
    "a repeated field": (Problem("wire.field-repeated", "twice"), "a.test:443", 407, "agent.no-credentials"),
    "a wrong token": (credential("deploy-bot", "x"), "a.test:443", 407, "agent.wrong-token"),
    "a wrong token of a suspended agent": (credential("other-bot", "x"), "a.test:443", 403, "agent.suspended"),
    "a port": (WHO, "a.test:22", 403, "destination.port"),
    "no port": (WHO, "a.test", 400, "wire.authority"),
    "userinfo": (WHO, "u:p@a.test:443", 400, "wire.host.userinfo"),
}


@pytest.mark.parametrize(("who", "authority", "status", "code"), TUNNELS.values(), ids=TUNNELS)
async def test_a_tunnel_is_refused_on_record(
    log: Chron, who: Credential | Problem, authority: str, status: int, code: str
) -> None:
    """A CONNECT that leads nowhere is a decision with an outcome."""
    opened = await gate_with(log).open_tunnel(Inbound("CONNECT", "http", "/", (), "10.0.0.9"), who, authority)
    assert isinstance(opened, Verdict)
    assert opened.answer is not None
    assert opened.answer.status == status
    (record,) = await records(log)
    assert (record["outcome"], record["code"]) == ("DENY", code)
    assert len(await records(log, "outcome")) == 1


async def test_an_accepted_tunnel_is_no_decision(log: Chron) -> None:
    """Each request inside is judged; the CONNECT itself has sent nothing anywhere."""
    connect = Inbound("CONNECT", "http", "/", (), "10.0.0.9")
    assert await gate_with(log).open_tunnel(connect, WHO, "A.test.:443") == ("a.test", 443)
    assert await records(log) == []


async def test_who_is_suspended_is_told_inside_the_tunnel(log: Chron) -> None:
    """With the right token it opens, and leads nowhere: of a refused CONNECT most clients show a number alone."""
    gate, who = gate_with(log), credential("other-bot", "clm_other")
    assert await gate.open_tunnel(Inbound("CONNECT", "http", "/", (), "10.0.0.9"), who, "a.test:443") == ("a.test", 443)
    verdict = await gate.judge(gate.read_head(inbound(), who), b"")
    assert verdict.answer is not None
    assert (verdict.answer.status, verdict.route) == (403, None)
    (record,) = await records(log)
    assert (record["outcome"], record["code"]) == ("DENY", "agent.suspended")


PRESENTED = {
    "none": ([], NOBODY),
    "right": (["Basic ZGVwbG95LWJvdDp0"], credential("deploy-bot", "t")),
    "scheme in capitals": (["BASIC ZGVwbG95LWJvdDp0"], credential("deploy-bot", "t")),
    "another scheme": (["Bearer x"], NOBODY),
    "no base64": (["Basic !"], NOBODY),
    "base64 with a tail": (["Basic ZGVwbG95LWJvdDp0 x"], NOBODY),
    "not UTF-8": (["Basic /w=="], NOBODY),
    "not ASCII": (["Basic ä"], NOBODY),
    "no colon": (["Basic YQ=="], NOBODY),
    "no token": (["Basic YTo="], NOBODY),
    "no agent": (["Basic OmI="], NOBODY),
}


@pytest.mark.parametrize(("values", "expected"), PRESENTED.values(), ids=PRESENTED)
def test_credentials_are_read_or_none(values: list[str], expected: Credential) -> None:
    """What is no credential is nobody's, never an error."""
    assert read_credential(values) == expected


def test_two_credentials_are_a_problem() -> None:
    """One of them is for somebody else."""
    assert isinstance(read_credential(["Basic YTpi", "Basic YTpi"]), Problem)


# --- what always holds ---------------------------------------------------------------------------------


class Ledger:
    """Stands in for the Chron: keeps what is durable, fails when told to."""

    def __init__(self, failures: Sequence[BaseException | None]) -> None:
        self.failures = list(failures)
        self.durable: list[tuple[str, dict[str, Any]]] = []

    def append_many(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> "asyncio.Future[tuple[Receipt, ...]]":
        future: asyncio.Future[tuple[Receipt, ...]] = asyncio.get_running_loop().create_future()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            future.set_exception(failure)
            return future
        first = len(self.durable)
        self.durable += rows
        ids = range(first, len(self.durable))
        future.set_result(tuple(Receipt(number, f"chr_{number}", b"") for number in ids))
        return future

    def note(self, kind: str, fields: dict[str, Any]) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, ChronError):
            raise failure
        self.durable.append((kind, fields))


def _raises(error: Exception) -> Callable[..., Any]:
    def bug(*_: Any, **__: Any) -> Any:
        raise error

    return bug


BUGS: dict[str, tuple[Any, str]] = {
    "identify": (Policies, "identify"),
    "decide": (Policies, "decide"),
    "refuse": (Policies, "refuse"),
    "resolve": (Mappings, "resolve"),
    "needs_body": (Mappings, "needs_body"),
    "route": (Destinations, "route"),
    "facts": ("proxy.pipeline", "read_facts"),
    "fields": ("proxy.recording", "decision_fields"),
    "metrics": (Metrics, "decided"),
}
ERRORS = [ValueError("planted"), ChronError("planted"), KeyError("planted"), OSError("planted"), TimeoutError()]


@contextmanager
def planted(stages: Sequence[str], error: Exception) -> Iterator[None]:
    with ExitStack() as stack:
        for stage in stages:
            where, name = BUGS[stage]
            if isinstance(where, str):
                stack.enter_context(patch(f"{where}.{name}", _raises(error)))
            else:
                stack.enter_context(patch.object(where, name, _raises(error)))
        yield


REQUESTS = [inbound(), inbound("DELETE"), inbound("PUT", "/both?a=1&b=1"), inbound("PATCH"), inbound(target="/../x")]
REQUESTS += [inbound("POST", "/runs", content_type="application/json"), inbound(host="b.test"), inbound(host="")]


@given(
    request=st.sampled_from(REQUESTS),
    body=st.none() | st.sampled_from([b"", b'{"destroy": true}', b'{"destroy": false}', b"\xff"]),
    who=st.sampled_from([WHO, NOBODY, credential("deploy-bot", "x"), credential("other-bot", "clm_other")]),
    stages=st.lists(st.sampled_from(sorted(BUGS)), max_size=3, unique=True),
    error=st.sampled_from(ERRORS),
    failures=st.lists(st.none() | st.sampled_from([ChronError("disk full"), OSError("planted")]), max_size=3),
)
def test_a_verdict_that_forwards_is_on_record(
    request: Inbound,
    body: bytes | None,
    who: Credential,
    stages: list[str],
    error: Exception,
    failures: list[Exception | None],
) -> None:
    """`judge` never raises, and never forwards without a durable ALLOW, whatever fails, however often."""
    log = Ledger(failures)

    async def judge() -> Verdict:
        gate = gate_with(log)
        return await gate.judge(gate.read_head(request, who), body)

    with planted(stages, error):
        verdict = asyncio.run(judge())
    if verdict.route is None:
        assert verdict.answer is not None
        assert verdict.answer.status >= 400
        return
    assert verdict.answer is None
    decisions = [log.durable[int(record_id.removeprefix("chr_"))] for record_id in verdict.record_ids]
    assert decisions
    assert who == WHO
    for kind, fields in decisions:
        assert (kind, fields["outcome"], fields["agent"]) == ("decision", "ALLOW", "deploy-bot")
        assert fields["action"] in ("data:read", "deploy:staging")


@pytest.mark.parametrize("stages", [*([name] for name in BUGS), list(BUGS)], ids=[*BUGS, "all of them"])
async def test_a_bug_is_a_recorded_refusal_where_it_can_be(log: Chron, stages: list[str]) -> None:
    """A broken stage refuses with 4xx or 5xx, and the refusal is on record as long as recording works at all."""
    gate = gate_with(log)
    with planted(stages, ValueError("planted")):
        opened = await gate.open_tunnel(inbound("CONNECT", "/"), WHO, "a.test:443")
        verdict = await judged(gate, inbound("DELETE"))
    assert verdict.route is None
    assert verdict.answer is not None
    assert verdict.answer.status >= 400
    assert b"planted" not in verdict.answer.body
    assert isinstance(opened, tuple) == ("identify" not in stages)
    assert all(record["outcome"] == "DENY" for record in await records(log))


@pytest.mark.parametrize("stage", ["metrics", "answer"])
async def test_a_bug_after_the_record_leaves_no_decision_open(log: Chron, stage: str) -> None:
    """What was recorded and then went wrong was forwarded by nobody: its outcome says so, at once."""
    bug = _raises(ValueError("planted"))
    where = patch.object(Metrics, "decided", bug) if stage == "metrics" else patch("proxy.concluding.answer", bug)
    gate = gate_with(log)
    with where:
        assert (await judged(gate, inbound("GET" if stage == "metrics" else "DELETE"))).route is None
    decisions = {record["id"] for record in await records(log)}
    outcomes = await records(log, "outcome")
    assert decisions
    assert {outcome["ref"] for outcome in outcomes} == decisions
    assert {outcome["result"] for outcome in outcomes} <= {"blocked", "failed"}


async def test_not_even_a_broken_answer_forwards(log: Chron) -> None:
    """When no answer can be made at all there is still no permission."""
    with patch("proxy.concluding.answer", _raises(ValueError("planted"))):
        verdict = await judged(gate_with(log), inbound("DELETE"))
    assert verdict.route is None
    assert verdict.answer is not None
    assert verdict.answer.status == 503


async def test_what_cannot_be_recorded_is_503_and_goes_nowhere() -> None:
    """A failed append is the agent's 503 with the code `gate.audit-unavailable`, and no id is made up."""
    verdict = await judged(gate_with(Ledger([ChronError("disk full")])), inbound())
    assert (verdict.route, verdict.chron_id) == (None, "")
    assert verdict.answer is not None
    problem = json.loads(verdict.answer.body)
    assert (verdict.answer.status, problem["code"], problem["chron_id"]) == (503, "gate.audit-unavailable", "")


async def test_an_outcome_that_cannot_be_recorded_harms_nobody() -> None:
    """The decision stands and is in doubt at the next start; `finish` does not raise."""
    log = Ledger([None, ChronError("disk full")])
    gate = gate_with(log)
    verdict = await judged(gate, inbound())
    gate.finish(verdict, Ending("sent", 200))
    assert [kind for kind, _ in log.durable] == ["decision"]


# --- asking first --------------------------------------------------------------------------------------


async def test_a_question_is_decided_like_a_request(log: Chron) -> None:
    """The same rules, the same Chron, another channel; it forwards nothing, so it has no outcome."""
    gate = gate_with(log)
    allowed = await gate.checking.check(WHO, "Data:Read", "api-v2", "", "10.0.0.9")
    denied = await gate.checking.check(WHO, "infra:destroy", "api-v2", "production", "10.0.0.9")
    assert [checked.decision.outcome.value for checked in (allowed, denied)] == ["ALLOW", "DENY"]
    assert denied.decision.reason == "skill:s -- action in deny list"
    first, second = await records(log)
    assert (first["id"], first["action"], first["channel"]) == (allowed.chron_id, "data:read", "api")
    assert (second["id"], second["environment"], second["target"]) == (denied.chron_id, "production", "api-v2")
    assert await records(log, "outcome") == []


async def test_who_asks_for_itself_has_to_prove_it(log: Chron) -> None:
    """Another who asks about an agent has proven who it is itself: of the agent no proof is there to be wrong."""
    gate = gate_with(log)
    denied = await gate.checking.check(credential("deploy-bot", "x"), "data:read", "api-v2", "", "10.0.0.9")
    about = Inquiry(Credential("deploy-bot", ""), "data:read", "api-v2", "", "10.0.0.9", asked_by="other-bot")
    (allowed,) = await gate.checking.check_all([about])
    assert (denied.decision.outcome.value, denied.decision.code) == ("DENY", "agent.wrong-token")
    assert allowed.decision.outcome.value == "ALLOW"
    found = [(record["outcome"], record.get("asked_by")) for record in await records(log)]
    assert found == [("DENY", None), ("ALLOW", "other-bot")]


async def test_a_question_that_cannot_be_recorded_has_no_answer() -> None:
    """ChronError, never a decision."""
    with pytest.raises(ChronError):
        await gate_with(Ledger([ChronError("disk full")])).checking.check(WHO, "data:read", "", "", "")
    with pytest.raises(ValueError, match="action"):
        await gate_with(Ledger([])).checking.check(WHO, "not an action", "", "", "")


# --- what comes to nothing leaves nothing behind -------------------------------------------------------

LIMITED_SKILL = {**SKILL, "limits": [{"action": "**", "most": 5, "per": "1h"}]}


class SlowLedger(Ledger):
    """A Chron that takes its time: what is handed in is durable, or is not, when the test says so."""

    def __init__(self) -> None:
        super().__init__([])
        self.handed_in = asyncio.Event()
        self.written = asyncio.Event()
        self.failure: Exception | None = None

    def append_many(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> "asyncio.Future[tuple[Receipt, ...]]":
        async def write() -> tuple[Receipt, ...]:
            await self.written.wait()
            return await append(rows)

        self.handed_in.set()
        self.failures.append(self.failure)
        append = super().append_many
        return asyncio.ensure_future(write())


def counted(gate: Gate, action: str = "data:read") -> list[int]:
    return list(gate.uses.counts(gate.book.policies.limits("deploy-bot", action), gate.now()).values())


@pytest.mark.parametrize("fails", [False, True], ids=["durable", "not durable"])
async def test_a_request_that_is_cancelled_while_it_is_recorded_is_ended(fails: bool) -> None:
    """However often: it ends when it is known what is on record, which has its outcome then; no use is lost."""
    log = SlowLedger()
    log.failure = ChronError("disk full") if fails else None
    gate = gate_with(log, book(skill=LIMITED_SKILL))
    task = asyncio.ensure_future(judged(gate, inbound()))
    await log.handed_in.wait()
    assert counted(gate) == [1]
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    log.written.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(gate) == [0]
    assert [kind for kind, _ in log.durable] == ([] if fails else ["decision", "outcome"])
    if not fails:
        outcome = log.durable[1][1]
        assert (outcome["ref"], outcome["result"]) == ("chr_0", "blocked")
        assert outcome["error"] == "nobody waited for the decision any more"
    await gate.settled()


async def test_a_bug_at_the_second_operation_gives_the_first_one_back(log: Chron) -> None:
    """What was counted for a request that could not be decided to its end is no use."""
    gate = gate_with(log, book(skill=LIMITED_SKILL | {"allow": ["**"], "deny": []}))
    decide, asked = gate.book.policies.decide, list[str]()

    def breaks(_: Policies, question: Any) -> Any:
        asked.append(question.action)
        if len(asked) > 1:
            raise ValueError("planted")
        return decide(question)

    with patch.object(Policies, "decide", breaks):
        verdict = await judged(gate, inbound("PUT", "/both?a=1&b=1"))
    assert verdict.route is None
    assert len(asked) == 2
    assert counted(gate) == [0]
    (record,) = await records(log)
    assert (record["outcome"], record["code"]) == ("DENY", "gate.error")


async def test_a_use_is_taken_back_once(log: Chron) -> None:
    """A request that is refused for want of approval takes no other's use with it, though both came at one time."""
    skill = LIMITED_SKILL | {"deny": [], "approve": ["infra:destroy"]}
    gate = gate_with(log, book(skill=skill))
    assert (await judged(gate, inbound())).route is not None
    verdict = await judged(gate, inbound("PUT", "/both?a=1&b=1"), None)
    assert verdict.refusal is not None
    assert verdict.refusal.code == "approval.unreadable"
    assert counted(gate) == [1]


TUNNELLED = {**MAPPINGS, "tunnels": [{"id": "pinned", "host": "a.test", "ports": [443]}]}
OPENING = {**LIMITED_SKILL, "allow": ["tunnel:open"]}


async def test_a_tunnel_that_passes_unread_is_looked_at_again_and_again(log: Chron) -> None:
    """That uses nothing up, and a limit that is reached since does not cut it; whatever else refuses it now does."""
    gate = gate_with(log, book(mappings=TUNNELLED, skill=OPENING))
    for number in range(1, 6):
        head = await gate.open_tunnel(Inbound("CONNECT", "http", "/", (), "10.0.0.9"), WHO, "a.test:443")
        assert isinstance(head, Head)
        assert head.facts is not None
        assert head.needs_body is False
        assert (await gate.judge(head, None)).route is not None
        assert gate.narrowed(head, head.facts) is None
        assert counted(gate, "tunnel:open") == [number]
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "written down no more": ({"skill": OPENING}, "mapping.unmapped"),
        "permitted no more": ({"mappings": TUNNELLED}, "skill.not-in-allow-list"),
        "stopped": ({"mappings": TUNNELLED, "skill": OPENING, "agents": STOPPED_AGENTS}, "agent.suspended"),
    }
    for changed, code in changes.values():
        gate.book = book(**changed)
        denied = gate.narrowed(head, head.facts)
        assert denied is not None
        assert (denied.forwards, denied.code) == (False, code)


# --- what other processes have a say in ----------------------------------------------------------------


class Hub:
    """Stands in for the process that counts for all of a gate: another gate with the same log."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.known = True
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def require(self) -> None:
        if not self.known:
            raise ChronError("what is in force now is not known")

    async def judge(self, case: Case, gone: object) -> Verdict:
        self.asked += 1
        verdict = await judged(self.gate, case.head.inbound)
        self.meanwhile()
        return replace(verdict, ended=verdict.answer is not None)


@pytest.fixture
def hub(log: Chron) -> Hub:
    return Hub(gate_with(log, book(skill=LIMITED_SKILL)))


async def test_what_is_counted_is_judged_where_all_is_counted(log: Chron, hub: Hub) -> None:
    """And counts there alone; what hangs on nothing in common is judged where it comes in."""
    gate = gate_with(log, book(skill=LIMITED_SKILL), elsewhere=hub)
    verdicts = [await judged(gate, inbound()) for _ in range(6)]
    assert [verdict.answer is None for verdict in verdicts] == [True] * 5 + [False]
    assert (counted(gate), counted(hub.gate), hub.asked) == ([0], [5], 6)
    assert len(await records(log)) == 6
    (outcome,) = await records(log, "outcome")
    assert (outcome["ref"], outcome["result"]) == (verdicts[-1].chron_id, "blocked")
    assert (await judged(gate_with(log, elsewhere=hub), inbound())).answer is None
    assert hub.asked == 6


async def test_who_is_stopped_while_the_verdict_comes_from_elsewhere_sends_nothing(log: Chron, hub: Hub) -> None:
    """The permission is on record and comes to nothing; the refusal is the one that counts now."""
    gate = gate_with(log, book(skill=LIMITED_SKILL), elsewhere=hub)
    hub.meanwhile = lambda: setattr(gate, "book", STOPPED)
    verdict = await judged(gate, inbound())
    assert verdict.route is None
    assert verdict.answer is not None
    allowed, denied = await records(log)
    assert (allowed["outcome"], denied["outcome"], denied["code"]) == ("ALLOW", "DENY", "agent.suspended")
    outcomes = {outcome["ref"]: outcome for outcome in await records(log, "outcome")}
    assert {ref: outcome["result"] for ref, outcome in outcomes.items()} == dict.fromkeys(
        (allowed["id"], denied["id"]), "blocked"
    )
    assert outcomes[allowed["id"]]["error"] == denied["reason"] == "agent:deploy-bot -- suspended"


async def test_a_process_that_does_not_know_what_is_in_force_forwards_nothing(log: Chron, hub: Hub) -> None:
    """503, whatever its own rules say."""
    hub.known = False
    verdict = await judged(gate_with(log, elsewhere=hub), inbound())
    assert verdict.route is None
    assert verdict.answer is not None
    assert verdict.answer.status == 503


# --- what fails later ----------------------------------------------------------------------------------


async def test_a_failed_record_of_whatever_kind_leaves_no_decision_open(log: Chron) -> None:
    """An error of the Chron behind a decision that is on record ends it as well."""
    gate = gate_with(log)
    with patch.object(Metrics, "decided", _raises(ChronError("planted"))):
        verdict = await judged(gate, inbound())
    assert verdict.answer is not None
    assert verdict.answer.status == 503
    (record,) = await records(log)
    (outcome,) = await records(log, "outcome")
    assert (outcome["ref"], outcome["result"]) == (record["id"], "blocked")


@pytest.mark.parametrize("name", ["proxy.recording.Recorder.name_request", "proxy.records.channel"])
async def test_a_decision_that_does_not_say_which_request_it_is_about_is_no_record(log: Chron, name: str) -> None:
    """By that the decisions about one request are found together; nothing is forwarded, and nothing written."""
    with patch(name, lambda *_: None):
        verdict = await judged(gate_with(log), inbound())
    assert verdict.route is None
    assert verdict.answer is not None
    assert verdict.answer.status == 503
    assert await records(log) == []


FLAGS: list[tuple[type, str]] = [
    (Decision, "forwards"),
    (Judgement, "denies"),
    *((Decided, name) for name in ("held", "shared", "forwards")),
]
"""What is asked on the way from a decision to a verdict, and answered by yes or no."""
WRONG = object()


@pytest.mark.parametrize("answer", [None, WRONG], ids=["nothing", "something else"])
def test_what_answers_nothing_forwards_nothing(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A denied request stays one, whatever says neither yes nor no, and has an answer."""

    async def judge() -> Verdict:
        gate = gate_with(Ledger([]))
        return await gate.judge(gate.read_head(inbound("DELETE"), WHO), b"")

    for where, name in FLAGS:
        with monkeypatch.context() as broken:
            broken.setattr(where, name, property(lambda _: answer))
            verdict = asyncio.run(judge())
            assert verdict.route is None, name
            assert verdict.answer is not None, name
            assert verdict.answer.status in (403, 503), name
    for where in ("proxy.concluding.answer", "proxy.answers.problem"):
        with monkeypatch.context() as broken:
            broken.setattr(where, lambda *_, **__: answer)
            verdict = asyncio.run(judge())
            assert verdict.route is None, where
            assert verdict.answer is not None, where
            assert verdict.answer.status == 503, where
