"""Reading the Chron over the API: who may see what, and that every look is on record itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chron.errors import ChronError
from proxy.api import records as routes
from support.gate import AGENTS, OTHER_TOKEN, TOKEN, LiveGate, unlisted
from support.waiting import human_token, person

ALICE, BOB, CAROL = map(human_token, ("alice", "bob", "carol"))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[LiveGate]:
    """A gate with an agent of Alice's and one of Bob's, and with a suspended human."""
    humans = [person("alice"), person("bob"), person("carol", state="suspended")]
    deploy, other = AGENTS["agents"]
    agents = {"version": 1, "humans": humans, "agents": [deploy, {**other, "anchor": "bob@acme.test"}]}
    with LiveGate(tmp_path / "gate", agents=agents) as live:
        yield live


@pytest.fixture
def api(gate: LiveGate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def asked(api: httpx.Client) -> None:
    """Two questions of one agent, one of another."""
    for action, token in (("deploy:staging", TOKEN), ("deploy:production", TOKEN), ("data:read", OTHER_TOKEN)):
        body = {"action": action, "target": "api-v2"}
        assert api.post("/v1/check", json=body, headers=bearer(token)).status_code == 200


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def operator(gate: LiveGate) -> str:
    return gate.config.operator_token.read_text().strip()


def query(api: httpx.Client, token: str, **parameters: object) -> httpx.Response:
    return api.get("/v1/chron", params={name: str(value) for name, value in parameters.items()}, headers=bearer(token))


def actions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [record["action"] for record in answer.json()["records"] if record["kind"] == "decision"]


ALL = ["deploy:staging", "deploy:production", "data:read"]
OR_ALL = "x or not x"
"""A filter that holds for every record: if it were put beside the scope as text, it would lift it."""


@pytest.mark.parametrize("text", ["", OR_ALL, "agent=other-bot or agent=deploy-bot or kind=x", 'kind~"*"'])
def test_everybody_sees_their_own(gate: LiveGate, api: httpx.Client, asked: None, text: str) -> None:
    """The operator sees all, an agent itself, a human what they answer for; no filter reaches beyond that."""
    assert actions(query(api, operator(gate), filter=text)) == ALL
    mine = query(api, TOKEN, filter=text)
    assert actions(mine) == ALL[:2]
    assert {record["agent"] for record in mine.json()["records"]} == {"deploy-bot"}
    assert actions(query(api, OTHER_TOKEN, filter=text)) == ALL[2:]
    assert actions(query(api, ALICE, filter=text)) == ALL[:2]
    assert actions(query(api, BOB, filter=text)) == ALL[2:]


def test_counts_do_not_reach_beyond_the_scope_either(gate: LiveGate, api: httpx.Client, asked: None) -> None:
    """Counting tells an agent nothing of others."""
    (mine,) = query(api, TOKEN, group_by="agent").json()["counts"]
    assert (mine["count"], mine["values"]) == (2, {"agent": "deploy-bot"})
    counts = query(api, operator(gate), group_by="agent,outcome", filter=OR_ALL).json()["counts"]
    assert sum(each["count"] for each in counts) == 3


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "agent.no-credentials"),
        (bearer("clm_nobody"), 401, "agent.unknown"),
        (bearer(CAROL), 401, "agent.unknown"),
    ],
    ids=["no token", "nobody's", "a suspended human's"],
)
def test_nobody_else_sees_anything(
    gate: LiveGate, api: httpx.Client, headers: dict[str, str], status: int, code: str
) -> None:
    """Without the token of somebody who may, there is no answer, and no record of one."""
    for path in ("/v1/chron", "/v1/chron/chr_1"):
        answer = api.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert gate.records("access") == []


def test_every_look_is_on_record(gate: LiveGate, api: httpx.Client, asked: None) -> None:
    """Who looked, from where, by which filter, and how many records they were given; secrets in a filter are masked."""
    secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
    (denied,) = query(api, ALICE, filter="outcome=DENY").json()["records"]
    query(api, TOKEN, filter=f"path={secret}", group_by="host")
    api.get(f"/v1/chron/{denied['id']}", headers=bearer(operator(gate)))
    api.get(f"/v1/chron/{denied['id']}", headers=bearer(OTHER_TOKEN))
    names = ("event", "reader", "by", "agent", "filter", "grouped", "record", "records", "client")
    assert [tuple(record.get(name) for name in names) for record in gate.records("access")] == [
        ("query", "human", "alice@acme.test", None, "outcome=DENY", None, None, 1, "127.0.0.1"),
        ("query", "agent", None, "deploy-bot", "path=[redacted]", "host", None, 0, "127.0.0.1"),
        ("show", "operator", None, None, None, None, denied["id"], 1, "127.0.0.1"),
        ("show", "agent", None, "other-bot", None, None, denied["id"], 0, "127.0.0.1"),
    ]
    assert len(query(api, operator(gate), filter="kind=access").json()["records"]) == 4


def test_what_cannot_be_recorded_is_not_shown(
    gate: LiveGate, api: httpx.Client, asked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk hides the log from readers as well: 503, and not a record in the answer."""

    (record, *_) = gate.records()

    def full(*_: object) -> None:
        raise ChronError("cannot record: disk full; free some space")

    monkeypatch.setattr(gate.service._chron, "append", full)
    for path in ("/v1/chron", f"/v1/chron/{record['id']}"):
        answer = api.get(path, headers=bearer(TOKEN))
        assert (answer.status_code, answer.json()["code"]) == (503, "gate.audit-unavailable")
        assert "deploy" not in answer.text


def test_a_human_is_shown_what_they_answer_for(gate: LiveGate, api: httpx.Client, asked: None) -> None:
    """One record by its id, for its anchor; another's looks like none."""
    record = gate.records()[0]["id"]
    assert api.get(f"/v1/chron/{record}", headers=bearer(ALICE)).json()["agent"] == "deploy-bot"
    others = api.get(f"/v1/chron/{record}", headers=bearer(BOB))
    assert (others.status_code, others.json()["code"]) == (404, "chron.unknown")


def test_pages(gate: LiveGate, api: httpx.Client, asked: None) -> None:
    """The newest first page by page, each in the order of the log; what is asked meanwhile moves no page."""
    first = query(api, operator(gate), limit=2)
    assert actions(first) == ALL[1:]
    api.post("/v1/check", json={"action": "pr:merge"}, headers=bearer(TOKEN))
    second = query(api, operator(gate), limit=2, cursor=first.json()["cursor"])
    assert (actions(second), second.json()["cursor"]) == (ALL[:1], None)


WRONG = {
    "filter": ({"filter": "agnt=x"}, 'filter:1:1: there is no field "agnt"; did you mean "agent"?'),
    "limit": ({"limit": "0"}, 'limit "0" is not a number from 1 to 1000; write limit=100'),
    "much": ({"limit": "1001"}, 'limit "1001" is not a number from 1 to 1000; write limit=100'),
    "digits": ({"limit": "١"}, 'limit "١" is not a number from 1 to 1000; write limit=100'),
    "cursor": ({"cursor": "x"}, 'cursor "x" is not a number from 1 to 9007199254740992; write cursor=100'),
    "group": ({"group_by": "agent;"}, 'there is no field "agent;"; did you mean "agent"?'),
    "groups": ({"group_by": "agent,host,code,org,path"}, "records are counted by 1 to 4 fields; name fewer"),
    "sql": ({"sql": "SELECT 1"}, 'there is no parameter "sql"; these are cursor, filter, group_by, limit'),
}


@pytest.mark.parametrize(("parameters", "reason"), WRONG.values(), ids=WRONG)
def test_a_question_that_is_none_is_refused(
    gate: LiveGate, api: httpx.Client, parameters: dict[str, object], reason: str
) -> None:
    """400 with what is wrong and the remedy; nothing is guessed, and there is no SQL over the wire."""
    answer = query(api, operator(gate), **parameters)
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (400, "chron.filter", reason)


def test_twice_is_not_guessed(gate: LiveGate, api: httpx.Client) -> None:
    """Of two filters neither is taken."""
    answer = api.get("/v1/chron?filter=x&filter=y", headers=bearer(TOKEN))
    assert (answer.status_code, answer.json()["reason"]) == (400, "a parameter is given twice; give each once")
    assert api.get("/v1/chron?filter=%FF", headers=bearer(TOKEN)).status_code in (200, 400)
    assert api.get("/v1/chron/%FF", headers=bearer(TOKEN)).status_code == 404


async def test_a_reader_asks_one_question_at_a_time(
    gate: LiveGate, api: httpx.Client, asked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one is 429 while the first is looked up; another reader is answered meanwhile."""
    import threading

    begun, go = threading.Event(), threading.Event()
    page = routes.page

    def slow(*args: Any, **options: Any) -> object:
        begun.set()
        go.wait(30)
        return page(*args, **options)

    monkeypatch.setattr(routes, "page", slow)
    first = asyncio.create_task(asyncio.to_thread(query, api, TOKEN))
    await asyncio.to_thread(begun.wait, 30)
    monkeypatch.setattr(routes, "page", page)
    second = await asyncio.to_thread(query, api, TOKEN)
    other = await asyncio.to_thread(query, api, OTHER_TOKEN)
    go.set()
    assert (second.status_code, second.json()["code"]) == (429, "chron.busy")
    assert (other.status_code, (await first).status_code) == (200, 200)


def test_a_slow_question_is_given_up(gate: LiveGate, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that takes too long ends, with what to do about it."""
    monkeypatch.setattr(routes, "MOST_S", 1e-9)
    monkeypatch.setattr("chron.reading._STEPS_PER_LOOK", 1)
    answer = query(api, operator(gate))
    assert (answer.status_code, answer.json()["code"]) == (400, "chron.filter")
    assert answer.json()["reason"] == "the answer takes longer than 1e-09 s; ask for less, by since= or agent="


def test_every_name_that_a_gate_writes_is_in_the_list(gate: LiveGate, api: httpx.Client, asked: None) -> None:
    """The list of fields knows what records have, also those of a look at the log, so that a filter can name it."""
    query(api, TOKEN, filter="x", group_by="agent")
    gate.settle()
    assert unlisted(gate.config.chron) == set()
