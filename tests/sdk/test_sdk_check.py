"""The SDK asks exactly what it was told to ask, and believes only a well-formed answer to it."""

import json
import pickle
import socket
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from claiim import (
    ActionDenied,
    AsyncGate,
    CheckResult,
    Gate,
    GateError,
    GateMisconfigured,
    GateUnavailable,
    NotAuthenticated,
)
from claiim.answer import Asked, read_answer
from sdk.loopback_gate import ALLOWED, CHRON_ID, LoopbackGate, answered, json_reply, loopback, raw_reply

QUESTION = {"action": "deploy:staging", "target": "api-v2"}
DENIED = ALLOWED | {
    "outcome": "DENY",
    "reason": "policy:no-prod-v1 -- action not in allow list",
    "code": "policy.not-in-allow-list",
}

HELD = ALLOWED | {
    "outcome": "HOLD",
    "reason": "skill:deploy-v2 -- action needs approval",
    "code": "skill.needs-approval",
}


def gate_at(url: str, **more: object) -> Gate:
    return Gate(agent_id="deploy-bot", token="secret-token", url=url, **more)  # type: ignore[arg-type]


def test_an_allow_is_returned_whole(served: LoopbackGate) -> None:
    """An ALLOW comes back with every field the gate sent."""
    result = gate_at(served.url).check(**QUESTION)
    assert result == CheckResult(**ALLOWED)
    assert result.allowed
    assert bool(result)


def test_a_deny_is_returned_not_raised(served: LoopbackGate) -> None:
    """`check` returns a DENY with its reason and record; the result is false."""
    served.reply = json_reply(200, answered(DENIED))
    result = gate_at(served.url).check(**QUESTION)
    assert result.outcome == "DENY"
    assert result.reason == "policy:no-prod-v1 -- action not in allow list"
    assert result.chron_id == CHRON_ID
    assert not result
    assert not result.allowed


def test_require_returns_only_an_allow(served: LoopbackGate) -> None:
    """`require` raises ActionDenied on DENY, with the whole answer in it."""
    gate = gate_at(served.url)
    assert gate.require(**QUESTION).outcome == "ALLOW"
    served.reply = json_reply(200, answered(DENIED))
    with pytest.raises(ActionDenied) as caught:
        gate.require(**QUESTION)
    assert caught.value.result.code == "policy.not-in-allow-list"
    assert str(caught.value) == (
        '"deploy:staging" on "api-v2" denied: policy:no-prod-v1 -- action not in allow list '
        "(chr_01jd0000000000000000000000)"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.result == caught.value.result


def test_what_waits_for_a_human_is_neither_allowed_nor_denied(served: LoopbackGate) -> None:
    """A HOLD is false and `held`; `require` raises on it and says what it is."""
    served.reply = json_reply(200, answered(HELD))
    gate = gate_at(served.url)
    result = gate.check(**QUESTION)
    assert (result.outcome, result.held, result.allowed, bool(result)) == ("HOLD", True, False, False)
    with pytest.raises(ActionDenied, match="held: skill:deploy-v2 -- action needs approval"):
        gate.require(**QUESTION)
    assert not CheckResult(**ALLOWED).held
    assert not CheckResult(**DENIED).held


def test_observe_mode_does_not_turn_a_deny_into_an_allow(served: LoopbackGate) -> None:
    """Under `observe` a DENY is still false, and `require` still raises."""
    served.reply = json_reply(200, answered(DENIED | {"mode": "observe"}))
    assert not gate_at(served.url).check(**QUESTION).allowed
    with pytest.raises(ActionDenied):
        gate_at(served.url).require(**QUESTION)


def test_the_question_on_the_wire(served: LoopbackGate) -> None:
    """The question is an AuthZEN evaluation, the token goes as Bearer, and nothing asked is lost."""
    gate_at(served.url + "/prefix/").check(**QUESTION, environment="staging", context={"ticket": 7})
    [(path, headers, body)] = served.asked
    assert path == "/prefix/access/v1/evaluation"
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Content-Type"] == "application/json"
    assert body == {
        "subject": {"type": "agent", "id": "deploy-bot"},
        "action": {"name": "deploy:staging"},
        "resource": {"type": "target", "id": "api-v2", "properties": {"environment": "staging"}},
        "context": {"ticket": 7},
    }


def test_what_was_not_given_is_not_sent(served: LoopbackGate) -> None:
    """Environment and context are left out, not sent as null."""
    gate_at(served.url).check(**QUESTION)
    [(_, _, body)] = served.asked
    assert set(body) == {"subject", "action", "resource"}
    assert body["resource"] == {"type": "target", "id": "api-v2"}


def test_the_gate_may_fold_the_case_of_an_action(served: LoopbackGate) -> None:
    """`Deploy:Staging` and `deploy:staging` are the same action to the gate, so to the SDK."""
    assert gate_at(served.url).check(action="Deploy:Staging", target="api-v2").action == "deploy:staging"


def test_proxy_variables_are_not_used(served: LoopbackGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control API is never reachable through the proxy, so the SDK goes straight to it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    assert gate_at(served.url).check(**QUESTION).allowed


def test_a_redirect_is_not_followed(served: LoopbackGate) -> None:
    """An ALLOW behind a redirect is not an ALLOW, and the token goes nowhere else."""
    with loopback() as elsewhere:
        answer = (
            f"HTTP/1.1 307 Elsewhere\r\nLocation: {elsewhere.url}/access/v1/evaluation\r\nContent-Length: 0\r\n\r\n"
        )
        served.reply = raw_reply(answer.encode())
        with pytest.raises(GateUnavailable, match="answered 307"):
            gate_at(served.url).check(**QUESTION)
        assert elsewhere.asked == []


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in ALLOWED.items() if key != name}


def framed(body: bytes, *fields: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *fields])
    return head.encode() + b"\r\n\r\n" + body


GOOD_BODY = json.dumps(answered(ALLOWED)).encode()
BAD_ANSWERS = {
    "a key missing": (json_reply(200, answered(without("chron_id"))), 'no usable "chron_id"'),
    "no reason": (json_reply(200, answered(without("reason"))), 'no usable "reason"'),
    "an empty code": (json_reply(200, answered(ALLOWED | {"code": ""})), 'no usable "code"'),
    "outcome in lower case": (json_reply(200, answered(ALLOWED | {"outcome": "allow"})), "outcome other"),
    "outcome with a blank": (json_reply(200, answered(ALLOWED | {"outcome": "ALLOW "})), "outcome other"),
    "outcome as a truth": (json_reply(200, answered(ALLOWED | {"outcome": True})), 'no usable "outcome"'),
    "outcome as a list": (json_reply(200, answered(ALLOWED | {"outcome": ["ALLOW"]})), 'no usable "outcome"'),
    "outcome null": (json_reply(200, answered(ALLOWED | {"outcome": None})), 'no usable "outcome"'),
    "outcome unknown": (json_reply(200, answered(ALLOWED | {"outcome": "MAYBE"})), "outcome other"),
    "mode unknown": (json_reply(200, answered(ALLOWED | {"mode": "off"})), "mode other"),
    "a record id that is none": (json_reply(200, answered(ALLOWED | {"chron_id": "chr_1"})), "no Chron record"),
    "another action": (json_reply(200, answered(ALLOWED | {"action": "deploy:production"})), "another action"),
    "another target": (json_reply(200, answered(ALLOWED | {"target": "api-v3"})), "another target"),
    "another agent": (json_reply(200, answered(ALLOWED | {"agent": "other-bot"})), "another agent"),
    "decision twice": (json_reply(200, b'{"decision": false, ' + GOOD_BODY[1:]), "not JSON"),
    "outcome twice": (json_reply(200, GOOD_BODY.replace(b'{"outcome"', b'{"outcome": "DENY", "outcome"')), "not JSON"),
    "no decision": (json_reply(200, {"context": answered(ALLOWED)["context"]}), 'no usable "decision"'),
    "decision as a text": (json_reply(200, answered(ALLOWED) | {"decision": "true"}), 'no usable "decision"'),
    "decision as a number": (json_reply(200, answered(ALLOWED) | {"decision": 1}), 'no usable "decision"'),
    "a bare decision": (json_reply(200, {"decision": True}), 'no usable "context"'),
    "true and DENY": (json_reply(200, answered(DENIED) | {"decision": True}), "one thing as decision"),
    "false and ALLOW": (json_reply(200, answered(ALLOWED) | {"decision": False}), "one thing as decision"),
    "true and HOLD": (json_reply(200, answered(HELD) | {"decision": True}), "one thing as decision"),
    "an answer of /v1/check": (json_reply(200, ALLOWED), 'no usable "decision"'),
    "a reason that is a text": (
        json_reply(200, {"decision": True, "context": {**ALLOWED, "reason_user": "yes"}}),
        'no usable "reason"',
    ),
    "a list": (json_reply(200, [answered(ALLOWED)]), "not a JSON object"),
    "null": (json_reply(200, None), "not a JSON object"),
    "an empty body": (json_reply(200, b""), "not JSON"),
    "a cut body": (json_reply(200, GOOD_BODY[:-1]), "not JSON"),
    "something behind it": (json_reply(200, GOOD_BODY + b"{}"), "not JSON"),
    "a byte order mark": (json_reply(200, b"\xef\xbb\xbf" + GOOD_BODY), "not JSON"),
    "UTF-16": (json_reply(200, json.dumps(answered(ALLOWED)).encode("utf-16")), "not JSON"),
    "NaN in it": (json_reply(200, GOOD_BODY[:-1] + b', "x": NaN}'), "not JSON"),
    "nested too deep": (json_reply(200, b"[" * 200_000), "not JSON"),
    "a huge number": (json_reply(200, b"9" * 10_000), "not JSON"),
    "a login page": (json_reply(200, b"<html>", "text/html"), "not JSON"),
    "JSON called HTML": (json_reply(200, answered(ALLOWED), "text/html"), "not JSON"),
    "201 with an ALLOW": (json_reply(201, answered(ALLOWED)), "answered 201"),
    "204": (raw_reply(b"HTTP/1.1 204 No Content\r\n\r\n"), "answered 204"),
    "400 with an ALLOW": (json_reply(400, answered(ALLOWED)), "answered 400"),
    "429": (json_reply(429, {"detail": "slow down"}), "answered 429 instead of a decision: slow down"),
    "503": (json_reply(503, {"reason": "audit_unavailable"}), "answered 503 .*: audit_unavailable"),
    "control bytes in the reason": (json_reply(500, {"reason": "a\x1b[2Jb\r\nc"}), r": a \[2Jb  c$"),
    "larger than 1 MiB": (json_reply(200, answered(ALLOWED | {"pad": "x" * 2**20})), "larger than 1 MiB"),
    "larger, in chunks": (
        raw_reply(framed(b"%x\r\n%s\r\n" % (2**20 + 1, b" " * (2**20 + 1)) * 2, "Transfer-Encoding: chunked")),
        "larger than 1 MiB",
    ),
    "shorter than it says": (raw_reply(framed(GOOD_BODY, "Content-Length: 9999")), "ends early"),
    "a cut chunk": (
        raw_reply(framed(b"fff\r\n" + GOOD_BODY, "Transfer-Encoding: chunked")),
        "IncompleteRead",
    ),
    "gzip": (raw_reply(framed(b"\x1f\x8b" + GOOD_BODY, "Content-Encoding: gzip")), "not JSON"),
    "no status line": (raw_reply(GOOD_BODY), "not a well-formed HTTP answer"),
    "nothing": (raw_reply(b""), "no answer"),
    "a garbled status": (raw_reply(b"HTTP/1.1 2OO OK\r\n\r\n" + GOOD_BODY), "not a well-formed HTTP answer"),
    "an endless header": (raw_reply(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000), "not a well-formed HTTP"),
    "a thousand headers": (raw_reply(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000), "not a well-formed HTTP"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_is_no_answer(name: str, served: LoopbackGate) -> None:
    """Whatever is not a well-formed decision on this question raises GateUnavailable and says why."""
    served.reply, message = BAD_ANSWERS[name]
    with pytest.raises(GateUnavailable, match=message):
        gate_at(served.url).check(**QUESTION)
    assert len(served.asked) == 1, "a question is asked once"


@pytest.mark.parametrize("name", ["outcome in lower case", "nothing", "503", "another action"])
async def test_a_bad_answer_is_no_answer_under_asyncio(name: str, served: LoopbackGate) -> None:
    """AsyncGate refuses what Gate refuses."""
    served.reply, message = BAD_ANSWERS[name]
    gate = AsyncGate(agent_id="deploy-bot", token="secret-token", url=served.url)
    with pytest.raises(GateUnavailable, match=message):
        await gate.check(**QUESTION)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named_as_such(status: int, served: LoopbackGate) -> None:
    """401 and 403 raise NotAuthenticated, whose message has the gate's reason and never the token."""
    served.reply = json_reply(status, ALLOWED | {"reason": "agent:deploy-bot -- wrong token"})
    with pytest.raises(NotAuthenticated, match="agent:deploy-bot -- wrong token") as caught:
        gate_at(served.url).check(**QUESTION)
    assert "secret-token" not in str(caught.value)


def test_nobody_listening() -> None:
    """A refused connection raises GateUnavailable and says what to look at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(GateUnavailable, match='connection refused; is "claiim serve" running'):
            gate_at(url).check(**QUESTION)


def test_a_silent_gate(served: LoopbackGate) -> None:
    """A gate that accepts and says nothing is unavailable after `timeout_s`."""
    served.reply = lambda _: served.released.wait(10) and None
    with pytest.raises(GateUnavailable, match="timed out"):
        gate_at(served.url, timeout_s=0.1).check(**QUESTION)


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\n" + b"X" * 200, b" " * 200])
def test_a_dripping_gate(part: bytes, served: LoopbackGate) -> None:
    """One byte at a time does not stretch the deadline, neither in the head nor in the body."""

    def drip(handler: object) -> None:
        if part.isspace():
            handler.wfile.write(framed(b"", "Content-Length: 5000"))  # type: ignore[attr-defined]
        for byte in part:
            if served.released.wait(0.02):
                return
            handler.wfile.write(bytes([byte]))  # type: ignore[attr-defined]

    served.reply = drip
    # Stretched, the question would end when the gate closes, which is another error.
    with pytest.raises(GateUnavailable, match="timed out"):
        gate_at(served.url, timeout_s=0.2).check(**QUESTION)


def test_https_needs_the_right_ca(tmp_path: object) -> None:
    """Over https the certificate is checked against `ca`, or the system's roots without it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"  # type: ignore[operator]
    authority.cert_pem.write_to_path(str(ca))
    with loopback(context) as served:
        assert gate_at(served.url, ca=ca).check(**QUESTION).allowed
        with pytest.raises(GateUnavailable, match="certificate is not trusted"):
            gate_at(served.url).check(**QUESTION)
        with pytest.raises(GateUnavailable, match="certificate is not trusted"):
            gate_at(served.url.replace("127.0.0.1", "localhost"), ca=ca).check(**QUESTION)
        with pytest.raises(GateUnavailable):
            gate_at(served.url.replace("https", "http")).check(**QUESTION)
    assert len(served.asked) == 1


# --- many ----------------------------------------------------------------------------------------------

OTHER = {"action": "deploy:production", "target": "api-v2", "environment": "production"}
DENIED_OTHER = DENIED | {"action": "deploy:production"}


async def test_many_questions_are_one_request(served: LoopbackGate) -> None:
    """The answers come in the order of the questions, whatever they are; nothing is sent for none."""
    served.reply = json_reply(200, {"evaluations": [answered(ALLOWED), answered(DENIED_OTHER)]})
    expected = [CheckResult(**ALLOWED), CheckResult(**DENIED_OTHER)]
    assert gate_at(served.url).check_many([QUESTION, OTHER]) == expected
    assert gate_at(served.url).check_many([]) == []
    gate = AsyncGate(agent_id="deploy-bot", token="secret-token", url=served.url)
    assert await gate.check_many(iter([QUESTION, OTHER])) == expected
    assert await gate.check_many([]) == []
    assert [path for path, _, _ in served.asked] == ["/access/v1/evaluations"] * 2
    assert served.asked[0][2] == {
        "evaluations": [
            {
                "subject": {"type": "agent", "id": "deploy-bot"},
                "action": {"name": "deploy:staging"},
                "resource": {"type": "target", "id": "api-v2"},
            },
            {
                "subject": {"type": "agent", "id": "deploy-bot"},
                "action": {"name": "deploy:production"},
                "resource": {"type": "target", "id": "api-v2", "properties": {"environment": "production"}},
            },
        ]
    }


ERROR = {"decision": False, "context": {"error": {"status": 400, "message": "no\x1baction"}}}
THREE = [answered(ALLOWED), answered(DENIED_OTHER), answered(ALLOWED)]
BAD_BATCHES: dict[str, tuple[object, str]] = {
    "one too few": ({"evaluations": THREE[:1]}, "not one evaluation for each"),
    "one too many": ({"evaluations": THREE}, "not one evaluation"),
    "in another order": ({"evaluations": THREE[1:]}, "another action"),
    "a single answer": (answered(ALLOWED), "not one evaluation"),
    "by number": ({"evaluations": {"0": answered(ALLOWED), "1": answered(ALLOWED)}}, "not one evaluation"),
    "null among them": ({"evaluations": [answered(ALLOWED), None]}, 'no usable "decision"'),
    "no question": ({"evaluations": [answered(ALLOWED), ERROR]}, "did not take this for a question: no action"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_one_bad_answer_spoils_all(name: str, served: LoopbackGate) -> None:
    """Of many questions either all have their answer, or it raises."""
    body, message = BAD_BATCHES[name]
    served.reply = json_reply(200, body)
    with pytest.raises(GateUnavailable, match=message):
        gate_at(served.url).check_many([QUESTION, OTHER])


def test_a_token_of_another_agent_is_named_as_such_in_a_batch_too(served: LoopbackGate) -> None:
    """An evaluation that is answered with 403 raises what a whole answer of 403 raises."""
    refused = {"decision": False, "context": {"error": {"status": 403, "message": "not your agent"}}}
    served.reply = json_reply(200, {"evaluations": [answered(ALLOWED), refused]})
    with pytest.raises(NotAuthenticated, match="not your agent"):
        gate_at(served.url).check_many([QUESTION, OTHER])


def test_many_that_are_no_questions_are_not_asked(served: LoopbackGate) -> None:
    """A misspelt argument, an empty one or more than the gate takes: ValueError, and nothing is sent."""
    gate = gate_at(served.url)
    for questions in ([{**QUESTION, "env": "x"}], [{"action": "deploy:staging"}], [QUESTION] * 101):
        with pytest.raises(ValueError, match=r"give|ask at most 100"):
            gate.check_many(questions)
    assert served.asked == []


QUESTIONS_THAT_ARE_NONE = {
    "no action": {"action": "", "target": "api-v2"},
    "no target": {"action": "deploy:staging", "target": ""},
    "a number as target": {"action": "deploy:staging", "target": 7},
    "a context that is no JSON": {**QUESTION, "context": {"when": object()}},
    "a context with NaN": {**QUESTION, "context": {"when": float("nan")}},
}


@pytest.mark.parametrize("name", QUESTIONS_THAT_ARE_NONE)
def test_a_question_that_is_none_is_not_asked(name: str, served: LoopbackGate) -> None:
    """A mistake in the caller's code raises ValueError before anything is sent."""
    with pytest.raises(ValueError, match=r"give a non-empty string|cannot be written as JSON"):
        gate_at(served.url).check(**QUESTIONS_THAT_ARE_NONE[name])  # type: ignore[arg-type]
    assert served.asked == []


def test_every_failure_is_a_gate_error() -> None:
    """One `except GateError` catches whatever keeps an agent from permission."""
    for kind in (ActionDenied, GateMisconfigured, GateUnavailable, NotAuthenticated):
        assert issubclass(kind, GateError)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["ALLOW", "DENY", "enforce"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ASKED = Asked(agent="deploy-bot", **QUESTION)


@given(status=st.sampled_from([200, 200, 201, 302, 403, 500]), body=st.binary() | ANY_JSON.map(json.dumps))
def test_noise_is_never_an_answer(status: int, body: bytes | str) -> None:
    """No bytes that were not written to be an answer are ever read as one."""
    raw = body.encode() if isinstance(body, str) else body
    with pytest.raises(GateError):
        read_answer(status, "application/json", raw, ASKED)


@given(name=st.sampled_from(sorted(ALLOWED)), value=ANY_JSON)
def test_a_spoiled_field_never_widens_the_answer(name: str, value: object) -> None:
    """With any one field replaced by anything, the answer is refused or still says what the gate said."""
    context = answered(ALLOWED | {name: value})["context"]
    body = json.dumps({"decision": True, "context": context}).encode()
    try:
        result = read_answer(200, "application/json", body, ASKED)
    except GateError:
        return
    assert getattr(result, name) == value
    assert (result.outcome, result.agent, result.target) == (
        value if name == "outcome" else "ALLOW",
        "deploy-bot",
        "api-v2",
    )
