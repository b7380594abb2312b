"""`claiim approvals` and `claiim exception` beside a running gate: people say yes and no, by tokens of their own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.clients import client_of
from support.gate import TOKEN
from support.targets import Origin
from support.waiting import WaitingGate, human_token, waiting_gate

type Run = Callable[..., Result]


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate that answers 202 at once, with one request waiting."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem, approvals={"wait_s": 0}) as live:
        assert write(live) == 202
        yield live


def write(gate: WaitingGate) -> int:
    with client_of(gate) as client:
        return client.post("https://origin.test/things", content=b"one").status_code


@pytest.fixture
def claiim(gate: WaitingGate, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `claiim ...` as a person, for the gate of this test."""
    monkeypatch.setenv("CLAIIM_API_LISTEN", str(gate.service.api_address))
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_HUMAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, who: str = "bob") -> Result:
        token = human_token(who) if len(who) < 10 else who
        file = gate.write("token", f"{token}\n")
        more = ("--token-file", str(file), "-c", str(gate.folder / "claiim.yaml"))
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def test_a_person_lists_shows_and_approves(gate: WaitingGate, claiim: Run, origin: Origin) -> None:
    """What is approved is shown first; then the request goes on, and the Chron names person and reason."""
    (shown,) = gate.pending()
    listed = claiim("approvals", "list").stdout.splitlines()
    assert listed[1].split()[:3] == [shown["approval"], "pending", "deploy-bot"]
    assert shown["fingerprint"] in claiim("approvals", "show", shown["approval"]).stdout
    done = claiim("approvals", "approve", shown["approval"], "--yes", "--reason", "window")
    assert done.exit_code == 0
    assert "POST https://origin.test/things" in done.stderr
    assert done.stderr.splitlines()[-1] == f"{shown['approval']}: approved"
    assert write(gate) == 200
    (approved,) = gate.records("approval", event="approved")
    assert (approved["by"], approved["reason"]) == ("bob@acme.test", "window")
    assert claiim("approvals", "list").stderr == "nothing waits for approval\n"
    assert json.loads(claiim("approvals", "list", "--all", "--json").stdout)[0]["state"] == "used"


def test_a_person_denies(gate: WaitingGate, claiim: Run, origin: Origin) -> None:
    """The agent is refused from then on."""
    (shown,) = gate.pending()
    done = claiim("approvals", "deny", shown["approval"], "--reason", "no")
    assert (done.exit_code, done.stderr) == (0, f"{shown['approval']}: refused\n")
    assert write(gate) == 403
    assert origin.connections == 0


def test_nothing_is_approved_unseen(gate: WaitingGate, claiim: Run) -> None:
    """Without a terminal to ask at, the fingerprint or --yes must be given; another fingerprint approves nothing."""
    name = gate.pending()[0]["approval"]
    unseen = claiim("approvals", "approve", name)
    assert (unseen.exit_code, unseen.stderr.splitlines()[-1]) == (
        2, "this would approve what nobody has looked at; give --fingerprint, or --yes",
    )  # fmt: skip
    other = claiim("approvals", "approve", name, "--fingerprint", "0" * 64)
    assert (other.exit_code, other.stderr.splitlines()[-1]) == (
        1, "that is the fingerprint of another request; look again",
    )  # fmt: skip
    assert len(gate.pending()) == 1


REFUSED = {
    "an agent's token": (TOKEN, 4, "no active human has this token"),
    "a token of nobody": ("clh_nobody-at-all", 4, "no active human has this token"),
}


@pytest.mark.parametrize(("who", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_only_people_decide(gate: WaitingGate, claiim: Run, who: str, code: int, said: str) -> None:
    """Exit code 4, and nothing is decided."""
    done = claiim("approvals", "deny", gate.pending()[0]["approval"], who=who)
    assert (done.exit_code, done.stderr.strip()) == (code, said)
    assert gate.events() == ["requested"]


def test_without_a_token_nobody_is_asked(gate: WaitingGate, claiim: Run) -> None:
    """No token file, none that can be read, an empty one: exit code 4 and the remedy."""
    config = ["-c", str(gate.folder / "claiim.yaml")]
    none = CliRunner().invoke(main, ["approvals", "list", *config])
    assert (none.exit_code, none.stderr) == (
        4, "whose word is it? give --token-file, or set CLAIIM_HUMAN_TOKEN_FILE\n",
    )  # fmt: skip
    missing = str(gate.folder / "none")
    unread = CliRunner().invoke(main, ["approvals", "list", "--token-file", missing, *config])
    assert (unread.exit_code, unread.stderr) == (
        4, f"{missing}: cannot read: no such file or directory; give --token-file\n",
    )  # fmt: skip
    assert claiim("approvals", "list", who=" " * 12).exit_code == 4


def test_an_unknown_approval_ends_with_1(gate: WaitingGate, claiim: Run) -> None:
    """And a name that is a path of its own stays one part of the path."""
    for name in ("apr_none", "../chron/x", "a/approve"):
        done = claiim("approvals", "show", name)
        assert (done.exit_code, done.stderr) == (1, f'there is no approval "{name}"\n')


def test_where_no_gate_answers_it_ends_with_69(claiim: Run) -> None:
    """And says what to do."""
    done = claiim("approvals", "list", "--url", "http://127.0.0.1:1")
    assert (done.exit_code, done.stderr) == (
        69, 'no gate answers at http://127.0.0.1:1; start it with "claiim serve"\n',
    )  # fmt: skip


@pytest.mark.parametrize("group", ["approvals", "exception"])
def test_a_gated_agent_is_sent_away(claiim: Run, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """Inside `claiim run` nobody approves anything."""
    monkeypatch.setenv("CLAIIM_RUN_ID", "x")
    assert claiim(group, "list").exit_code == 2


def test_two_people_make_an_exception(gate: WaitingGate, claiim: Run) -> None:
    """Asked for by one, approved by another, listed, ended; the one who asked cannot approve."""
    scope = ("--agent", "deploy-bot", "--action", "infra:destroy", "--target", "db-*", "--minutes", "20")
    asked = claiim("exception", "request", *scope, "--reason", "INC-12")
    name = asked.stdout.strip()
    assert (asked.exit_code, asked.stderr) == (
        0, f"somebody else has to approve it: claiim exception approve {name}\n",
    )  # fmt: skip
    own = claiim("exception", "approve", name)
    assert (own.exit_code, own.stderr) == (1, "bob@acme.test asked for it; somebody else has to approve it\n")
    done = claiim("exception", "approve", name, who="carol")
    assert done.stderr.startswith(f"{name}: active until ")
    assert claiim("exception", "list").stdout.splitlines()[1].split()[:2] == [name, "active"]
    assert claiim("exception", "end", name).stderr.startswith(f"{name}: ended")
    assert [record["event"] for record in gate.records("exception")] == ["requested", "granted", "ended"]
