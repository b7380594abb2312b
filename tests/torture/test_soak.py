"""A gate that works for long: what it takes stays what it was, and what it wrote holds, however often it is killed."""

import json
import os
import signal
from pathlib import Path

import pytest
import yaml

import chron
from support.gate import LiveGate
from support.load import run_load
from support.memory import Process
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving, claiim
from support.targets import Origin
from support.torture.numbers import how_many, tell
from support.until import until

MIB = 2**20


@pytest.fixture
def folder(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Path:
    """The files of a gate, to be served by a process of its own."""
    LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    return tmp_path / "gate"


def ca(folder: Path) -> str:
    return str(folder / "state" / "ca.pem")


def reload(serving: Serving, times: int) -> None:
    """Load other rules than are in force: a rule more each time."""
    rules = [*ORIGIN_MAPPINGS["rules"], *(_rule(number) for number in range(times))]
    (serving.folder / "mappings" / "site.yaml").write_text(yaml.safe_dump({"version": 1, "rules": rules}))
    serving.signal(signal.SIGHUP)
    serving.wait_line("reloaded: rules", times)


def _rule(number: int) -> dict[str, object]:
    return {
        "id": f"more-{number}",
        "match": {"host": "origin.test", "path": f"/more-{number}"},
        "action": "data:read",
        "target": "more",
    }


def test_what_a_gate_takes_stays_what_it_was(folder: Path, origin: Origin) -> None:
    """Requests of every kind, connections that come and go, rules that are loaded anew: memory and files are flat."""
    requests, parts = how_many(1_200, 200_000), how_many(3, 20)
    with Serving(folder) as serving:
        process = Process(serving.process.pid)
        wrong: list[str] = []
        sizes: list[int] = []
        run_load(serving.proxy_address, ca(folder), 400)  # what is loaded at first use is loaded
        files = quiet(process)
        for part in range(parts):
            tally = run_load(serving.proxy_address, ca(folder), requests // parts)
            wrong += tally.wrong
            assert tally.lost == 0
            origin.clear()
            reload(serving, part + 1)
            # Not more: an engine that keeps connections to targets has kept some when it was quiet for the first time.
            until(lambda: process.files <= files)
            sizes.append(process.rss_bytes)
    assert wrong == []
    growth = sizes[-1] - sizes[0]
    listed = ", ".join(f"{size / MIB:.0f}" for size in sizes[:: max(1, parts // 10)])
    tell(f"soak: {requests} requests, {parts} reloads; {files} files; memory after each part, MiB: {listed}")
    assert growth < 16 * MIB
    assert claiim("chron", "verify", cwd=folder).returncode in (0, 11)


def quiet(process: Process) -> int:
    """How many files are open once no connection is."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(process.files)
        return len(seen) > 50 and len(set(seen[-50:])) == 1

    until(still)
    return seen[-1]


def test_a_gate_that_is_killed_and_reloaded_under_load_loses_nothing(folder: Path, origin: Origin) -> None:
    """Life after life on one log: each answer has its record, each record its outcome, and the log verifies."""
    lives, parts, requests = how_many((2, 2, 150), (5, 5, 3_000))
    answered = 0
    for life in range(lives):
        with Serving(folder) as serving:
            for part in range(parts):
                tally = run_load(serving.proxy_address, ca(folder), requests)
                assert (tally.wrong, tally.lost) == ([], 0)
                answered += sum(tally.answers.values())
                reload(serving, part + 1)
                assert claiim("chron", "verify", cwd=folder).returncode in (0, 11)
            if life < lives - 1:
                os.kill(serving.process.pid, signal.SIGKILL)
                serving.wait_exit()
    records = list(chron.find(folder / "state" / "chron.db"))
    decisions = {str(each.fields["id"]) for each in records if each.kind == "decision"}
    outcomes = [str(each.fields["ref"]) for each in records if each.kind == "outcome"]
    assert len(decisions) == answered
    assert sorted(outcomes) == sorted(decisions)
    doubtful = sum(each.fields.get("result") == "in_doubt" for each in records if each.kind == "outcome")
    verified = claiim("chron", "verify", "--json", cwd=folder)
    assert verified.returncode in (0, 11), verified.stdout
    assert json.loads(verified.stdout)
    done = lives * parts
    tell(f"soak with kills: {lives} lives, {answered} answers, {done} reloads and verifications, {doubtful} in doubt")
