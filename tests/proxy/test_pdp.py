"""An external PDP: what our rules let go on needs its word too, and anything but a plain yes from it refuses."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies import credential
from proxy.config import ConfigError
from proxy.questions import asked_again
from sdk.loopback_gate import LoopbackGate, json_reply, loopback, raw_reply
from support.clients import client_of
from support.gate import AGENTS, SKILLS, TOKEN, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

MAPPINGS = {
    **ORIGIN_MAPPINGS,
    "rules": [
        *ORIGIN_MAPPINGS["rules"],
        # Equally specific rules: one request of two operations.
        {
            "id": "both-1",
            "match": {"host": "origin.test", "path": "/both", "method": "PUT", "query": {"a": "1"}},
            "action": "data:read",
            "target": "one",
        },
        {
            "id": "both-2",
            "match": {"host": "origin.test", "path": "/both", "method": "PUT", "query": {"b": "1"}},
            "action": "data:write",
            "target": "two",
        },
    ],
}
BOTH = "https://origin.test/both?a=1&b=1"
READ = "https://origin.test/echo"

type Gated = Callable[..., tuple[LiveGate, httpx.Client]]


@pytest.fixture
def pdp() -> Iterator[LoopbackGate]:
    """A PDP that says yes until told otherwise."""
    with loopback() as served:
        served.reply = json_reply(200, {"decision": True})
        yield served


@pytest.fixture
def gated(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[Gated]:
    """A gate with a PDP, and a client of it."""
    with ExitStack() as stack:

        def made(url: str, **more: Any) -> tuple[LiveGate, httpx.Client]:
            config = {"pdp": {"url": url, "timeout_s": 1, **more.pop("pdp", {})}}
            live = LiveGate(
                tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=MAPPINGS, config=config, **more
            )
            stack.enter_context(running(live))
            return live, stack.enter_context(client_of(live))

        yield made


def test_both_must_allow(gated: Gated, pdp: LoopbackGate) -> None:
    """A yes lets it go on and stands in the record, which can be decided again."""
    gate, client = gated(pdp.url)
    assert client.get(READ).status_code == 200
    (record,) = gate.records()
    assert (record["outcome"], record["pdp"], record["code"]) == ("ALLOW", "allow", "skill.allowed")
    assert asked_again(record, {}) is not None


def test_what_it_is_told(gated: Gated, pdp: LoopbackGate, tmp_path: Path) -> None:
    """The agent, its human, action, target, method, address and time; with the token that it knows us by."""
    (tmp_path / "pdp.token").write_text("pdp-token\n")
    gate, client = gated(f"{pdp.url}/tenant/", pdp={"token_file": str(tmp_path / "pdp.token")})
    client.get("https://origin.test/things/7?token=x", headers={"Authorization": "Bearer of-the-target"})
    [(path, headers, body)] = pdp.asked
    assert (path, headers["Authorization"]) == ("/tenant/access/v1/evaluation", "Bearer pdp-token")
    people = {"anchor": "alice@acme.test", "org": "acme", "ip_address": "127.0.0.1"}
    (record,) = gate.records()
    assert body == {
        "subject": {"type": "agent", "id": "deploy-bot", "properties": people},
        "action": {"name": "data:read", "properties": {"method": "GET"}},
        "resource": {"type": "target", "id": "origin.test/things/7", "properties": {}},
        "context": {"time": datetime.fromisoformat(record["at"]).isoformat(timespec="milliseconds")},
    }


def test_a_no_refuses(gated: Gated, pdp: LoopbackGate, origin: Origin) -> None:
    """DENY with its reason, cut and printable; nothing is sent; its reason for administrators stays with it."""
    context = {"reason_user": {"en": "four eyes\r\n\x1b[2J " + "x" * 500}, "reason_admin": {"en": "secret"}}
    pdp.reply = json_reply(200, {"decision": False, "context": context})
    gate, client = gated(pdp.url)
    before = len(origin.seen)
    said = client.get(READ)
    assert (said.status_code, said.json()["code"]) == (403, "pdp.denied")
    assert said.json()["reason"].startswith("pdp -- four eyes   [2J xxx")
    assert len(said.json()["reason"]) < 230
    (record,) = gate.records()
    assert (record["outcome"], record["pdp"], record["reason"]) == ("DENY", "deny", said.json()["reason"])
    assert (record["agent"], record["anchor"], record["stage"]) == ("deploy-bot", "alice@acme.test", "pdp")
    assert "secret" not in str(record) + said.text
    assert len(origin.seen) == before
    assert asked_again(record, {}) is None


def test_over_our_denials_it_has_no_say(gated: Gated, pdp: LoopbackGate) -> None:
    """It is not asked about them, neither on the wire nor at the API."""
    gate, client = gated(pdp.url)
    assert client.delete(READ).json()["code"] == "skill.denied"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=gate.api, headers=headers, trust_env=False) as api:
        assert api.post("/v1/check", json={"action": "infra:destroy"}).json()["code"] == "skill.denied"
    assert pdp.asked == []
    assert [record.get("pdp") for record in gate.records()] == [None, None]


def http(status: int, body: bytes, media: str = "application/json", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {media}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


YES = b'{"decision": true}'
NO_ANSWERS: dict[str, bytes] = {
    "an error": http(500, YES),
    "created": http(201, YES),
    "unauthorised": http(401, YES),
    "no content": b"HTTP/1.1 204 X\r\n\r\n",
    "a redirect": http(307, YES, "application/json", "Location: /access/v1/evaluation"),
    "a page": http(200, YES, "text/html"),
    "compressed": http(200, YES, "application/json", "Content-Encoding: gzip"),
    "no decision": http(200, b"{}"),
    "a text": http(200, b'{"decision": "true"}'),
    "a one": http(200, b'{"decision": 1}'),
    "null": http(200, b'{"decision": null}'),
    "ALLOW": http(200, b'{"outcome": "ALLOW"}'),
    "a decision twice": http(200, b'{"decision": false, "decision": true}'),
    "a list": http(200, b'[{"decision": true}]'),
    "a bare true": http(200, b"true"),
    "evaluations": http(200, b'{"evaluations": [{"decision": true}]}'),
    "cut": http(200, YES)[:-1],
    "not UTF-8": http(200, b'{"decision": true, "x": "\xff"}'),
    "nested deep": http(200, b'{"decision": true, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "too large": http(200, b'{"decision": true, "x": "' + b"y" * 300_000 + b'"}'),
    "nothing": b"",
    "no HTTP": b"decision: true\r\n\r\n",
}


def test_whatever_is_no_answer_refuses(gated: Gated, pdp: LoopbackGate, origin: Origin) -> None:
    """DENY "pdp.unavailable", in the record as such; nothing is sent."""
    gate, client = gated(pdp.url)
    for name, answer in NO_ANSWERS.items():
        pdp.reply = raw_reply(answer)
        before = len(origin.seen)
        said = client.get(READ)
        assert (said.status_code, said.json()["code"]) == (403, "pdp.unavailable"), name
        record = gate.records()[-1]
        assert (record["outcome"], record["pdp"]) == ("DENY", "unavailable"), name
        assert record["reason"] == "pdp -- the external PDP gave no answer"
        assert len(origin.seen) == before, name
    pdp.reply = json_reply(200, {"decision": True})
    assert client.get(READ).status_code == 200


def test_silence_refuses(gated: Gated, pdp: LoopbackGate) -> None:
    """After `timeout_s`; requests that do not need the PDP are answered meanwhile."""
    pdp.reply = lambda _: pdp.released.wait(20) and None
    gate, client = gated(pdp.url)
    assert client.get(READ).json()["code"] == "pdp.unavailable"
    assert gate.records()[-1]["pdp"] == "unavailable"


def test_nobody_there_refuses(gated: Gated) -> None:
    """A refused connection is no answer."""
    with loopback() as gone:
        url = gone.url
    _, client = gated(url)
    assert client.get(READ).json()["code"] == "pdp.unavailable"


def test_several_operations_are_one_question(gated: Gated, pdp: LoopbackGate, origin: Origin) -> None:
    """One evaluations call; each operation has its own word, and one no stops the request."""
    pdp.reply = json_reply(200, {"evaluations": [{"decision": True}, {"decision": True}]})
    gate, client = gated(pdp.url)
    assert client.put(BOTH).status_code == 200
    [(path, _, body)] = pdp.asked
    assert path == "/access/v1/evaluations"
    asked = [(each["action"]["name"], each["resource"]["id"]) for each in body["evaluations"]]  # type: ignore[attr-defined]
    assert sorted(asked) == [("data:read", "one"), ("data:write", "two")]
    before = len(origin.seen)
    for answers in (
        [{"decision": True}],
        [{"decision": True}] * 3,
        [{"decision": True}, {}],
        [{"decision": True}, None],
        {"0": {"decision": True}, "1": {"decision": True}},
    ):
        pdp.reply = json_reply(200, {"evaluations": answers, "decision": True})
        assert client.put(BOTH).json()["code"] == "pdp.unavailable", answers
        assert {record["pdp"] for record in gate.records()[-2:]} == {"unavailable"}
    pdp.reply = json_reply(200, {"evaluations": [{"decision": True}, {"decision": False}]})
    assert client.put(BOTH).json()["code"] == "pdp.denied"
    assert [record["pdp"] for record in gate.records()[-2:]] == ["allow", "deny"]
    assert len(origin.seen) == before


def test_observing_lets_no_refusal_of_it_pass(gated: Gated, pdp: LoopbackGate, origin: Origin) -> None:
    """What our rules deny and only observe is put to it as well, and its no stops it."""
    agents = {**AGENTS, "agents": [{**AGENTS["agents"][0], "mode": "observe"}]}
    gate, client = gated(pdp.url, agents=agents, skills={"deploy-v2": SKILLS["deploy-v2"]})
    assert client.delete(READ).status_code == 200
    record = gate.records()[-1]
    assert (record["outcome"], record["mode"], record["pdp"]) == ("DENY", "observe", "allow")
    pdp.reply = json_reply(200, {"decision": False})
    before = len(origin.seen)
    assert client.delete(READ).json()["code"] == "pdp.denied"
    assert gate.records()[-1]["mode"] == "enforce"
    assert client.get("https://origin.test/echo?x").json()["code"] == "pdp.denied"
    assert len(origin.seen) == before


def test_what_it_refuses_is_no_use(gated: Gated, pdp: LoopbackGate) -> None:
    """A limit counts what went on."""
    skills = {
        **SKILLS,
        "deploy-v2": SKILLS["deploy-v2"] | {"limits": [{"action": "data:read", "most": 1, "per": "1h"}]},
    }
    pdp.reply = json_reply(200, {"decision": False})
    _, client = gated(pdp.url, skills=skills)
    assert client.get(READ).json()["code"] == "pdp.denied"
    pdp.reply = json_reply(200, {"decision": True})
    assert client.get(READ).status_code == 200
    assert client.get(READ).json()["code"] == "skill.limit"


def test_a_question_of_an_agent_is_put_to_it_too(gated: Gated, pdp: LoopbackGate) -> None:
    """What an agent is told first is what it would get on the wire."""
    pdp.reply = json_reply(200, {"decision": False, "context": {"reason": "not today"}})
    gate, _ = gated(pdp.url)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=gate.api, headers=headers, trust_env=False) as api:
        said = api.post("/v1/check", json={"action": "deploy:staging", "target": "api-v2"}).json()
    assert (said["outcome"], said["code"], said["reason"]) == ("DENY", "pdp.denied", "pdp -- not today")
    assert (said["anchor"], gate.records()[-1]["pdp"]) == ("alice@acme.test", "deny")


# --- another gate as the PDP ---------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LiveGate]:
    """A gate whose texts allow this agent less; it is asked with a human's token."""
    token = credential("", "clh_pep-token-0123456789abcdef").token_sha256
    humans = [{**AGENTS["humans"][0], "tokens": [token]}]
    skills = {**SKILLS, "deploy-v2": {"skill": "deploy-v2", "allow": ["data:read"]}}
    with LiveGate(tmp_path / "other", skills=skills, agents={**AGENTS, "humans": humans}) as live:
        yield live


def test_another_gate_can_be_the_pdp(gated: Gated, other: LiveGate, tmp_path: Path, monkeypatch: Any) -> None:
    """It decides by its own texts and records who asked; the variables for proxies do not lead the question astray."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "pep.token").write_text("clh_pep-token-0123456789abcdef\n")
    gate, client = gated(other.api, pdp={"token_file": str(tmp_path / "pep.token")})
    assert client.get(READ).status_code == 200
    denied = client.post(READ)
    assert denied.json()["reason"] == "pdp -- skill:deploy-v2 -- action not in allow list"
    asked = other.records()
    assert [record["outcome"] for record in asked] == ["ALLOW", "DENY"]
    assert {record["asked_by"] for record in asked} == {"human:alice@acme.test"}
    assert [record["target"] for record in asked] == [record["target"] for record in gate.records()]
    assert client.put(BOTH).json()["code"] == "pdp.denied"
    # The token is read each time.
    (tmp_path / "pep.token").write_text("clh_another\n")
    assert client.get(READ).json()["code"] == "pdp.unavailable"
    (tmp_path / "pep.token").unlink()
    assert client.get(READ).json()["code"] == "pdp.unavailable"


def test_two_gates_that_ask_each_other_deny(tmp_path: Path, gated: Gated) -> None:
    """The question comes back to the gate that asked it, and ends there."""
    (tmp_path / "pep.token").write_text(TOKEN)
    with loopback() as between:
        gate, client = gated(between.url, pdp={"token_file": str(tmp_path / "pep.token")})

        def pass_on(handler: Any) -> None:
            path, headers, body = between.asked[-1]
            sent = {name: headers[name] for name in ("Via", "Authorization")}
            answer = httpx.post(gate.api + path, json=body, headers=sent, trust_env=False)
            json_reply(answer.status_code, answer.json())(handler)

        between.reply = pass_on
        assert client.get(READ).json()["code"] == "pdp.unavailable"
        assert len(between.asked) == 1
    assert len(gate.records()) == 1


# --- configuration -------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"url": "pdp.acme.test"}, '"pdp.acme.test" is not where a PDP is'),
    "a query": ({"url": "https://pdp.acme.test/?x=1"}, "is not where a PDP is"),
    "a password": ({"url": "https://a:b@pdp.acme.test"}, "is not where a PDP is"),
    "no time": ({"url": "https://pdp.acme.test", "timeout_s": 0}, "greater than or equal to 1"),
    "no token file": ({"url": "https://pdp.acme.test", "token_file": "gone"}, "gone: cannot read"),
    "an empty token": ({"url": "https://pdp.acme.test", "token_file": "agents.yaml"}, "not a token"),
    "no CA": ({"url": "https://pdp.acme.test", "ca": "gone.pem"}, "gone.pem: cannot read"),
    "a CA that is none": ({"url": "https://pdp.acme.test", "ca": "agents.yaml"}, "agents.yaml: cannot read"),
}


@pytest.mark.parametrize(("section", "message"), BAD.values(), ids=BAD)
def test_a_pdp_that_cannot_be_asked_ends_the_start(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    """One line that says what to mend."""
    with pytest.raises(ConfigError, match=message), LiveGate(tmp_path, config={"pdp": section}):
        pass
