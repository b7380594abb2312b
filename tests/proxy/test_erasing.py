"""Erasing over a running gate: two humans, what goes, what stays provable, and what is refused."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from chron import check, find, people, prove, verify
from policies import token_digest
from proxy.cli.main import main
from support.clients import client_of
from support.gate import AGENTS, TOKEN, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

SECRET = "somebody-who-wants-to-be-forgotten"
NAME = "Alice-Example-of-Acme"
PEOPLE = ("alice", "bob")
VERBS = ("approve", "refuse", "removals")

type Run = Callable[..., Result]


class Clock:
    """The gate's clock, which a test can put ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def registry() -> dict[str, Any]:
    found = copy.deepcopy(AGENTS)
    found["agents"] = found["agents"][:1]
    found["humans"] = [
        {
            "id": f"{name}@acme.test",
            "name": NAME if name == "alice" else "Bob",
            "org": "acme",
            "state": "active",
            "tokens": [token_digest(f"clh_token-of-{name}-0123456789")],
        }
        for name in PEOPLE
    ]
    return found


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> LiveGate:
    """A gate whose clock is the test's."""
    made = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        agents=registry(),
        skills={"v1": "skill: deploy-v2\nallow: [data:read]\n"},
    )
    made.service_options["now"] = Clock()
    return made


@pytest.fixture
def erase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `claiim chron erase ...` as somebody, or another verb where one is named."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_HUMAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(gate: LiveGate, who: str, *arguments: str) -> Result:
        token = tmp_path / f"{who}.token"
        token.write_text(f"clh_token-of-{who}-0123456789\n")
        more = ["--token-file", str(token), "--url", gate.api]
        verb, *rest = arguments if arguments and arguments[0] in VERBS else ("erase", *arguments)
        result = CliRunner().invoke(main, ["chron", verb, *rest, *more])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


def read_once(gate: LiveGate, days_ago: int = 3) -> dict[str, Any]:
    """One decision on the wire, so long ago that nothing counts it any more."""
    gate.service_options["now"].ahead = timedelta()
    with client_of(gate) as client:
        client.get(f"https://origin.test/echo/{SECRET}")
    gate.service_options["now"].ahead = timedelta(days=days_ago)
    return gate.records()[-1]


def plain(gate: LiveGate, text: str) -> bool:
    """Whether the text stands anywhere in the log's files."""
    path = gate.config.chron
    return any(text.encode() in file.read_bytes() for file in path.parent.glob(path.name + "*"))


def test_two_humans_erase_a_record(gate: LiveGate, erase: Run) -> None:
    """Nothing goes by one human's word; then the plain text is out of all files, and log and proof still hold."""
    with gate:  # not `running`: its look at the end misses the decision that was erased
        record = read_once(gate)
        gate.service._chron.checkpoint()
        proof = prove(gate.config.chron, record["id"])
        asked = erase(gate, "alice", record["id"], "--basis", "GDPR Art. 17, 2026-114")
        assert asked.exit_code == 8, asked.output
        id_ = asked.stdout.split()[0]
        assert [each["ids"] for each in gate.records("removal")] == [record["id"]]
        assert plain(gate, SECRET)
        mine = erase(gate, "alice", "approve", id_)
        assert (mine.exit_code, mine.stderr) == (1, "you asked for this; another human has to agree\n")
        assert id_ in erase(gate, "bob", "removals").stdout
        done = erase(gate, "bob", "approve", id_)
        assert (done.exit_code, done.stdout) == (0, "2 bodies are gone\n")
        assert not plain(gate, SECRET)
        (said,) = gate.records("erasure")
        names = ("removal", "basis", "requested_by", "approved_by", "first", "last")
        seq = record["seq"]
        wanted = (id_, "GDPR Art. 17, 2026-114", "alice@acme.test", "bob@acme.test", seq, seq + 1)
        assert tuple(said[name] for name in names) == wanted
        assert erase(gate, "bob", "approve", id_).exit_code == 1
        assert erase(gate, "bob", "removals").stdout == ""
        vkey = next(find(gate.config.chron, kind="key")).text("vkey")
        assert proof is not None
        assert SECRET in str(check(proof, vkey).fields["path"])
    found = verify(gate.config.chron)
    assert (found.ok, found.emptied) == (True, 2)
    told = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron)])
    assert "2 of them have no body any more, as the log says" in told.output
    shown = CliRunner().invoke(main, ["chron", "show", record["id"], "--chron", str(gate.config.chron)])
    assert f"erasure {said['id']}" in shown.output


def test_a_request_of_an_older_version_is_done_too(gate: LiveGate, erase: Run) -> None:
    """It has the ids in the field "records", and waits in a log that a newer gate has taken up."""
    with gate:
        record = read_once(gate)
        id_ = "rmv_01kjkb4qqqqqqqqqqqqqqqqqqq"
        asked = {"event": "removal-requested", "removal": id_, "what": "erase", "records": record["id"]}
        gate.service._chron.write("removal", {**asked, "requested_by": "alice@acme.test", "basis": "b"})
        done = erase(gate, "bob", "approve", id_)
        assert (done.exit_code, done.stdout) == (0, "2 bodies are gone\n")
        assert not plain(gate, SECRET)


def test_the_name_of_a_person_is_erased_and_does_not_come_back(gate: LiveGate, erase: Run) -> None:
    """Records never held it; the row goes by two humans' word, and a restart with the same registry keeps it away."""
    with running(gate):
        record = read_once(gate)
        assert people(gate.config.chron)["alice@acme.test"] == NAME
        shown = CliRunner().invoke(main, ["chron", "show", record["id"], "--chron", str(gate.config.chron)])
        assert f"alice@acme.test ({NAME})" in shown.output
        asked = erase(gate, "alice", "--person", "alice@acme.test", "--basis", "GDPR Art. 17")
        assert asked.exit_code == 8, asked.output
        assert erase(gate, "bob", "approve", asked.stdout.split()[0]).exit_code == 0
        assert not plain(gate, NAME)
        (said,) = gate.records("person")
        assert (said["event"], said["human"], said["approved_by"]) == ("erased", "alice@acme.test", "bob@acme.test")
    with running(gate):
        assert not plain(gate, NAME)
        assert people(gate.config.chron) == {"bob@acme.test": "Bob"}
    assert verify(gate.config.chron).emptied == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--basis", "b"), 2, "name records by id, or --seq, or --person"),
        (("chr_01", "--seq", "3-4", "--basis", "b"), 2, "name records by id, or --seq, or --person"),
        (("--seq", "4", "--basis", "b"), 2, "write the first and the last record"),
        (("chr_00000000000000000000000000", "--basis", "b"), 1, "no record"),
        (("--seq", "1-1", "--basis", "b"), 1, "nothing in it can go"),
        (("--seq", "900-901", "--basis", "b"), 1, "there are no records 900 to 901"),
        (("--seq", "1-900000", "--basis", "b"), 1, "more than 100000 records"),
        (("--person", "nobody@acme.test", "--basis", "b"), 1, "no name of nobody@acme.test is kept"),
        (("approve", "rmv_01"), 1, 'nothing waits as "rmv_01"'),
    ],
)
def test_what_cannot_be_erased_is_refused(
    gate: LiveGate, erase: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Each refusal says why, and leaves no request and no erasure."""
    with running(gate):
        gate.service_options["now"].ahead = timedelta(days=3)
        refused = erase(gate, "alice", *arguments)
        assert (refused.exit_code, message in refused.stderr) == (code, True), refused.output
        assert gate.records("removal") == []
        assert gate.records("erasure") == []


def test_what_still_counts_stays(gate: LiveGate, erase: Run) -> None:
    """A record that a restart may need for limits or approvals cannot be erased yet."""
    with running(gate):
        refused = erase(gate, "alice", read_once(gate, days_ago=1)["id"], "--basis", "b")
        assert (refused.exit_code, "still counts for limits and approvals" in refused.stderr) == (1, True)


def test_a_refused_request_is_over(gate: LiveGate, erase: Run) -> None:
    """After a no nobody can say yes any more."""
    with running(gate):
        id_ = erase(gate, "alice", read_once(gate)["id"], "--basis", "b").stdout.split()[0]
        assert erase(gate, "bob", "refuse", id_).exit_code == 0
        assert erase(gate, "bob", "approve", id_).exit_code == 1
        assert [each["event"] for each in gate.records("removal")] == ["removal-requested", "removal-refused"]
        assert plain(gate, SECRET)


def test_only_humans_agree(gate: LiveGate, erase: Run) -> None:
    """An agent's token and the operator's let nothing go."""
    with running(gate):
        id_ = erase(gate, "alice", read_once(gate)["id"], "--basis", "b").stdout.split()[0]
        for token in (TOKEN, gate.config.operator_token.read_text().strip()):
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(f"{gate.api}/v1/removals/{id_}/approve", json={}, headers=headers, trust_env=False)
            assert (answer.status_code, answer.json()["code"]) == (401, "human.unknown")
        assert plain(gate, SECRET)


def test_a_span_is_erased(gate: LiveGate, erase: Run) -> None:
    """Of all records in it those go that may; what the log stands on stays."""
    with gate:
        last = read_once(gate)["seq"] + 1
        id_ = erase(gate, "alice", "--seq", f"1-{last}", "--basis", "b").stdout.split()[0]
        assert erase(gate, "bob", "approve", id_).exit_code == 0
        assert not plain(gate, SECRET)
        (said,) = gate.records("erasure")
        assert (said["first"], said["last"], said["kept"].split(",")[0]) == (1, last, "1")
    found = verify(gate.config.chron)
    assert (found.ok, found.emptied) == (True, 2)
