"""Exceptions: two humans, one agent, one action, one target, an hour at most; named in every record made under one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.approvals import ApprovalError
from proxy.breakglass import AgentException, Stand, fields_of, from_records, grants
from support.clients import client_of
from support.gate import TOKEN
from support.targets import Origin
from support.waiting import WaitingGate, registry, waiting_gate

SKILLS = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["data:read"],
        "deny": [{"action": "infra:destroy", "overridable": "break-glass"}, "data:write"],
    }
}
SCOPE: dict[str, Any] = {
    "agent": "deploy-bot",
    "action": "infra:destroy",
    "target": "origin.test/db-*",
    "minutes": 20,
    "reason": "INC-12: disk full",
}
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate whose agent may destroy nothing, unless two humans say so."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, skills=SKILLS) as live:
        yield live


def asked(gate: WaitingGate, who: str = "bob", **changed: Any) -> httpx.Response:
    return gate.ask("/v1/exceptions", who, method="POST", body={**SCOPE, **changed})


def say(gate: WaitingGate, name: str, verb: str, who: str) -> httpx.Response:
    return gate.ask(f"/v1/exceptions/{name}/{verb}", who, method="POST", body={})


def granted(gate: WaitingGate, **changed: Any) -> str:
    """The name of an exception that bob asked for and carol approved."""
    name = str(asked(gate, **changed).json()["exception"])
    assert say(gate, name, "approve", "carol").json()["state"] == "active"
    return name


def destroy(gate: WaitingGate, path: str = "/db-7", method: str = "DELETE") -> int:
    with client_of(gate) as client:
        return client.request(method, f"https://origin.test{path}").status_code


def test_two_humans_let_it_through_and_the_record_names_it(gate: WaitingGate, origin: Origin) -> None:
    """Denied before; after the second yes it goes through, and record and exception name each other."""
    assert destroy(gate) == 403
    name = str(asked(gate).json()["exception"])
    assert destroy(gate) == 403
    say(gate, name, "approve", "carol")
    assert destroy(gate) == 200
    assert [seen.method for seen in origin.seen] == ["DELETE"]
    record = gate.records()[-1]
    assert (record["outcome"], record["code"], record["exception"]) == ("ALLOW", "exception.granted", name)
    assert record["reason"] == f"exception:{name} -- bob@acme.test and carol@acme.test let it through"
    requested, made = gate.records("exception")
    assert (requested["event"], requested["by"], requested["reason"]) == (
        "requested", "bob@acme.test", "INC-12: disk full",
    )  # fmt: skip
    assert (made["event"], made["by"], made["requested_by"]) == ("granted", "carol@acme.test", "bob@acme.test")


OUTSIDE = {
    "another target": ("/web-1", "DELETE"),
    "an action that is never lifted": ("/db-7", "POST"),
}


@pytest.mark.parametrize(("path", "method"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_outside_stays_denied(gate: WaitingGate, origin: Origin, path: str, method: str) -> None:
    """It is for this agent, action and target, and lifts only what was marked for it."""
    granted(gate)
    granted(gate, action="data:write")
    assert destroy(gate, path, method) == 403
    assert origin.connections == 0
    assert "exception" not in gate.records()[-1]


def test_another_agent_gets_nothing(gate: WaitingGate, origin: Origin) -> None:
    """It is for one agent."""
    granted(gate)
    with client_of(gate, proxy=gate.proxy("other-bot", TOKEN[::-1])) as client:
        assert client.delete("https://origin.test/db-7").status_code == 403


def test_an_agent_that_asks_first_hears_of_it(gate: WaitingGate) -> None:
    """The check is answered by the same exceptions as the wire."""
    name = granted(gate)
    question = {"action": "infra:destroy", "target": "origin.test/db-7"}
    said = gate.ask("/v1/check", TOKEN, method="POST", body=question).json()
    assert (said["outcome"], said["code"]) == ("ALLOW", "exception.granted")
    assert gate.records()[-1]["exception"] == name


def test_it_ends_by_itself(gate: WaitingGate, origin: Origin) -> None:
    """At its minute it is over, by the gate's clock, and its end is on record."""
    granted(gate)
    gate.pass_(20 * 60 - 1)
    assert destroy(gate) == 200
    gate.pass_(1)
    assert destroy(gate) == 403
    assert [(record["event"], record["by"]) for record in gate.records("exception")][-1] == ("ended", "time")


def test_a_human_ends_it_early(gate: WaitingGate, origin: Origin) -> None:
    """From then on it is denied, also after a restart in the same hour."""
    name = granted(gate)
    assert say(gate, name, "end", "alice").json()["state"] == "ended"
    assert destroy(gate) == 403
    assert say(gate, name, "end", "alice").json()["code"] == "exception.ended"
    assert say(gate, name, "approve", "alice").json()["code"] == "exception.ended"


def test_one_human_is_not_two(gate: WaitingGate, origin: Origin) -> None:
    """Who asked for it cannot approve it; the human who answers for the agent may be the second."""
    name = str(asked(gate).json()["exception"])
    own = say(gate, name, "approve", "bob")
    assert (own.status_code, own.json()["code"]) == (409, "exception.second-human")
    assert destroy(gate) == 403
    assert say(gate, name, "approve", "alice").status_code == 200


def test_only_humans_who_have_a_say_take_part(gate: WaitingGate) -> None:
    """Not those of another organisation, not the agent, not the operator."""
    name = str(asked(gate).json()["exception"])
    assert say(gate, name, "approve", "dave").json()["code"] == "exception.not-eligible"
    assert asked(gate, "dave").json()["code"] == "exception.not-eligible"
    assert gate.ask("/v1/exceptions", "dave").json() == {"exceptions": []}
    operator = gate.config.operator_token.read_text().strip()
    for token in (TOKEN, operator, "nobody"):
        assert asked(gate, token).json()["code"] == "human.unknown"
        assert say(gate, name, "approve", token).json()["code"] == "human.unknown"
    assert [one["exception"] for one in gate.ask("/v1/exceptions", operator).json()["exceptions"]] == [name]


def test_it_counts_while_both_humans_do(gate: WaitingGate, origin: Origin) -> None:
    """When one of the two is suspended it lifts nothing any more."""
    granted(gate)
    gate.write("agents.yaml", registry(bob={"state": "suspended"}))
    gate.reload()
    assert destroy(gate) == 403
    assert origin.connections == 0


def test_a_request_that_nobody_approves_lapses(gate: WaitingGate) -> None:
    """After an hour it cannot be approved any more."""
    name = str(asked(gate).json()["exception"])
    gate.pass_(3600)
    assert say(gate, name, "approve", "carol").json()["code"] == "exception.lapsed"


def test_a_restart_keeps_it(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Granted before, it is in force after; ended before, it is not."""
    folder = tmp_path / "gate"
    with waiting_gate(folder, origin, target_ca=target_ca_pem, skills=SKILLS) as gate:
        kept, ended = granted(gate), granted(gate, target="origin.test/*")
        say(gate, ended, "end", "bob")
    with waiting_gate(folder, origin, target_ca=target_ca_pem, skills=SKILLS) as gate:
        assert destroy(gate) == 200
        assert gate.records()[-1]["exception"] == kept
        assert destroy(gate, "/web-1") == 403


BAD = {
    "more than an hour": ({"minutes": 61}, 400, "exception.body"),
    "no time": ({"minutes": 0}, 400, "exception.body"),
    "no reason": ({"reason": "  "}, 400, "exception.body"),
    "no target": ({"target": ""}, 400, "exception.body"),
    "no action": ({"action": "a b"}, 400, "exception.scope"),
    "everything": ({"action": "**"}, 400, "exception.scope"),
    "an unknown agent": ({"agent": "ghost"}, 404, "exception.agent"),
    "an unknown key": ({"force": True}, 400, "exception.body"),
}


@pytest.mark.parametrize(("changed", "status", "code"), BAD.values(), ids=BAD)
def test_what_cannot_be_asked_for(gate: WaitingGate, changed: dict[str, Any], status: int, code: str) -> None:
    """Refused with a code, and nothing is recorded."""
    answer = asked(gate, **changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert gate.records("exception") == []


minutes = st.integers(0, 200).map(lambda number: timedelta(minutes=number))


@given(st.sampled_from(["bob", "carol"]), minutes, minutes, st.integers(1, 60))
def test_it_is_never_in_force_too_long_or_by_one_human(
    second: str, waited: timedelta, later: timedelta, lasts: int
) -> None:
    """Whenever it is approved and looked at: active only by two humans, within its minutes, and read back the same."""
    one = AgentException("bgl_1", "bot", "infra:destroy", "db-*", lasts, "why", "bob", NOON)
    try:
        made = one.granted(second, NOON + waited)
    except ApprovalError:
        assert second == "bob" or waited >= timedelta(hours=1)
        return
    at = NOON + waited + later
    assert second != "bob"
    assert (made.stand(at) is Stand.ACTIVE) is (later < timedelta(minutes=lasts))
    written = [
        {name: value for name, value in fields_of(event, each).items() if value is not None}
        for event, each in (("requested", one), ("granted", made))
    ]
    assert from_records(written) == {"bgl_1": made}
    assert grants(written) == {"bgl_1": made.grant}
    assert made.grant.by == ("bob", second)
