"""`claiim agent` beside a running gate: what is changed counts at the agent's next request."""

import json
from collections.abc import Callable

import httpx
import pytest
from click.testing import Result

from support.clients import client_of
from support.gate import TOKEN, LiveGate
from support.targets import Origin

ECHO = "https://origin.test/echo"

type Run = Callable[..., Result]


@pytest.fixture
def claiim(claiim: Run) -> Run:
    """Runs `claiim agent ...` for the gate of this test."""
    return lambda *arguments: claiim("agent", *arguments)


def reasons(gate: LiveGate) -> list[str]:
    return [record["reason"] for record in gate.records()]


def test_a_suspension_counts_at_once_and_ends(
    gate: LiveGate, claiim: Run, client: httpx.Client, origin: Origin
) -> None:
    """On a connection that is open: allowed, suspended, allowed again; each on record, the middle one unsent."""
    assert client.get(ECHO).status_code == 200
    done = claiim("suspend", "deploy-bot")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "the gate has loaded the change")
    refused = client.get(ECHO)
    assert (refused.status_code, refused.json()["reason"]) == (403, "agent:deploy-bot -- suspended")
    assert claiim("resume", "deploy-bot").exit_code == 0
    assert client.get(ECHO).status_code == 200
    allowed = "skill:deploy-v2 -- action in allow list"
    assert reasons(gate) == [allowed, "agent:deploy-bot -- suspended", allowed]
    assert len(origin.seen) == 2


def test_a_new_agent_can_act_with_the_token_it_was_given(gate: LiveGate, claiim: Run) -> None:
    """The token stands alone on stdout, works at once, and is in no file and no record."""
    done = claiim("add", "new-bot", "--anchor", "alice@acme.test", "--skill", "deploy-v2")
    token = done.stdout.strip()
    with client_of(gate, proxy=gate.proxy("new-bot", token)) as client:
        assert client.get(ECHO).status_code == 200
    (record,) = gate.records(agent="new-bot")
    assert record["anchor"] == "alice@acme.test"
    gate.settle()
    for path in gate.folder.rglob("*"):
        if path.is_file() and path.suffix != ".db-shm":
            assert token.encode() not in path.read_bytes()


def test_a_rotated_token_ends_the_old_one(gate: LiveGate, claiim: Run) -> None:
    """The new one works, the old one is wrong; with --keep-old both work for a change without a gap."""
    kept = json.loads(claiim("rotate", "deploy-bot", "--keep-old", "--json").stdout)["token"]
    for token in (TOKEN, kept):
        with client_of(gate, proxy=gate.proxy(token=token)) as client:
            assert client.get(ECHO).status_code == 200
    newest = claiim("rotate", "deploy-bot").stdout.strip()
    for token in (TOKEN, kept):
        with client_of(gate, proxy=gate.proxy(token=token)) as client, pytest.raises(httpx.ProxyError, match="407"):
            client.get(ECHO)
    with client_of(gate, proxy=gate.proxy(token=newest)) as client:
        assert client.get(ECHO).status_code == 200
    assert reasons(gate)[2:4] == ["agent:deploy-bot -- wrong token"] * 2


def test_a_revoked_agent_does_not_come_back(gate: LiveGate, claiim: Run, client: httpx.Client) -> None:
    """Its tokens are forgotten, and "resume" does not give them back."""
    assert claiim("revoke", "deploy-bot").exit_code == 0
    with pytest.raises(httpx.ProxyError, match=r"40[37]"):
        client.get(ECHO)
    assert claiim("resume", "deploy-bot").exit_code == 78
    with pytest.raises(httpx.ProxyError, match=r"40[37]"):
        client.get(ECHO)
    assert {record["outcome"] for record in gate.records()} == {"DENY"}


def test_a_change_that_the_gate_refuses_is_said(gate: LiveGate, claiim: Run, client: httpx.Client) -> None:
    """Another file is broken: the registry is written, the gate keeps its rules, and the exit code says so."""
    gate.write("mappings/site.yaml", "version: 1\nrulez: []\n")
    done = claiim("add", "new-bot", "--anchor", "alice@acme.test")
    assert done.exit_code == 78
    assert "the change is written, but the gate keeps its older rules:\n" in done.stderr
    assert 'site.yaml:2:1: unknown key "rulez"; did you mean "rules"' in done.stderr
    assert client.get(ECHO).status_code == 200


def test_what_a_change_takes_away_counts_all_the_same(gate: LiveGate, claiim: Run, client: httpx.Client) -> None:
    """Another file is broken: the agent is stopped at once, and the command says what cannot be loaded."""
    assert client.get(ECHO).status_code == 200
    gate.write("mappings/site.yaml", "version: 1\nrulez: []\n")
    done = claiim("suspend", "deploy-bot")
    assert done.exit_code == 0
    assert "the gate has taken away what the change takes away, and cannot load the rest:\n" in done.stderr
    assert 'site.yaml:2:1: unknown key "rulez"; did you mean "rules"' in done.stderr
    refused = client.get(ECHO)
    assert (refused.status_code, refused.json()["reason"]) == (403, "agent:deploy-bot -- suspended")
    assert gate.records()[-1]["code"] == "agent.suspended"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["suspend", "ghost"], 'agent "ghost"'),
        (["add", "deploy-bot", "--anchor", "alice@acme.test"], '"deploy-bot"'),
        (["add", "x", "--anchor", "nobody@acme.test"], '"nobody@acme.test"'),
        (["add", "x", "--anchor", "alice@acme.test", "--skill", "deploy-v3"], 'did you mean "deploy-v2"'),
        (["add", "../x", "--anchor", "alice@acme.test"], '"../x"'),
    ],
    ids=["unknown", "there already", "no such person", "no such skill", "no name"],
)
def test_what_cannot_be_changed_is_said_and_nothing_is_written(
    gate: LiveGate, claiim: Run, arguments: list[str], said: str
) -> None:
    """One line with what is wrong; no token is shown, and the registry stays byte for byte."""
    before = (gate.folder / "agents.yaml").read_bytes()
    done = claiim(*arguments)
    assert (done.exit_code, done.stdout) == (78, "")
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert (gate.folder / "agents.yaml").read_bytes() == before
