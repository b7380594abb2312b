"""WebSockets to hosts whose calls are messages: each one is decided on and recorded; a denied one goes nowhere."""

import json
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import proxy.concluding
import proxy.upgrades
import proxy.wire.requests
from mappings import Resolution
from support.gate import LiveGate, running
from support.talks import talk_at
from support.targets import Origin
from support.timed import TimedGate

MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [{"host": "origin.test", "pack": "mcp"}, {"host": "api.origin.test", "pack": "graphql"}],
    "rules": [
        {
            "id": f"open-{place[1:]}",
            "match": {"host": host, "method": "GET", "path": place},
            "action": "health:check",
            "target": host,
        }
        for host, place in (("origin.test", "/mcp"), ("*.test", "/graphql"), ("other.test", "/ws"))
    ],
}
SKILLS = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["health:check", "mcp:tools/list", "mcp:initialize", "graphql:query.*"],
        "deny": ["graphql:mutation.*"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS)
    with running(live):
        yield live


def talk(
    gate: LiveGate, origin: Origin, place: str, sent: Sequence[str | bytes], *, compression: str | None = None
) -> tuple[list[Any], tuple[int | None, str]]:
    """Say messages one after the other and hear one for each, until it is closed: what was heard, how it was closed."""
    heard: list[Any] = []
    url = f"wss://{place.replace('/', f':{origin.port}/', 1)}"
    context = ssl.create_default_context(cafile=str(gate.ca))
    with talk_at(url, proxy=gate.proxy(), ssl=context, compression=compression) as socket:
        try:
            for message in sent:
                socket.send(message)
                heard.append(json.loads(socket.hear()))
        except ConnectionClosed as closed:
            return heard, (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "cut")
    return heard, (None, "")


LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
CALL = json.dumps({"jsonrpc": "2.0", "id": "two", "method": "tools/call", "params": {"name": "drop_table"}})
TOLD = json.dumps({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "drop_table"}})


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_each_mcp_message_is_decided_on(gate: LiveGate, origin: Origin, compression: str | None) -> None:
    """Allowed ones arrive; a denied one is answered with a JSON-RPC error, and the connection goes on."""
    heard, _ = talk(gate, origin, "origin.test/mcp", [LIST, CALL, LIST], compression=compression)
    upgrade, first, denied, last = gate.records()
    assert [upgrade["action"], first["action"], last["action"]] == ["health:check", "mcp:tools/list", "mcp:tools/list"]
    assert (denied["outcome"], denied["action"]) == ("DENY", "mcp:tools/call")
    assert denied["reason"] == "skill:deploy-v2 -- action not in allow list"
    assert denied["target"].endswith("#drop_table")
    assert heard[0] == heard[2] == json.loads(LIST)
    error = heard[1]["error"]
    assert (heard[1]["id"], error["code"], error["data"]["chron_id"]) == ("two", -32001, denied["id"])
    assert error["message"].startswith(f"{denied['reason']} [{denied['id']}]")
    assert origin.heard == [LIST, LIST]
    assert (gate.outcome_of(denied)["result"], gate.outcome_of(first)["result"]) == ("blocked", "sent")


CLOSING = {
    "a notification that is denied": (TOLD, "skill:deploy-v2 -- action not in allow list"),
    "bytes": (LIST.encode(), "wire -- the message is not strict JSON of the protocol that this host speaks"),
    "no JSON": ("hello", "wire -- the message is not strict JSON of the protocol that this host speaks"),
    "a name twice": ('{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "method": "tools/call"}', "wire -- "),
    "a batch with a denied call": (f"[{LIST}, {CALL}]", "skill:deploy-v2 -- action not in allow list"),
}


@pytest.mark.parametrize("name", CLOSING)
def test_what_no_error_can_answer_closes_the_connection(gate: LiveGate, origin: Origin, name: str) -> None:
    """1008 with the record and the reason; the message is recorded as refused and the target hears nothing of it."""
    message, reason = CLOSING[name]
    _, (code, said) = talk(gate, origin, "origin.test/mcp", [message])
    denied = gate.records(outcome="DENY")
    assert any(record["reason"].startswith(reason) for record in denied)
    assert code == 1008
    assert said.startswith(denied[-1]["id"])
    assert origin.heard == []


INIT = json.dumps({"type": "connection_init"})


def asked(query: str, kind: str = "subscribe") -> str:
    return json.dumps({"id": "7", "type": kind, "payload": {"query": query}})


@pytest.mark.parametrize("kind", ["subscribe", "start"])
def test_a_graphql_mutation_over_a_websocket_is_denied(gate: LiveGate, origin: Origin, kind: str) -> None:
    """Queries pass, mutations are answered with an error of the protocol; what asks for nothing needs no decision."""
    sent = [INIT, asked("{a}", kind), asked("mutation {deleteAll}", kind), asked("subscription {salaries}", kind)]
    heard, _ = talk(gate, origin, "api.origin.test/graphql", sent)
    upgrade, query, mutation, subscription = gate.records()
    assert (upgrade["action"], query["action"]) == ("health:check", "graphql:query.a")
    assert (mutation["outcome"], mutation["action"]) == ("DENY", "graphql:mutation.deleteall")
    assert (subscription["outcome"], subscription["action"]) == ("DENY", "graphql:subscription.salaries")
    error = heard[2]["payload"][0]
    assert (heard[2]["type"], heard[2]["id"], error["extensions"]["chron_id"]) == ("error", "7", mutation["id"])
    assert origin.heard == sent[:2]


SEVERAL = {
    "a call of MCP": ("/mcp", CALL, "mcp:tools/call", {"jsonrpc": "2.0", "id": "two"}),
    "a mutation": ("/graphql", asked("mutation {pay}"), "graphql:mutation.pay", {"type": "error", "id": "7"}),
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("packs", [["git", "graphql", "mcp"], ["mcp", "graphql"]])
def test_every_pack_of_a_host_counts(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, name: str, packs: list[str]
) -> None:
    """Messages are read by the packs whose calls they are, wherever those stand among the packs of a host."""
    path, sent, action, answered = SEVERAL[name]
    bound = {**MAPPINGS, "bind": [{"host": "origin.test", "pack": packs}]}
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=bound, skills=SKILLS)
    with running(live):
        heard, _ = talk(live, origin, f"origin.test{path}", [INIT, sent])
        _, denied = live.records()
    assert (denied["outcome"], denied["action"]) == ("DENY", action)
    assert answered.items() <= heard[1].items()
    assert origin.heard == [INIT]


BOTH = {
    "it folds case": '{"type": "ping", "Type": "subscribe", "payload": {"query": "mutation {deleteAll}"}, "id": "1"}',
    "it knows JSON-RPC": '{"type": "ping", "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}',
    "it knows JSON-RPC 1.0": '{"type": "ping", "id": 1, "method": "tools/call", "params": {}}',
}


@pytest.mark.parametrize("name", BOTH)
def test_what_another_server_reads_otherwise_goes_nowhere(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, name: str
) -> None:
    """A message that asks for nothing of one reader and for something of another is refused."""
    bound = {**MAPPINGS, "bind": [{"host": "origin.test", "pack": ["graphql", "mcp"]}]}
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=bound, skills=SKILLS)
    with running(live):
        _, (code, _) = talk(live, origin, "origin.test/graphql", [BOTH[name]])
        denied = live.records(outcome="DENY")
    assert (code, [record["code"] for record in denied], origin.heard) == (1008, ["wire.message"], [])


def test_compression_is_not_taken_up_where_messages_are_read(gate: LiveGate, origin: Origin) -> None:
    """The target is not offered it, so no small message unpacks to a large one in the gate; elsewhere it is."""
    talk(gate, origin, "origin.test/mcp", [LIST], compression="deflate")
    talk(gate, origin, "other.test/ws", [LIST], compression="deflate")
    judged, relayed = origin.seen
    assert judged.header("sec-websocket-extensions") is None
    assert "permessage-deflate" in (relayed.header("sec-websocket-extensions") or "")


def test_a_bug_in_judging_a_message_passes_nothing_on(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails, the message is not forwarded and the connection is closed."""

    def planted(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(proxy.wire.requests, "read_message", planted)
    _, (code, _) = talk(gate, origin, "origin.test/mcp", [LIST])
    assert (code, origin.heard) == (1011, [])


@pytest.mark.engines
@pytest.mark.parametrize("said", [None, object()], ids=["nothing", "another type"])
@pytest.mark.parametrize("who", ["read_message", "Requests.judge_message"])
def test_where_nobody_says_that_a_message_is_allowed_it_is_not_passed_on(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch, who: str, said: object
) -> None:
    """The connection is closed as by a failure of ours."""

    async def judged(*_: object, **__: object) -> object:
        return said

    monkeypatch.setattr(f"proxy.wire.requests.{who}", judged if "." in who else lambda *_, **__: said)
    _, (code, _) = talk(gate, origin, "origin.test/mcp", [LIST])
    assert (code, origin.heard) == (1011, [])


@pytest.mark.engines
def test_a_message_of_which_the_engine_is_told_nothing_is_not_passed_on(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither engine passes on by itself what nobody has looked at."""

    async def nothing(*_: object, **__: object) -> None:
        """Look at nothing."""

    monkeypatch.setattr("proxy.mitm.connection.AgentConnection._on_websocket_message", nothing)
    monkeypatch.setattr("proxy.fast.messages._Conversation._from_agent", nothing)
    url = f"wss://origin.test:{origin.port}/mcp"
    context = ssl.create_default_context(cafile=str(gate.ca))
    with talk_at(url, proxy=gate.proxy(), ssl=context) as socket:
        socket.send(LIST)
        socket.ping()  # behind it
    assert origin.heard == []


@pytest.mark.parametrize("said", [None, object()], ids=["nothing", "another type"])
def test_where_it_is_not_said_whether_messages_are_decided_on_none_is_passed_on(
    gate: LiveGate, origin: Origin, monkeypatch: pytest.MonkeyPatch, said: object
) -> None:
    """The upgrade is refused as a failure of ours, and reaches no target."""
    monkeypatch.setattr(proxy.concluding, "judging", lambda _: said)
    with pytest.raises(InvalidStatus) as refused:
        talk(gate, origin, "origin.test/mcp", [CALL])
    assert (refused.value.response.status_code, origin.seen) == (503, [])


@pytest.mark.parametrize(("packs", "refused"), [(None, True), (object(), True), (frozenset(), False)])
def test_where_another_proxy_carries_messages_it_is_to_be_said_that_none_is_decided_on(
    monkeypatch: pytest.MonkeyPatch, packs: object, refused: bool
) -> None:
    """What is said by saying nothing is no permission."""
    monkeypatch.setattr(proxy.upgrades, "judging", lambda _: packs)
    found = proxy.upgrades.uncovered("websocket", Resolution((), None, ""), delegated=True)
    assert (found is not None) is refused


@pytest.mark.engines
def test_messages_come_only_as_fast_as_requests(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Each that is decided on takes one of the agent's rate, as its upgrade has."""
    live = TimedGate(
        tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS,
        limits={"agents": {"deploy-bot": {"requests_per_s": 3}}},
    )  # fmt: skip
    with running(live):
        heard, (code, _) = talk(live, origin, "origin.test/mcp", [LIST, LIST, LIST, TOLD])
        denied = live.records(outcome="DENY")
    assert heard[:2] == [json.loads(LIST)] * 2
    assert (heard[2]["id"], heard[2]["error"]["data"]["chron_id"]) == (1, denied[0]["id"])
    assert ({record["code"] for record in denied}, code) == ({"limit.requests-per-s"}, 1008)
    assert origin.heard == [LIST] * 2


def test_a_message_that_is_too_long_is_not_kept(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Beyond what is read of a body the connection is closed with 1009, before the message has ended."""
    live = LiveGate(
        tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS,
        config={"proxy": {"max_body_bytes": 100_000}},
    )  # fmt: skip
    with running(live):
        _, (code, _) = talk(live, origin, "origin.test/mcp", ["x" * 1_000_000])
    assert (code, origin.heard) == (1009, [])


def test_elsewhere_the_upgrade_is_the_decision(gate: LiveGate, origin: Origin) -> None:
    """On a host that is bound to no such pack messages pass as they are."""
    heard, _ = talk(gate, origin, "other.test/ws", ['{"any": "thing"}'])
    assert heard == [{"any": "thing"}]
    assert [record["action"] for record in gate.records()] == ["health:check"]
