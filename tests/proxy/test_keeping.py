"""Living with a log that grows, over a running gate: what it does by itself, on command, and when two humans agree."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chron import Known, find, parse_vkey, verify
from chron.segments import Sealed, sealed
from proxy.cli.main import main
from proxy.housekeeping import EVERY_S, FIRST_S
from proxy.replaying import Replay
from support.clients import client_of
from support.gate import TOKEN
from support.targets import Origin
from support.waiting import WaitingGate, human_token

DAY_S = 86_400
NEVER_OLD = "2999-01-01"
"""All that there is is older."""

type Run = Callable[..., Result]


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate whose clock is the test's: it seals every day, and archives after three."""
    config = {"retention": {"seal_days": 1, "archive_days": 3, "least_days": 2}}
    with WaitingGate(tmp_path / "gate", origin, target_ca=target_ca_pem, config=config) as live:
        yield live


@pytest.fixture
def run(gate: WaitingGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `claiim chron ...` beside the gate; `who` is a human whose word it is."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_CHRON", "CLAIIM_HUMAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLAIIM_API_LISTEN", str(gate.service.api_address))

    def invoke(*arguments: str, who: str = "") -> Result:
        more = ["-c", str(gate.folder / "claiim.yaml")]
        if who:
            token = tmp_path / f"{who}.token"
            token.write_text(human_token(who) + "\n")
            more += ["--token-file", str(token)]
        result = CliRunner().invoke(main, ["chron", *arguments, *more])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return invoke


def read(gate: WaitingGate, number: int = 3) -> list[dict[str, Any]]:
    """Decisions on the wire whose outcomes are on disk."""
    with client_of(gate) as client:
        for _ in range(number):
            assert client.get("https://origin.test/echo").status_code == 200
    return gate.records()[-number:]


def after(gate: WaitingGate, seconds: float, since: float = EVERY_S) -> None:
    """Let so much time pass, and the look at the log that then comes, come to its end."""
    gate.clock.wait_timers(since, 1)
    gate.pass_(seconds)
    gate.clock.wait_timers(EVERY_S, 1)


def spans(gate: WaitingGate) -> list[Sealed]:
    return sealed(gate.config.chron)


def folder_of(gate: WaitingGate) -> Path:
    return gate.config.chron.parent / "segments"


def known(gate: WaitingGate) -> Known:
    return Known(parse_vkey(next(find(gate.config.chron, kind="key")).text("vkey")))


def ready(gate: WaitingGate) -> dict[str, Any]:
    found: dict[str, Any] = gate.ask("/readyz", "").json()
    return found


def test_the_gate_seals_and_archives_by_itself(gate: WaitingGate, run: Run) -> None:
    """Soon after its start it looks, and then every hour: a segment when one is due, and later its bodies go into it
    alone. What was decided is found there and decided again, and the log still verifies."""
    decisions = read(gate)
    after(gate, FIRST_S, since=FIRST_S)
    assert spans(gate) == []
    after(gate, DAY_S)
    (one,) = spans(gate)
    assert (one.first, one.state, one.last > decisions[-1]["seq"]) == (1, "live", True)
    file = folder_of(gate) / one.file
    assert verify(file, known=known(gate)).ok
    after(gate, 2 * DAY_S)
    assert [each.state for each in spans(gate)] == ["archived"]
    assert gate.records() == []
    assert [each.id for each in find(file, kind="decision")] == [each["id"] for each in decisions]
    assert [each.differing for each in Replay(file).decisions()] == [()] * len(decisions)
    shown = run("show", decisions[0]["id"])
    assert (shown.exit_code, file.name in shown.output) == (0, True), shown.output
    assert read(gate, 1)[0]["outcome"] == "ALLOW"
    found = verify(gate.config.chron, known=known(gate))
    assert (found.ok, found.missing, found.segments) == (True, (), 1)
    assert ready(gate)["status"] == "ok"


def test_nothing_new_is_not_sealed(gate: WaitingGate, run: Run) -> None:
    """What sealing and archiving write is no reason to seal again, neither by the gate nor on command."""
    read(gate)
    after(gate, 2 * DAY_S, since=FIRST_S)
    assert len(spans(gate)) == 1
    after(gate, 2 * DAY_S)
    assert [each.state for each in spans(gate)] == ["archived"]
    again = run("seal")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "nothing is new since the last segment\n"


def test_the_operator_seals_and_archives(gate: WaitingGate, run: Run) -> None:
    """The commands ask the running gate; a segment that is out of reach is exit 10 and named, a changed one exit 1."""
    decisions = read(gate)
    done = run("seal")
    assert done.exit_code == 0, done.output
    file = Path(done.stdout.strip())
    assert (file.parent, file.name) == (folder_of(gate), spans(gate)[0].file)
    (listed,) = json.loads(run("segments", "--json").stdout)
    assert (listed["bodies"], listed["file"], listed["first"]) == ("live", str(file), 1)
    moved = run("archive", "--older-than", NEVER_OLD)
    assert (moved.exit_code, moved.stdout) == (0, f"{file.name}\n"), moved.output
    (record,) = gate.records("archive")
    assert (record["first"], record["last"], record["segment"]) == (1, listed["last"], file.name)
    assert run("archive", "--older-than", NEVER_OLD).stdout == ""
    assert run("query", "--chron", str(file), "--kind", "decision").stdout.count(decisions[0]["action"]) == 3
    whole = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron)])
    assert (whole.exit_code, "1 segments verify" in whole.output) == (0, True), whole.output
    away = file.rename(file.parent.parent / file.name)
    missing = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron)])
    assert (missing.exit_code, file.name in missing.output) == (10, True), missing.output
    given = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron), "--segments", str(away.parent)])
    assert given.exit_code == 0, given.output
    away.chmod(0o600)
    text = away.read_bytes()
    away.write_bytes(text.replace(b'"outcome":"ALLOW"', b'"outcome":"ALLOV"'))
    changed = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron), "--segments", str(away.parent)])
    assert (changed.exit_code, "its body was changed" in changed.output) == (1, True), changed.output


def test_the_operator_moves_segments_to_another_disk(gate: WaitingGate, run: Run, tmp_path: Path) -> None:
    """The gate does it, tells in the log where they are, and all commands find them there; without the disk nothing."""
    decisions = read(gate)
    run("seal")
    disk = tmp_path / "disk"
    absent = run("archive", "--older-than", NEVER_OLD, "--to", str(disk))
    assert (absent.exit_code, f'there is no folder "{disk}"' in absent.stderr) == (1, True), absent.output
    assert gate.records("archive") == []
    disk.mkdir()
    moved = run("archive", "--older-than", NEVER_OLD, "--to", str(disk))
    assert moved.exit_code == 0, moved.output
    (record,) = gate.records("archive")
    file = disk / moved.stdout.strip()
    assert (record["folder"], record["segment"], list(folder_of(gate).iterdir())) == (str(disk), file.name, [])
    (listed,) = json.loads(run("segments", "--json").stdout)
    assert (listed["bodies"], listed["file"]) == ("archived", str(file))
    assert [each.id for each in find(file, kind="decision")] == [each["id"] for each in decisions]
    whole = CliRunner().invoke(main, ["chron", "verify", str(gate.config.chron)])
    assert (whole.exit_code, "1 segments verify" in whole.output) == (0, True), whole.output
    operator = gate.config.operator_token.read_text().strip()
    body = {"before": "2999-01-01T00:00:00Z", "to": "segments"}
    answer = gate.ask("/v1/archives", operator, method="POST", body=body)
    assert (answer.status_code, "archive.body" in answer.text) == (400, True), answer.text


def test_only_the_operator_seals_and_archives(gate: WaitingGate) -> None:
    """Neither an agent's token, nor a human's, nor none."""
    read(gate)
    for who in (TOKEN, "alice", ""):
        for path, body in (("/v1/segments", {}), ("/v1/archives", {"before": "2999-01-01T00:00:00Z"})):
            answer = gate.ask(path, who, method="POST", body=body)
            assert answer.status_code in (401, 403), (who, path, answer.text)
    assert spans(gate) == []
    assert gate.records("archive") == []


def test_pruning_takes_two_humans_and_time(gate: WaitingGate, run: Run) -> None:
    """Nothing younger than the least is pruned, nothing by one human's word; then bodies and file are gone, the log
    says who wanted it and why, and still verifies with nothing missing."""
    decisions = read(gate)
    after(gate, 3 * DAY_S, since=FIRST_S)
    (one,) = spans(gate)
    file = folder_of(gate) / one.file
    young = run("prune", "--older-than", NEVER_OLD, "--basis", "policy 3", who="alice")
    assert (young.exit_code, "nothing younger than 2 days is pruned" in young.stderr) == (1, True), young.output
    assert gate.records("removal") == []
    after(gate, DAY_S)
    old_enough = (gate.clock.at - timedelta(days=2, minutes=1)).isoformat()
    asked = run("prune", "--older-than", old_enough, "--basis", "policy 3", who="alice")
    assert asked.exit_code == 8, asked.output
    id_ = asked.stdout.split()[0]
    assert id_ in run("removals", who="bob").stdout
    mine = run("approve", id_, who="alice")
    assert (mine.exit_code, mine.stderr) == (1, "you asked for this; another human has to agree\n")
    assert file.exists()
    kept = str(gate.records("archive")[0]["kept"]).split(",")
    done = run("approve", id_, who="bob")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{one.last - len(kept)} bodies are gone\n"
    assert not file.exists()
    record = gate.records("prune")[0]
    names = ("removal", "requested_by", "approved_by", "basis", "first", "last", "segment")
    wanted = (id_, "alice@acme.test", "bob@acme.test", "policy 3", 1, one.last, file.name)
    assert tuple(record[name] for name in names) == wanted
    assert [each["event"] for each in gate.records("removal")] == ["removal-requested", "removal-done"]
    found = verify(gate.config.chron, known=known(gate))
    assert (found.ok, found.missing, found.emptied) == (True, (), one.last - len(kept))
    (listed,) = [each for each in json.loads(run("segments", "--json").stdout) if each["first"] == 1]
    assert (listed["bodies"], listed["file"]) == ("pruned", "removed")
    shown = run("show", decisions[0]["id"])
    assert f"prune {record['id']}" in shown.output, shown.output


def test_a_refused_pruning_removes_nothing(gate: WaitingGate, run: Run) -> None:
    """After a no nobody can say yes any more."""
    read(gate)
    after(gate, 3 * DAY_S, since=FIRST_S)
    asked = run("prune", "--older-than", "1h", "--basis", "policy 3", who="alice")
    assert asked.exit_code == 8, asked.output
    id_ = asked.stdout.split()[0]
    assert run("refuse", id_, "--reason", "not yet", who="bob").exit_code == 0
    assert run("approve", id_, who="carol").exit_code == 1
    assert gate.records("prune") == []
    assert (folder_of(gate) / spans(gate)[0].file).exists()


def test_a_look_that_fails_stops_no_request(gate: WaitingGate) -> None:
    """It is told by /readyz, requests go on, and the next look makes good for it."""
    read(gate)
    folder = folder_of(gate)
    folder.write_text("in the way")
    after(gate, 2 * DAY_S, since=FIRST_S)
    assert ready(gate)["faults"] == {"segments": "the log could not be sealed or archived"}
    assert read(gate, 1)[0]["outcome"] == "ALLOW"
    folder.unlink()
    after(gate, EVERY_S)
    assert [(each.file, each.state) for each in spans(gate)] == [
        (file.name, "live") for file in sorted(folder.iterdir())
    ]
    assert ready(gate)["status"] == "ok"


def test_a_gate_that_stops_in_the_middle_of_a_look_looks_no_more(gate: WaitingGate) -> None:
    """The look comes to its end, and leaves no timer behind."""
    read(gate)
    gate.clock.wait_timers(FIRST_S, 1)
    gate.pass_(2 * DAY_S)
    gate.stop()
    gate.clock.wait_timers(EVERY_S, 0)
    (one,) = spans(gate)
    assert verify(folder_of(gate) / one.file).ok
