"""Requests that wait for humans, over real sockets: nothing goes on without them, and nothing but what they saw."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from chron import ChronError
from sdk.loopback_gate import json_reply, loopback
from support.clients import client_of
from support.gate import TOKEN
from support.raw import tunnel
from support.targets import Origin
from support.waiting import EXPIRE_S, WAIT_S, WaitingGate, registry, waiting_gate

URL = "https://origin.test/things"


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate that holds requests for a minute, by its own clock."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem) as live:
        yield live


@pytest.fixture
def impatient(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate that holds no request and answers 202 at once."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals={"wait_s": 0}) as live:
        yield live


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Threads in which agents wait."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def write(gate: WaitingGate, body: bytes = b"one", url: str = URL, **headers: str) -> httpx.Response:
    """What the agent asks for."""
    with client_of(gate) as client:
        return client.post(url, content=body, headers=headers)


def started(gate: WaitingGate, beside: ThreadPoolExecutor, body: bytes = b"one") -> Future[httpx.Response]:
    """Ask and wait until the request is parked."""
    waiting = beside.submit(write, gate, body)
    gate.wait_parked()
    return waiting


def arrived(origin: Origin) -> list[bytes]:
    return [seen.body for seen in origin.seen]


# --- within the window ---------------------------------------------------------------------------------


def test_a_request_goes_on_when_a_human_says_yes(gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor) -> None:
    """It is held without an answer; then decided anew, recorded as allowed by that human, and arrives once."""
    waiting = started(gate, beside)
    assert (waiting.done(), origin.connections) == (False, 0)
    (shown,) = gate.pending()
    assert (shown["agent"], shown["request"], shown["body_bytes"]) == ("deploy-bot", f"POST {URL}", 3)
    assert shown["operations"] == [{"action": "data:write", "target": "origin.test/things"}]
    assert (shown["needs"], shown["reason"]) == (1, "skill:deploy-v2 -- action needs approval")
    assert gate.approve(shown).json()["state"] == "approved"
    assert waiting.result(30).status_code == 200
    assert arrived(origin) == [b"one"]
    held, allowed = gate.records()
    assert (held["outcome"], held["code"], held["held"]) == ("HOLD", "skill.needs-approval", shown["approval"])
    assert gate.outcome_of(held)["result"] == "held"
    assert (allowed["outcome"], allowed["code"]) == ("ALLOW", "approval.granted")
    assert allowed["reason"] == "skill:deploy-v2 -- action approved by bob@acme.test"
    assert (allowed["approval"], allowed["approvers"]) == (shown["approval"], "bob@acme.test")
    assert gate.outcome_of(allowed)["result"] == "sent"
    assert gate.events() == ["requested", "approved", "used"]


def test_a_use_is_recorded_next_to_the_decision(gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor) -> None:
    """Decision and use stand next to each other in the log, written in one piece before anything is forwarded."""
    waiting = started(gate, beside)
    gate.approve(gate.pending()[0])
    waiting.result(30)
    allowed, (used,) = gate.records()[1], gate.records("approval", event="used")
    assert used["seq"] == allowed["seq"] + 1
    assert used["approvers"] == "bob@acme.test"


def test_a_request_that_is_refused_goes_nowhere(gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor) -> None:
    """403 with the approval's name; sent again it is refused at once, and no human is asked anew."""
    waiting = started(gate, beside)
    (shown,) = gate.pending()
    assert gate.refuse(shown, reason="not today").json()["state"] == "refused"
    refused = waiting.result(30)
    assert (refused.status_code, refused.json()["code"]) == (403, "approval.refused")
    again = write(gate)
    assert (again.status_code, again.json()["code"]) == (403, "approval.refused")
    assert again.json()["reason"] == f"{shown['approval']} -- refused by bob@acme.test: not today"
    assert origin.connections == 0
    assert [(record["outcome"], record["code"]) for record in gate.records()] == [
        ("HOLD", "skill.needs-approval"), ("DENY", "approval.refused"), ("DENY", "approval.refused"),
    ]  # fmt: skip
    assert gate.events() == ["requested", "refused"]


def test_two_identical_requests_share_an_approval_and_one_goes_on(
    gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor
) -> None:
    """Humans are asked once; their yes is good for one run, and the other request is told that it was used."""
    first = started(gate, beside)
    second = beside.submit(write, gate)
    gate.wait_parked(2)
    (shown,) = gate.pending()
    gate.approve(shown)
    answers = sorted((first.result(30), second.result(30)), key=lambda each: each.status_code)
    assert [each.status_code for each in answers] == [200, 403]
    assert answers[1].json()["code"] == "approval.used"
    assert arrived(origin) == [b"one"]
    assert gate.events() == ["requested", "approved", "used"]


def test_waiting_holds_up_nothing_else(gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor) -> None:
    """While one request waits, another of the same agent is answered."""
    waiting = started(gate, beside)
    with client_of(gate) as client:
        assert client.get("https://origin.test/echo").status_code == 200
    assert not waiting.done()
    gate.refuse(gate.pending()[0])
    waiting.result(30)


class Streams:
    """Requests on one HTTP/2 connection, by hand."""

    def __init__(self, gate: WaitingGate) -> None:
        self._secure = tunnel(gate, alpn="h2")
        self._agent = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._agent.initiate_connection()
        self._statuses: dict[int, str] = {}

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, *_: object) -> None:
        self._secure.close()

    def ask(self, stream: int, method: str, path: str) -> None:
        """Send a request without a body."""
        head = [(":method", method), (":scheme", "https"), (":authority", "origin.test"), (":path", path)]
        self._agent.send_headers(stream, head, end_stream=True)
        self._secure.sendall(self._agent.data_to_send())

    def give_up(self, stream: int) -> None:
        """Reset one."""
        self._agent.reset_stream(stream)
        self._secure.sendall(self._agent.data_to_send())

    def status(self, stream: int) -> str:
        """The status of the answer, when it has come."""
        while stream not in self._statuses:
            for event in self._agent.receive_data(self._secure.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    self._statuses[event.stream_id] = dict(event.headers)[b":status"].decode()
            self._secure.sendall(self._agent.data_to_send())
        return self._statuses[stream]


def test_http2_streams_wait_one_by_one(gate: WaitingGate, origin: Origin) -> None:
    """Of two streams of one connection one waits, the other is answered."""
    with Streams(gate) as agent:
        agent.ask(1, "POST", "/things")
        gate.wait_parked()
        agent.ask(3, "GET", "/echo")
        assert agent.status(3) == "200"
        gate.approve(gate.pending()[0])
        assert agent.status(1) == "200"
    assert [seen.method for seen in origin.seen] == ["GET", "POST"]


# --- after the window ----------------------------------------------------------------------------------


def test_when_the_window_has_passed_the_agent_is_told_to_come_back(
    gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor
) -> None:
    """202 with approval, status URL and Retry-After; the same request goes on once it is approved, and only once."""
    waiting = started(gate, beside)
    gate.pass_(WAIT_S)
    told = waiting.result(30)
    assert (told.status_code, told.headers["content-type"]) == (202, "application/problem+json")
    body = told.json()
    (shown,) = gate.pending()
    assert (body["outcome"], body["approval"]) == ("HOLD", shown["approval"])
    assert body["approval_url"] == told.headers["location"] == f"{gate.api}/v1/approvals/{shown['approval']}"
    assert told.headers["x-claiim-approval"] == shown["approval"]
    assert int(told.headers["retry-after"]) > 0
    assert gate.ask(f"/v1/approvals/{shown['approval']}", TOKEN).json()["state"] == "pending"
    gate.approve(shown)
    assert gate.ask(f"/v1/approvals/{shown['approval']}", TOKEN).json()["state"] == "approved"
    assert write(gate).status_code == 200
    assert arrived(origin) == [b"one"]
    assert gate.ask(f"/v1/approvals/{shown['approval']}", TOKEN).json()["state"] == "used"
    next_ = beside.submit(write, gate)
    gate.wait_parked()
    assert gate.pending()[0]["approval"] != shown["approval"]
    gate.pass_(WAIT_S)
    assert next_.result(30).status_code == 202
    assert arrived(origin) == [b"one"]


def test_without_a_window_the_answer_comes_at_once(impatient: WaitingGate, origin: Origin) -> None:
    """With `wait_s: 0` every request is answered 202, the same approval each time, until it is decided."""
    first, second = write(impatient), write(impatient)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["approval"] == second.json()["approval"]
    (shown,) = impatient.pending()
    impatient.approve(shown)
    assert write(impatient).status_code == 200
    assert [record["outcome"] for record in impatient.records()] == ["HOLD", "HOLD", "ALLOW"]
    assert [impatient.outcome_of(record)["result"] for record in impatient.records()] == ["held", "held", "sent"]


CHANGED = {
    "another byte of the body": {"body": b"two"},
    "no body": {"body": b""},
    "another query": {"url": f"{URL}?force=true"},
    "another path": {"url": f"{URL}/7"},
    "another header": {"X-Force": "true"},
    "another content type": {"content_type": "application/json"},
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_what_was_not_shown_is_not_approved(impatient: WaitingGate, origin: Origin, changed: dict[str, Any]) -> None:
    """Approve A, run B is impossible: whatever is changed makes another request, which waits anew."""
    approved = write(impatient).json()["approval"]
    impatient.approve(impatient.pending()[0])
    changed = {name.replace("content_type", "content-type"): value for name, value in changed.items()}
    other = write(impatient, **changed)
    assert (other.status_code, origin.connections) == (202, 0)
    assert other.json()["approval"] != approved


def test_another_agent_does_not_use_it(impatient: WaitingGate, origin: Origin) -> None:
    """The same request of another agent is another request."""
    write(impatient)
    impatient.approve(impatient.pending()[0])
    with client_of(impatient, proxy=impatient.proxy("other-bot", TOKEN[::-1])) as client:
        assert client.post(URL, content=b"one").status_code == 202
    assert origin.connections == 0


def test_what_clients_change_in_every_attempt_does_not_matter(impatient: WaitingGate, origin: Origin) -> None:
    """Another date, signature, trace or attempt number is the same request."""
    write(impatient, **{"Authorization": "AWS4-HMAC-SHA256 a", "X-Amz-Date": "1", "traceparent": "x"})
    impatient.approve(impatient.pending()[0])
    again = {"Authorization": "AWS4-HMAC-SHA256 b", "X-Amz-Date": "2", "Amz-Sdk-Request": "attempt=2"}
    assert write(impatient, **again).status_code == 200
    assert arrived(origin) == [b"one"]


def test_what_nobody_decided_expires(impatient: WaitingGate, origin: Origin) -> None:
    """After its time it is denied, whoever says yes then; much later the same request is asked anew."""
    write(impatient)
    (shown,) = impatient.pending()
    impatient.pass_(EXPIRE_S)
    late = impatient.approve(shown)
    assert (late.status_code, late.json()["code"]) == (409, "approval.expired")
    denied = write(impatient)
    assert (denied.status_code, denied.json()["code"]) == (403, "approval.expired")
    assert denied.json()["reason"] == f"{shown['approval']} -- expired"
    assert impatient.events() == ["requested", "expired"]
    impatient.pass_(EXPIRE_S)
    assert write(impatient).status_code == 202
    assert origin.connections == 0


def test_what_was_approved_expires_too(impatient: WaitingGate, origin: Origin) -> None:
    """An approval that nobody used in time is worth nothing."""
    write(impatient)
    impatient.approve(impatient.pending()[0])
    impatient.pass_(EXPIRE_S)
    assert write(impatient).json()["code"] == "approval.expired"
    assert origin.connections == 0


def test_a_parked_request_expires(tmp_path: Path, origin: Origin, target_ca_pem: Path, beside: Any) -> None:
    """Where an approval may take less long than a request may wait, the request is denied when it expires."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals={"expire_s": 30}) as gate:
        waiting = started(gate, beside)
        gate.pass_(30)
        assert waiting.result(30).json()["code"] == "approval.expired"
        assert gate.events() == ["requested", "expired"]


# --- who may say what ----------------------------------------------------------------------------------


def destroy(gate: WaitingGate) -> httpx.Response:
    """Two others than the anchor have to approve this."""
    with client_of(gate) as client:
        return client.delete(URL)


def test_two_different_humans_have_to_say_yes_and_not_the_anchor(impatient: WaitingGate, origin: Origin) -> None:
    """The anchor's yes is refused, a second yes of the same human counts once, the second human's lets it go on."""
    assert destroy(impatient).status_code == 202
    (shown,) = impatient.pending()
    assert (shown["needs"], shown["anchor_may"]) == (2, False)
    own = impatient.approve(shown, "alice")
    assert (own.status_code, own.json()["code"]) == (403, "approval.not-eligible")
    for _ in range(2):
        assert impatient.approve(shown, "bob").json()["state"] == "pending"
        assert destroy(impatient).status_code == 202
    assert impatient.approve(shown, "carol").json()["state"] == "approved"
    assert destroy(impatient).status_code == 200
    assert [seen.method for seen in origin.seen] == ["DELETE"]
    assert impatient.records()[-1]["approvers"] == "bob@acme.test carol@acme.test"


def test_the_anchor_may_refuse_what_others_approve(impatient: WaitingGate, origin: Origin) -> None:
    """Who answers for the agent may always stop it."""
    destroy(impatient)
    (shown,) = impatient.pending()
    impatient.approve(shown, "bob")
    impatient.approve(shown, "carol")
    assert impatient.refuse(shown, "alice").json()["state"] == "refused"
    assert destroy(impatient).json()["code"] == "approval.refused"
    assert origin.connections == 0


def test_a_human_of_another_organisation_has_no_say(impatient: WaitingGate) -> None:
    """They see nothing, and neither their yes nor their no counts."""
    write(impatient)
    (shown,) = impatient.pending()
    assert impatient.ask("/v1/approvals", "dave").json() == {"approvals": []}
    assert impatient.ask(f"/v1/approvals/{shown['approval']}", "dave").status_code == 404
    for answer in (impatient.approve(shown, "dave"), impatient.refuse(shown, "dave")):
        assert (answer.status_code, answer.json()["code"]) == (403, "approval.not-eligible")


def test_a_suspended_human_approves_nothing(impatient: WaitingGate, origin: Origin) -> None:
    """Neither afterwards, nor by a yes they said before: what they said goes with them."""
    write(impatient)
    (shown,) = impatient.pending()
    impatient.approve(shown, "bob")
    impatient.write("agents.yaml", registry(bob={"state": "suspended"}))
    impatient.reload()
    assert write(impatient).status_code == 202
    assert impatient.approve(shown, "bob").status_code == 401
    impatient.approve(shown, "carol")
    assert write(impatient).status_code == 200
    assert impatient.records()[-1]["approvers"] == "carol@acme.test"


@pytest.mark.parametrize("token", [TOKEN, "operator", "nobody"])
def test_nobody_but_a_human_decides(impatient: WaitingGate, token: str) -> None:
    """The agent's own token, the operator's and none that is known approve nothing."""
    write(impatient)
    (shown,) = impatient.pending()
    given = impatient.config.operator_token.read_text().strip() if token == "operator" else token
    for answer in (impatient.approve(shown, given), impatient.refuse(shown, given)):
        assert (answer.status_code, answer.json()["code"]) == (401, "human.unknown")
    assert impatient.events() == ["requested"]


def test_a_yes_names_what_was_shown(impatient: WaitingGate) -> None:
    """A yes with the fingerprint of another request is refused."""
    write(impatient)
    (shown,) = impatient.pending()
    answer = impatient.approve({**shown, "fingerprint": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (409, "approval.fingerprint")
    assert len(impatient.pending()) == 1


def test_an_agent_sees_its_own_approvals_only(impatient: WaitingGate) -> None:
    """Those of others look like none at all; the operator sees all, somebody unknown nothing."""
    write(impatient)
    (shown,) = impatient.pending()
    path = f"/v1/approvals/{shown['approval']}"
    assert impatient.ask(path, TOKEN).json()["approval"] == shown["approval"]
    other = TOKEN[::-1]
    assert impatient.ask(path, other).status_code == 404
    assert impatient.ask("/v1/approvals", other).json() == {"approvals": []}
    assert impatient.ask(path, impatient.config.operator_token.read_text().strip()).status_code == 200
    assert impatient.ask(path, "nobody").status_code == 401
    assert impatient.ask(path, "").status_code == 401
    assert impatient.ask("/v1/approvals/apr_none", TOKEN).status_code == 404


# --- what is decided when it goes on -------------------------------------------------------------------


def test_a_suspended_agent_does_not_go_on(gate: WaitingGate, origin: Origin, beside: ThreadPoolExecutor) -> None:
    """It is decided anew: an approval does not outlive the agent's own standing, and stays unused."""
    waiting = started(gate, beside)
    agents = registry()
    agents["agents"][0]["state"] = "suspended"
    gate.write("agents.yaml", agents)
    gate.reload()
    gate.approve(gate.pending()[0])
    assert waiting.result(30).json()["code"] == "agent.suspended"
    assert origin.connections == 0
    assert gate.events() == ["requested", "approved"]


def test_rules_that_ask_for_more_are_obeyed(impatient: WaitingGate, origin: Origin) -> None:
    """A yes that was enough is not any more when the rules that hold now want two."""
    write(impatient)
    (shown,) = impatient.pending()
    impatient.approve(shown)
    skill = {"skill": "deploy-v2", "version": 2, "approve": [{"action": "data:**", "approvers": {"count": 2}}]}
    impatient.write("policies/deploy-v2.yaml", skill)
    impatient.reload()
    assert write(impatient).status_code == 202
    assert impatient.ask(f"/v1/approvals/{shown['approval']}").json()["needs"] == 2
    impatient.approve(shown, "carol")
    assert write(impatient).status_code == 200
    assert arrived(origin) == [b"one"]


def test_a_deny_is_not_asked_about(impatient: WaitingGate, origin: Origin) -> None:
    """Where one operation is denied no human is bothered."""
    mappings = json.loads(json.dumps(impatient.config.mappings[0].joinpath("site.yaml").read_text()))
    impatient.write("mappings/site.yaml", mappings.replace("data:write", "deploy:production"))
    impatient.reload()
    assert write(impatient).json()["code"] == "skill.denied"
    assert impatient.events() == []


def test_a_body_that_is_not_known_in_full_is_not_approved(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Above the limit nobody can say what would be approved: denied, and nobody is asked."""
    more = {"config": {"proxy": {"max_body_bytes": 10}}}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals={"wait_s": 0}, **more) as gate:
        denied = write(gate, b"x" * 11)
        assert (denied.status_code, denied.json()["code"]) == (403, "approval.unreadable")
        assert write(gate, b"x" * 10).status_code == 202
        assert origin.connections == 0
        assert [record["code"] for record in gate.records()] == ["approval.unreadable", "skill.needs-approval"]


def test_limits_count_what_went_on_and_nothing_that_waited(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Waiting uses nothing up; an approved call counts once, also for the next run; a used-up limit asks nobody."""
    limits = [{"action": "data:write", "most": 2, "per": "day"}]
    skills = {
        "deploy-v2": {"skill": "deploy-v2", "approve": ["data:write"], "limits": limits},
        "reader-v1": {"skill": "reader-v1"},
    }
    for body in (b"one", b"two"):
        with waiting_gate(
            tmp_path / "gate", origin, target_ca=target_ca_pem, approvals={"wait_s": 0}, skills=skills
        ) as gate:
            for _ in range(3):
                assert write(gate, body).status_code == 202
            gate.approve(gate.pending()[0])
            assert write(gate, body).status_code == 200
            if body == b"two":
                denied = write(gate, b"three")
                assert denied.status_code == 403
                assert gate.records()[-1]["stage"] == denied.json()["code"].partition(".")[0]
                assert gate.pending() == []
    assert arrived(origin) == [b"one", b"two"]


def test_what_a_policy_keeps_out_of_the_record_stays_out(impatient: WaitingGate) -> None:
    """The question on record has neither path nor target; the human who decides sees both."""
    redact = {"policy": "quiet-v1", "redact": [{"action": "data:**", "fields": ["path", "target"]}]}
    impatient.write("policies/quiet-v1.yaml", redact)
    impatient.reload()
    write(impatient, url="https://origin.test/things/patient-7")
    (shown,) = impatient.pending()
    assert shown["operations"][0]["target"] == "origin.test/things/patient-7"
    assert "patient-7" in shown["request"]
    (asked,) = impatient.records("approval")
    assert (asked["target"], asked["request"]) == ("[redacted]", "[redacted]")
    assert "patient-7" not in json.dumps([asked, *impatient.records()])


def test_what_is_kept_out_of_the_record_stays_out_to_the_end(impatient: WaitingGate) -> None:
    """Also where other rules ask for more, and where a human has refused."""
    redact = {"policy": "quiet-v1", "redact": [{"action": "data:**", "fields": ["path", "target"]}]}
    impatient.write("policies/quiet-v1.yaml", redact)
    impatient.reload()
    url = "https://origin.test/things/patient-7"
    write(impatient, url=url)
    impatient.approve(impatient.pending()[0])
    skill = {"skill": "deploy-v2", "version": 2, "approve": [{"action": "data:**", "approvers": {"count": 2}}]}
    impatient.write("policies/deploy-v2.yaml", skill)
    impatient.reload()
    assert write(impatient, url=url).status_code == 202
    impatient.refuse(impatient.pending()[0])
    assert write(impatient, url=url).json()["code"] == "approval.refused"
    assert impatient.events() == ["requested", "approved", "requested", "refused"]
    assert [record["redacted"] for record in impatient.records()] == ["path target"] * 3
    assert "patient-7" not in json.dumps([*impatient.records("approval"), *impatient.records()])


def test_a_record_that_fails_forwards_nothing_and_wastes_no_question(
    impatient: WaitingGate, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the question cannot be recorded nobody is asked; when the use cannot, nothing goes on, then or later."""
    log = impatient.service._chron
    append = log.append_many

    def failing(records: Any) -> Any:
        raise ChronError("disk full")

    monkeypatch.setattr(log, "append_many", failing)
    assert write(impatient).json()["code"] == "gate.audit-unavailable"
    monkeypatch.setattr(log, "append_many", append)
    assert impatient.pending() == []
    write(impatient)
    impatient.approve(impatient.pending()[0])
    monkeypatch.setattr(log, "append_many", failing)
    assert write(impatient).json()["code"] == "gate.audit-unavailable"
    monkeypatch.setattr(log, "append_many", append)
    assert write(impatient).status_code == 202
    assert origin.connections == 0


PDP_SAYS = {
    "no": (json_reply(200, {"decision": False}), "pdp.denied"),
    "nothing": (json_reply(500, {"decision": True}), "pdp.unavailable"),
}


@pytest.mark.parametrize(("reply", "code"), PDP_SAYS.values(), ids=PDP_SAYS)
def test_an_approval_is_given_back_when_the_pdp_does_not_allow(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, reply: Any, code: str
) -> None:
    """Nothing is forwarded and nothing is used: the same approval is good for one run once the PDP allows it."""
    with loopback() as pdp:
        more = {"approvals": {"wait_s": 0}, "config": {"pdp": {"url": pdp.url, "timeout_s": 5}}}
        with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, **more) as gate:
            assert write(gate).status_code == 202
            assert pdp.asked == []
            (shown,) = gate.pending()
            gate.approve(shown)
            pdp.reply = reply
            for _ in range(2):
                refused = write(gate)
                assert (refused.status_code, refused.json()["code"]) == (403, code)
                assert gate.ask(f"/v1/approvals/{shown['approval']}").json()["state"] == "approved"
            assert origin.connections == 0
            assert gate.events() == ["requested", "approved"]
            pdp.reply = json_reply(200, {"decision": True})
            assert write(gate).status_code == 200
            assert write(gate).status_code == 202
            held, first, second, allowed, again = gate.records()
            assert [record["code"] for record in (first, second)] == [code, code]
            assert [record["outcome"] for record in (held, first, second, allowed)] == ["HOLD", "DENY", "DENY", "ALLOW"]
            assert "approval" not in first
            assert (allowed["approval"], allowed["pdp"]) == (shown["approval"], "allow")
            assert again["held"] != shown["approval"]
            assert gate.events() == ["requested", "approved", "used", "requested"]
            assert arrived(origin) == [b"one"]


@pytest.mark.parametrize("error", [ValueError("planted"), asyncio.CancelledError()], ids=["a bug", "cancelled"])
def test_an_approval_is_given_back_when_something_breaks_before_its_use_is_recorded(
    impatient: WaitingGate, origin: Origin, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Nothing is forwarded, nothing is used, no decision stays open, and the next request goes on."""
    write(impatient)
    (shown,) = impatient.pending()
    impatient.approve(shown)

    def bug(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as planted:
        planted.setattr(type(impatient.service.gate.destinations), "route", bug)
        assert write(impatient).json()["code"] == "gate.error"
    assert origin.connections == 0
    assert impatient.ask(f"/v1/approvals/{shown['approval']}").json()["state"] == "approved"
    assert write(impatient).status_code == 200
    assert impatient.events() == ["requested", "approved", "used"]
    assert arrived(origin) == [b"one"]


def test_a_yes_that_cannot_be_recorded_does_not_count(
    impatient: WaitingGate, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The human is told so, and the request still waits; a no counts at once all the same."""
    write(impatient)
    (shown,) = impatient.pending()
    log = impatient.service._chron

    def failing(kind: str, fields: Any) -> Any:
        raise ChronError("disk full")

    with monkeypatch.context() as full:
        full.setattr(log, "append", failing)
        assert impatient.approve(shown).json()["code"] == "gate.audit-unavailable"
    assert write(impatient).status_code == 202
    with monkeypatch.context() as full:
        full.setattr(log, "append", failing)
        assert impatient.refuse(shown).json()["code"] == "gate.audit-unavailable"
    assert write(impatient).json()["code"] == "approval.refused"
    assert origin.connections == 0


# --- floods, farewells, stops --------------------------------------------------------------------------


def test_an_agent_cannot_flood_its_humans(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Beyond so many open approvals a request is denied and nobody is asked; another agent still may ask."""
    approvals = {"wait_s": 0, "most_pending": 2}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        answers = [write(gate, bytes([number])) for number in range(3)]
        assert [each.status_code for each in answers] == [202, 202, 403]
        assert answers[2].json()["code"] == "approval.flood"
        with client_of(gate, proxy=gate.proxy("other-bot", TOKEN[::-1])) as client:
            assert client.post(URL, content=b"one").status_code == 202
        gate.refuse(gate.pending()[0])
        assert write(gate, b"next").status_code == 202
        assert gate.events() == ["requested", "requested", "requested", "refused", "requested"]
        text = gate.ask("/metrics", "").text
        assert "claiim_approvals_pending 3.0" in text
        assert 'claiim_approvals_total{result="flood"} 1.0' in text


def test_an_agent_cannot_ask_too_often(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Also approvals that were decided count towards the hour's limit."""
    approvals = {"wait_s": 0, "most_per_hour": 1}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        write(gate)
        gate.refuse(gate.pending()[0])
        assert write(gate, b"two").json()["code"] == "approval.flood"
        gate.pass_(3600)
        assert write(gate, b"two").status_code == 202


def test_an_agent_that_goes_away_is_noticed(gate: WaitingGate, origin: Origin) -> None:
    """What it waited for does not go on behind its back; approved, the same request goes on when it comes again."""
    connection = tunnel(gate, "origin.test:443")
    connection.sendall(b"POST /things HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 3\r\n\r\none")
    gate.wait_parked()
    connection.close()
    gate.wait_parked(0)
    (held,) = gate.records()
    assert gate.outcome_of(held)["error"] == "the agent has gone away"
    gate.approve(gate.pending()[0])
    assert origin.connections == 0
    with client_of(gate) as client:
        bare = client.build_request("POST", URL, content=b"one")
        bare.headers = httpx.Headers({"Host": "origin.test", "Content-Length": "3"})
        assert client.send(bare).status_code == 200
    assert arrived(origin) == [b"one"]


def test_a_stream_that_is_reset_waits_no_more(gate: WaitingGate, origin: Origin) -> None:
    """Of an HTTP/2 connection one request is given up; it does not go on, and the connection lives on."""
    with Streams(gate) as agent:
        agent.ask(1, "POST", "/things")
        gate.wait_parked()
        agent.give_up(1)
        gate.wait_parked(0)
        gate.approve(gate.pending()[0])
        agent.ask(3, "GET", "/echo")
        assert agent.status(3) == "200"
    assert [seen.method for seen in origin.seen] == ["GET"]
    assert gate.outcome_of(gate.records()[0])["error"] == "the agent has gone away"


def test_a_gate_that_stops_refuses_what_waits(tmp_path: Path, origin: Origin, target_ca_pem: Path, beside: Any) -> None:
    """The agent gets its answer before the connection is closed; the approval is there at the next start."""
    folder = tmp_path / "gate"
    with waiting_gate(folder, origin, target_ca=target_ca_pem) as gate:
        waiting = started(gate, beside)
    refused = waiting.result(30)
    assert (refused.status_code, refused.json()["code"]) == (503, "gate.stopping")
    with waiting_gate(folder, origin, target_ca=target_ca_pem) as gate:
        gate.approve(gate.pending()[0])
        assert write(gate).status_code == 200


def test_a_restart_forgets_neither_yes_nor_no_nor_use(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Pending stays pending, approved approved, refused refused, and what was used once is used."""
    folder, approvals = tmp_path / "gate", {"wait_s": 0}
    bodies = (b"pending", b"approved", b"refused", b"used")
    with waiting_gate(folder, origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        shown = {}
        for body in bodies:
            write(gate, body)
            (shown[body],) = (
                one for one in gate.pending() if one["approval"] not in {s["approval"] for s in shown.values()}
            )
        gate.approve(shown[b"approved"])
        gate.refuse(shown[b"refused"])
        gate.approve(shown[b"used"])
        assert write(gate, b"used").status_code == 200
    with waiting_gate(folder, origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        states = {one["approval"]: one["state"] for one in gate.ask("/v1/approvals").json()["approvals"]}
        assert [states[shown[body]["approval"]] for body in bodies] == ["pending", "approved", "refused", "used"]
        assert write(gate, b"pending").json()["approval"] == shown[b"pending"]["approval"]
        assert write(gate, b"refused").json()["code"] == "approval.refused"
        assert write(gate, b"used").json()["approval"] != shown[b"used"]["approval"]
        assert write(gate, b"approved").status_code == 200
        assert write(gate, b"approved").status_code == 202
    assert arrived(origin) == [b"used", b"approved"]


def test_what_expired_while_no_gate_ran_is_expired(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Time goes on without the gate: at its start it writes down what has expired meanwhile."""
    folder = tmp_path / "gate"
    with waiting_gate(folder, origin, target_ca=target_ca_pem, approvals={"wait_s": 0}) as gate:
        write(gate)
    later = WaitingGate(folder, origin, target_ca=target_ca_pem, approvals={"wait_s": 0})
    later.clock.pass_(EXPIRE_S)
    with later as gate:
        assert gate.events() == ["requested", "expired"]
        assert write(gate).json()["code"] == "approval.expired"


# --- signs of life -------------------------------------------------------------------------------------


def test_a_waiting_client_is_sent_signs_of_life(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Every 15 seconds one interim response, four in all; the answer comes after them on the same connection."""
    approvals = {"keep_alive_s": 15, "wait_s": 100}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        connection = tunnel(gate, "origin.test:443")
        assert isinstance(connection, ssl.SSLSocket)
        connection.sendall(
            b"POST /things HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: curl/8\r\nContent-Length: 3\r\n\r\none"
        )
        gate.clock.wait_timers(100, 1)
        for _ in range(6):
            gate.pass_(15)
        gate.pass_(10)
        got = b""
        while b"HTTP/1.1 202" not in got:
            got += connection.recv(65536)
        assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\n" * 4 + b"HTTP/1.1 202")
        connection.close()


def test_an_old_client_is_sent_none(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """HTTP/1.0 knows no interim responses (RFC 9110, 15.2)."""
    approvals = {"keep_alive_s": 15, "wait_s": 100}
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals=approvals) as gate:
        connection = tunnel(gate, "origin.test:443")
        connection.sendall(
            b"POST /things HTTP/1.0\r\nHost: origin.test\r\nUser-Agent: curl/8\r\nContent-Length: 3\r\n\r\none"
        )
        gate.clock.wait_timers(100, 1)
        gate.pass_(15)
        gate.pass_(85)
        assert b"202" in connection.recv(65536).split(b"\r\n")[0]
        connection.close()
