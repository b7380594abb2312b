"""`claiim agent`, `claiim human` and `claiim org` beside a running gate: what they write, say, show and refuse."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import Result

import chron
from policies import Human, token_digest
from support.clients import client_of
from support.gate import TOKEN, LiveGate

ECHO = "https://origin.test/echo"

type Run = Callable[..., Result]
ALICE = "alice@acme.test"
SPIFFE = "spiffe://acme.test/ci/deploy"
LOADED = "the gate has loaded the change"


def done(result: Result) -> Result:
    assert (result.exit_code, LOADED in result.stderr) == (0, True), result.output
    return result


def read(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def human_of(gate: LiveGate, token: str) -> Human | None:
    return gate.service.gate.book.policies.identify_human(token_digest(token), gate.service.gate.now())


def test_a_human_and_the_token_to_approve_with(gate: LiveGate, claiim: Run) -> None:
    """The token stands alone on stdout and proves that human to the gate, and nobody to the proxy."""
    token = done(claiim("human", "add", "bob@acme.test", "--org", "acme", "--name", "Bob")).stdout.strip()
    assert token.startswith("clh_")
    assert token not in (gate.folder / "agents.yaml").read_text()
    bob = human_of(gate, token)
    assert bob is not None
    assert bob.id == "bob@acme.test"
    with client_of(gate, proxy=gate.proxy("deploy-bot", token)) as client, pytest.raises(httpx.ProxyError):
        client.get(ECHO)
    (denied,) = gate.records()
    assert (denied["outcome"], denied["reason"]) == ("DENY", "agent:deploy-bot -- wrong token")
    (added,) = gate.records("human", human="bob@acme.test")
    assert (added["event"], added["org"], added["state"], "name" in added) == ("added", "acme", "active", False)
    assert chron.people(gate.config.chron)["bob@acme.test"] == "Bob"  # beside the log, where it can be erased
    assert added["session"] == gate.service.session


def test_a_humans_token_is_rotated_without_a_gap(gate: LiveGate, claiim: Run) -> None:
    """Old and new count together for a while; without an overlap the old one ends at once."""
    first = done(claiim("human", "add", "bob@acme.test", "--org", "acme")).stdout.strip()
    second = done(claiim("human", "rotate", "bob@acme.test", "--overlap", "1h", "--expires", "30d")).stdout.strip()
    assert human_of(gate, first) == human_of(gate, second) is not None
    shown = read(claiim("human", "show", "bob@acme.test", "--json"))
    assert shown["tokens"] == 2
    ends = [str(end).removeprefix("until ") for end in shown["token_ends"]]  # type: ignore[attr-defined]
    new_end, old_end = (datetime.fromisoformat(end) for end in ends)
    assert timedelta(days=29) < new_end - old_end < timedelta(days=30)
    third = done(claiim("human", "rotate", "bob@acme.test")).stdout.strip()
    assert human_of(gate, third) is not None
    assert human_of(gate, first) is human_of(gate, second) is None
    changes = [(one["tokens_before"], one["tokens_after"], one["tokens_new"]) for one in gate.records(
        "human", event="tokens-changed"
    )]  # fmt: skip
    assert changes == [(1, 2, 1), (2, 1, 1)]


def test_a_human_stops_and_starts_the_agents(gate: LiveGate, claiim: Run, client: httpx.Client) -> None:
    """All agents of a human at once, and the command names them."""
    assert client.get(ECHO).status_code == 200
    stopped = done(claiim("human", "suspend", ALICE))
    assert stopped.stderr.splitlines()[-1] == f"stopped with {ALICE}: deploy-bot, other-bot"
    refused = client.get(ECHO)
    assert (refused.status_code, refused.json()["reason"]) == (403, f"anchor:{ALICE} -- suspended")
    (row,) = json.loads(claiim("human", "list", "--json").stdout)
    assert (row["human"], row["state"], row["agents"]) == (ALICE, "suspended", ["deploy-bot", "other-bot"])
    assert [line.split() for line in claiim("human", "list").stdout.splitlines()] == [
        ["human", "state", "org", "name", "agents", "tokens"],
        [ALICE, "suspended", "acme", "Alice", "2", "0"],
    ]
    done(claiim("human", "resume", ALICE))
    assert client.get(ECHO).status_code == 200
    assert [record["event"] for record in gate.records("human")] == ["added", "suspended", "resumed"]
    outcomes = [record["outcome"] for record in gate.records()]
    assert outcomes == ["ALLOW", "DENY", "ALLOW"]


def test_an_agent_with_an_end_labels_and_proofs(gate: LiveGate, claiim: Run) -> None:
    """What is given is what is shown, and each thing that changes is told."""
    token = done(
        claiim("agent", "add", "ci", "--anchor", ALICE, "--skill", "deploy-v2", "--expires", "30d", "--label",
               "team=web", "--identity", SPIFFE)
    ).stdout.strip()  # fmt: skip
    with client_of(gate, proxy=gate.proxy("ci", token)) as client:
        assert client.get(ECHO).status_code == 200
    shown = read(claiim("agent", "show", "ci", "--json"))
    assert (shown["state"], shown["labels"], shown["identities"]) == ("active", ["team=web"], [SPIFFE])
    end = datetime.fromisoformat(str(shown["expires"]))
    assert timedelta(days=29) < end - datetime.now(UTC) <= timedelta(days=30)
    assert (shown["tokens"], shown["token_ends"]) == (1, ["no end"])
    certificate = f"cert-sha256:{'ab' * 32}"
    done(claiim("agent", "identity", "add", "ci", certificate))
    done(claiim("agent", "identity", "remove", "ci", SPIFFE))
    assert read(claiim("agent", "show", "ci", "--json"))["identities"] == [certificate]
    told = [(one["event"], one.get("added"), one.get("removed")) for one in gate.records("agent", agent="ci")]
    assert told == [
        ("added", None, None), ("identities-changed", certificate, ""), ("identities-changed", "", SPIFFE),
    ]  # fmt: skip
    done(claiim("agent", "resume", "ci", "--expires", "never"))
    assert read(claiim("agent", "show", "ci", "--json"))["expires"] == ""
    assert gate.records("agent", event="expiry-changed")[0]["to_expires"] == ""


def test_an_agent_without_a_token(gate: LiveGate, claiim: Run) -> None:
    """It prints none, and needs another proof."""
    nothing = claiim("agent", "add", "ci", "--anchor", ALICE, "--no-token")
    assert (nothing.exit_code, "--no-token needs --identity" in nothing.stderr) == (2, True)
    added = done(claiim("agent", "add", "ci", "--anchor", ALICE, "--no-token", "--identity", SPIFFE))
    assert added.stdout == ""
    assert gate.service.gate.book.policies.agents["ci"].tokens == ()
    assert gate.service.gate.book.policies.agent_of_identity([SPIFFE]) == "ci"


def test_an_agents_token_is_rotated_without_a_gap(gate: LiveGate, claiim: Run) -> None:
    """Both tokens reach the target while they overlap; the old one has an end."""
    new = done(claiim("agent", "rotate", "deploy-bot", "--overlap", "1h")).stdout.strip()
    for token in (new, TOKEN):
        with client_of(gate, proxy=gate.proxy("deploy-bot", token)) as client:
            assert client.get(ECHO).status_code == 200
    shown = read(claiim("agent", "show", "deploy-bot", "--json"))
    assert [str(end).split(" ")[0] for end in shown["token_ends"]] == ["no", "until"]  # type: ignore[attr-defined]
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "ALLOW"]


def test_what_has_expired_is_shown_as_expired(gate: LiveGate, claiim: Run) -> None:
    """Though "active" is what is written, and resuming without another end says so."""
    text = (gate.folder / "agents.yaml").read_text()
    gate.write("agents.yaml", text.replace("skill: reader-v1", "skill: reader-v1\n  expires: '2026-01-01'"))
    shown = read(claiim("agent", "show", "other-bot", "--json"))
    assert (shown["state"], shown["expires"]) == ("expired", "2026-01-01T00:00:00Z")
    resumed = done(claiim("agent", "resume", "other-bot"))
    assert resumed.stderr.splitlines()[-1] == (
        'agent other-bot has expired all the same; "claiim agent resume other-bot --expires never", or another end'
    )


def test_organisations_and_grants(gate: LiveGate, claiim: Run) -> None:
    """They are written down, granted and taken back, shown, and told in the Chron; one that is suspended stops all."""
    done(claiim("org", "add", "acme", "globex"))
    done(claiim("org", "grant", "acme", "globex", "--agent", "deploy-*", "--action", "deploy:*", "--until", "30d"))
    acme, globex = json.loads(claiim("org", "list", "--json").stdout)
    assert (acme["humans"], acme["agents"], globex["agents"]) == ([ALICE], ["deploy-bot", "other-bot"], [])
    assert acme["grants"][0].startswith("deploy-* in globex: deploy:* until 20")
    assert claiim("org", "list").stdout.splitlines()[1].split() == ["acme", "active", "0", "1", "2", "1"]
    done(claiim("org", "ungrant", "acme", "globex"))
    again = claiim("org", "ungrant", "acme", "globex")
    assert (again.exit_code, '"acme" has no grant into "globex"' in again.stderr) == (78, True)
    done(claiim("org", "suspend", "acme"))
    with client_of(gate) as client:
        answer = client.get(ECHO)
    (denied,) = gate.records()
    assert (denied["outcome"], denied["reason"], denied["code"]) == ("DENY", "org:acme -- suspended", "org.suspended")
    assert (answer.status_code, answer.json()["reason"]) == (403, denied["reason"])
    done(claiim("org", "resume", "acme"))
    events = [(one["event"], one["organisation"]) for one in gate.records("organisation")]
    assert events == [
        ("added", "acme"), ("added", "globex"), ("grant-added", "acme"), ("grant-removed", "acme"),
        ("suspended", "acme"), ("resumed", "acme"),
    ]  # fmt: skip


def test_a_transfer_is_refused_to_whom_cannot_answer(gate: LiveGate, claiim: Run) -> None:
    """Nothing is written, and no gate is asked."""
    before = (gate.folder / "agents.yaml").read_text()
    refused = claiim("agent", "transfer", "deploy-bot", "--to", "bob@acme.test")
    assert (refused.exit_code, refused.stdout) == (78, "")
    assert 'human "bob@acme.test" does not exist; did you mean "alice@acme.test"' in refused.stderr
    assert (gate.folder / "agents.yaml").read_text() == before


WRONG = {
    "no time": (["agent", "rotate", "deploy-bot", "--overlap", "soon"], '"soon" is not a time; write "30d", "24h" or'),
    "gone by": (["agent", "resume", "deploy-bot", "--expires", "2020-01-01"], '"2020-01-01" has passed'),
    "no label": (["agent", "add", "x", "--anchor", ALICE, "--label", "team"], '"team" is not a label; write team=web'),
    "one title": (["org", "add", "a", "b", "--name", "A"], "are about one organisation"),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_usage(gate: LiveGate, claiim: Run, arguments: list[str], expected: str) -> None:
    """Ends with 2 and a remedy, and changes nothing."""
    before = (gate.folder / "agents.yaml").read_text()
    refused = claiim(*arguments)
    assert (refused.exit_code, expected in " ".join(refused.stderr.split())) == (2, True), refused.stderr
    assert (gate.folder / "agents.yaml").read_text() == before


MISSING = {
    "human": (["human", "show", "ghost@x.test"], 'human "ghost@x.test" does not exist; "claiim human list"'),
    "agent": (["agent", "show", "ghost"], 'agent "ghost" does not exist; "claiim agent list"'),
}


@pytest.mark.parametrize(("arguments", "expected"), MISSING.values(), ids=MISSING)
def test_nobody_of_that_name(claiim: Run, arguments: list[str], expected: str) -> None:
    """Ends with 1 and says where the names are."""
    refused = claiim(*arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(expected)


GATED = [
    ["human", "add", "x@y.test", "--org", "y"], ["human", "rotate", ALICE], ["human", "list"],
    ["org", "add", "y"], ["org", "grant", "a", "b"], ["agent", "transfer", "deploy-bot", "--to", ALICE],
    ["agent", "identity", "add", "deploy-bot", SPIFFE],
]  # fmt: skip


@pytest.mark.parametrize("arguments", GATED, ids=[" ".join(each[:2]) for each in GATED])
def test_a_gated_agent_does_not_govern(
    gate: LiveGate, claiim: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Inside "claiim run" each verb is refused in one line, and nothing is touched."""
    before = (gate.folder / "agents.yaml").read_text()
    monkeypatch.setenv("CLAIIM_RUN_ID", "01j")
    refused = claiim(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "a gated agent cannot change what governs it" in refused.stderr
    assert (gate.folder / "agents.yaml").read_text() == before
