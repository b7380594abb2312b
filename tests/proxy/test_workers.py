"""Several gates, one log: real gates and the real `claiim chron serve`, which is killed under them."""

import contextlib
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

import chron
from support.clients import client_of
from support.daemon import Daemon
from support.forked import start
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.serving import claiim, clean_environment
from support.targets import Origin
from support.torture.numbers import SEED, how_many, tell
from support.until import until

KILLS = how_many(4, 300)


class WriterProcess:
    """`claiim chron serve` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.process = start("chron", "serve", folder=self.folder, environ=clean_environment(self.folder))
        assert self.process.stderr is not None
        while "writing " not in (line := self.process.stderr.readline()):
            assert line, "the writer ended"
        self._drain = threading.Thread(target=self.process.stderr.read)
        self._drain.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, number: signal.Signals) -> int:
        """Send the signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._drain.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def gates(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> list[LiveGate]:
    """Two gates with one log; not running yet."""
    shared = {"chron": str(tmp_path / "log" / "chron.db"), "chron_writer": str(tmp_path / "log" / "chron.sock")}
    options: dict[str, Any] = {"target_ca": target_ca_pem, "mappings": ORIGIN_MAPPINGS, "config": shared}
    return [LiveGate(tmp_path / name, origin, **options) for name in ("one", "two")]


def test_two_gates_record_in_one_log(gates, origin):
    """Both forward and refuse; each decision of each stands in one chain with its outcome, under the gate's session."""
    with WriterProcess(gates[0].folder), contextlib.ExitStack() as stack:
        for gate in gates:
            stack.enter_context(gate)
        for gate in gates:
            with client_of(gate) as client:
                assert client.get("https://origin.test/things/1").status_code == 200
                assert client.delete("https://origin.test/things/1").status_code == 403
        sessions = [gate.service.session for gate in gates]
        said = httpx.get(f"{gates[0].api}/readyz").json()
        assert said["status"] == "ok", said
    path = gates[0].config.chron
    decisions = list(chron.find(path, kind="decision"))
    assert [(each.text("session"), each.text("outcome")) for each in decisions] == [
        (session, outcome) for session in sessions for outcome in ("ALLOW", "DENY")
    ]
    outcomes = {each.text("ref"): each.text("result") for each in chron.find(path, kind="outcome")}
    assert [outcomes[each.id] for each in decisions] == ["sent", "blocked"] * 2
    assert chron.verify(path).ok
    assert len(origin.seen) == 2


def test_both_load_the_same_change(gates):
    """The same rules, changed for both: each has them in force, and the log has the new text once."""
    with WriterProcess(gates[0].folder), contextlib.ExitStack() as stack:
        for gate in gates:
            stack.enter_context(gate)
        for gate in gates:
            gate.write("policies/later.yaml", {"skill": "later-v1", "allow": ["health:check"]})
            gate.call(gate.service.reload())
        assert [gate.service.faults() for gate in gates] == [[], []]
    path = gates[0].config.chron
    assert [each.text("text_id") for each in chron.find(path, kind="text")].count("later-v1") == 1
    loaded = [each.text("session") for each in chron.find(path, kind="policy") if each.text("event") == "loaded"]
    assert loaded == [gate.service.session for gate in gates] * 2
    assert chron.verify(path).ok


def test_each_gate_says_what_is_wrong_with_the_writers_anchors_and_segments(tmp_path, origin):
    """Whoever looks at a gate alone hears that the log is not anchored or not sealed."""
    with Daemon(tmp_path / "log") as daemon:
        daemon.beside = {"anchors": "1 must hold a checkpoint (a: no answer yet)", "segments": "no room"}
        shared = {"chron": str(daemon.path), "chron_writer": str(daemon.place)}
        with LiveGate(tmp_path / "gate", origin, config=shared) as gate:
            until(lambda: len(gate.service.faults()) == 2)
            ready = httpx.get(f"{gate.api}/readyz")
    assert "the log's checkpoints are not anchored" in ready.text
    assert "the log could not be sealed or archived" in ready.text


def test_without_a_writer_nothing_is_forwarded_and_with_one_again(gates, origin):
    """The writer stops: 503, the target sees nothing, /readyz says so; it starts: all is well."""
    gate = gates[0]
    with WriterProcess(gate.folder) as writer, gate, client_of(gate) as client:
        assert client.get("https://origin.test/things/1").status_code == 200
        assert writer.end(signal.SIGTERM) == 0
        before = len(origin.seen)
        refused = client.get("https://origin.test/things/2")
        assert (refused.status_code, refused.json()["code"]) == (503, "gate.audit-unavailable")
        assert len(origin.seen) == before
        ready = httpx.get(f"{gate.api}/readyz")
        assert ready.status_code == 503
        assert "decisions cannot be recorded" in ready.text
        with WriterProcess(gate.folder):
            _until_recorded(client)
            assert gate.service.faults() == []
            gate.stop()
    assert chron.verify(gate.config.chron).ok


def test_a_gate_does_not_start_without_its_writer(gates):
    """One line, with what to start; exit 78."""
    done = claiim("serve", cwd=gates[0].folder)
    assert done.returncode == 78
    assert 'start "claiim chron serve"' in done.stderr


def test_the_writer_wants_a_place(tmp_path):
    """`claiim chron serve` without `chron_writer` says what to configure."""
    assert claiim("init", cwd=tmp_path).returncode == 0
    done = claiim("chron", "serve", cwd=tmp_path)
    assert (done.returncode, "chron_writer" in done.stderr) == (78, True)


def test_a_writer_killed_under_load_loses_nothing(gates, origin):
    """kill -9 of the writer at random moments: what reached the target is on record, and so is what was answered."""
    chance, stopping = random.Random(SEED), threading.Event()
    answered: list[str] = []
    path = gates[0].config.chron

    def load(gate: LiveGate, number: int) -> int:
        sent = 0
        with client_of(gate) as client:
            while not stopping.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    answer = client.get(f"https://origin.test/things/{number}-{sent}")
                    sent += 1
                    if answer.status_code == 200 and (id_ := answer.headers.get("x-chron-id")):
                        answered.append(id_)
                    elif answer.status_code == 503:
                        stopping.wait(0.05)  # as a client does that is told to come again; else it takes the cores
        return sent

    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(WriterProcess(gates[0].folder))
        for gate in gates:
            stack.enter_context(gate)
        with ThreadPoolExecutor(4) as pool, contextlib.ExitStack() as loading:
            loading.callback(stopping.set)  # whatever fails here: the load would go on for ever
            loads = [pool.submit(load, gate, number) for number, gate in enumerate(gates * 2)]
            for _ in range(KILLS):
                reached = len(answered) + chance.randrange(1, 30)
                until(lambda reached=reached: len(answered) >= reached)
                assert writer.end(signal.SIGKILL) == -signal.SIGKILL
                writer.__enter__()
        sent = sum(each.result() for each in loads)
        for gate in gates:
            with client_of(gate) as client:
                _until_recorded(client)
    decisions = {each.id: each.text("path") for each in chron.find(path, kind="decision")}
    assert set(answered) <= set(decisions)
    allowed = {each.text("path") for each in chron.find(path, kind="decision", outcome="ALLOW")}
    assert {request.path for request in origin.seen} <= allowed
    found = chron.verify(path)
    assert found.ok, found
    told = {each.text("ref") for each in chron.find(path, kind="outcome")}
    assert set(decisions) <= told
    tell(f"kill -9 of the writer: {KILLS} times, {sent} requests, {len(origin.seen)} forwarded; lost 0, unrecorded 0")


def _until_recorded(client: httpx.Client) -> None:
    """Until a request goes through: the gate finds its writer by itself."""
    until(lambda: client.get("https://origin.test/things/again").status_code == 200)
