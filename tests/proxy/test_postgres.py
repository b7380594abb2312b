"""Gates whose log is in PostgreSQL: a chain each, and nothing forwarded while the server is away."""

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, override

import httpx
import pytest
from click.testing import CliRunner, Result

import chron
from chron import ChronError
from chron.doubt import doubts
from chron.sources import Source
from proxy.cli.main import main
from proxy.cli.options import operator_headers
from support.clients import client_of
from support.gate import LiveGate, running
from support.postgres import Database, PostgresServer, mortal
from support.rules import ORIGIN_MAPPINGS
from support.serving import in_thread
from support.targets import Origin
from support.until import until
from support.workers import Workers, workers_site

__all__ = ["mortal"]

THINGS = "https://origin.test/things"


def claiim(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def database(mortal: PostgresServer) -> Database:
    return mortal.database()


@pytest.fixture
def gates(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], LiveGate]:
    """Makes gates in front of the origin, with their log there; not running yet."""
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG", "CLAIIM_CHRON"):
        monkeypatch.delenv(name, raising=False)

    def gate(name: str, log: str) -> LiveGate:
        options: dict[str, Any] = {"target_ca": target_ca_pem, "mappings": ORIGIN_MAPPINGS, "config": {"chron": log}}
        return LiveGate(tmp_path / name, origin, **options)

    return gate


def allow_and_deny(gate: LiveGate) -> str:
    """A call that is let through and one that is not, whose id is returned."""
    with client_of(gate) as client:
        assert client.get("https://origin.test/things/1").status_code == 200
        refused = client.delete("https://origin.test/things/1")
    assert (refused.status_code, refused.json()["code"]) == (403, "skill.denied")
    gate.settle()
    return str(refused.headers["x-chron-id"])


def test_a_gate_records_in_postgresql(
    database: Database, gates: Callable[[str, str], LiveGate], origin: Origin, tmp_path: Path
) -> None:
    """Allowed and denied through the proxy: found, verified, proved and decided again by URL, by a role that reads."""
    gate, log = gates("one", database.url("one")), database.url("one", "auditor")
    with running(gate):
        denied = allow_and_deny(gate)
        assert httpx.get(f"{gate.api}/readyz").json()["status"] == "ok"
        signed = httpx.post(f"{gate.api}/v1/checkpoints", headers=operator_headers(gate.config))
        assert signed.status_code == 200, signed.text
        found = [json.loads(line) for line in claiim("chron", "query", log, "--json").stdout.splitlines()]
        assert [(each["outcome"], each["action"]) for each in found] == [
            ("ALLOW", "data:read"),
            ("DENY", "infra:destroy"),
        ]
        assert found[1]["id"] == denied
        proof = tmp_path / "denied.tlog-proof"
        assert claiim("chron", "prove", denied, "--chron", log, "-o", proof).exit_code == 0
    vkey = claiim("chron", "key", "show", log).stdout.strip()
    proved = claiim("chron", "check", proof, "--key", vkey, "--json")
    assert json.loads(proved.stdout)["record"]["reason"] == found[1]["reason"]
    assert claiim("chron", "verify", log, "--key", vkey).exit_code in (0, 11)
    replayed = claiim("chron", "replay", "--chron", log)
    assert (replayed.exit_code, "2 made again, 0 differ" in replayed.stdout) == (0, True), replayed.output
    assert [request.path for request in origin.seen] == ["/things/1"]


ELSEWHERE = {
    "check": "warning: ",
    "mappings coverage": "2 decisions, 2 with",
    "policy versions": "deploy-v2",
    "policy lint --chron": "untested-skill",
    "policy learn --agent deploy-bot": "1 allowed",
    "policy simulate": "2 decided again: 0 flip",
    "chron replay": "2 made again, 0 differ",
    "chron seal": "chron-1-",
    "chron archive --older-than 0h": "chron-1-",
    "chron segments": "archived",
    "chron verify": "1 segments verify",
}
"""Commands, and what each says about a log with one ALLOW and one DENY."""


def test_other_commands_read_the_log_where_the_configuration_says(
    database: Database, gates: Callable[[str, str], LiveGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks at the past finds it in PostgreSQL as in a file, and so does the control API."""
    gate = gates("one", database.url("one"))
    with running(gate):
        denied = allow_and_deny(gate)
        headers = operator_headers(gate.config)
        found = httpx.get(f"{gate.api}/v1/chron", params={"filter": "outcome=DENY"}, headers=headers).json()
        assert [record["id"] for record in found["records"]] == [denied]
        assert denied in httpx.get(f"{gate.api}/v1/chron/{denied}", headers=headers).text
    monkeypatch.chdir(gate.folder)
    for command, said in ELSEWHERE.items():
        done = claiim(*command.split())
        assert (done.exit_code, said in done.output) == (0, True), (command, done.output)
    elsewhere = claiim("chron", "verify", database.url("one", "auditor"))
    assert (elsewhere.exit_code, 'give its folder with "--segments"' in elsewhere.output) == (10, True)


def test_a_gate_that_starts_again_goes_on_with_its_chain(
    database: Database, gates: Callable[[str, str], LiveGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable as by the configuration: one chain, two runs, the first of which ended in order."""
    log = database.url("again")
    with gates("one", log) as first:
        allow_and_deny(first)
    monkeypatch.setenv("CLAIIM_CHRON", log)
    with gates("one", "unused.db") as second:
        assert second.config.chron == log
        allow_and_deny(second)
    opened = [record for record in chron.find(log, kind="lifecycle") if record.text("event") == "open"]
    assert [(record.text("session"), record.fields["clean"]) for record in opened] == [
        (first.service.session, True),
        (second.service.session, True),
    ]
    assert len(list(chron.find(log, kind="decision"))) == 4
    found = chron.verify(log)
    assert (found.ok, found.fault) == (True, "")


def test_two_gates_have_a_chain_each(database: Database, gates: Callable[[str, str], LiveGate], origin: Origin) -> None:
    """Side by side in one database: each verifies alone, both are found at once, and none gets into the other's."""
    names = ("gate-1", "gate-2")
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(running(gates(name, database.url(name)))) for name in names]
        denied = [allow_and_deny(gate) for gate in both]
        with (
            pytest.raises(ChronError, match="is open in another process by claiim as gate"),
            gates("three", database.url("gate-1")),
        ):
            pass
    found = claiim("chron", "query", database.url(role="auditor"), "outcome=DENY", "--json").stdout.splitlines()
    assert [(each["of_chain"], each["id"]) for each in map(json.loads, found)] == list(zip(names, denied, strict=True))
    assert [claiim("chron", "verify", database.url(name, "auditor")).exit_code for name in names] == [0, 0]
    assert len(origin.seen) == 2


def test_a_gate_does_not_start_without_its_server(gates: Callable[[str, str], LiveGate]) -> None:
    """One line that names the place, exit 78."""
    log = "postgresql://gate@/claiim?host=/nowhere&chain=a"
    done = claiim("serve", "-c", gates("one", log).folder / "claiim.yaml")
    assert (done.exit_code, done.stderr.count("\n")) == (78, 1), done.stderr
    assert done.stderr.startswith(f'cannot use chron "{log}": ')
    assert done.stderr.endswith("see that the server runs and lets this role in\n")


def test_a_server_that_is_killed_stops_everything_until_it_is_back(
    mortal: PostgresServer,
    database: Database,
    gates: Callable[[str, str], LiveGate],
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kill -9 under load: 503, nothing reaches the target unrecorded, /readyz tells; back again, the gate goes on."""
    log = database.url("killed")
    gate = gates("one", log)
    answered: list[str] = []

    def load(number: int) -> httpx.Response:
        with client_of(gate) as client:
            for each in count():
                path = f"/things/{number}-{each}"
                answer = client.get(f"https://origin.test{path}")
                if answer.status_code != 200:
                    return answer
                answered.append(path)
        raise AssertionError  # it counts for ever

    with gate:
        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load, number) for number in range(4)]
            until(lambda: len(answered) >= 40)
            mortal.kill()
            refused = [each.result() for each in loads]
        assert [(each.status_code, each.json()["code"]) for each in refused] == [(503, "gate.audit-unavailable")] * 4
        ready = httpx.get(f"{gate.api}/readyz", headers=operator_headers(gate.config))
        assert ready.status_code == 503
        assert "decisions cannot be recorded; requests are refused" in ready.text
        assert "see that the server runs" in ready.text
        monkeypatch.setenv("CLAIIM_API_LISTEN", str(gate.service.api_address))
        ill = claiim("healthcheck", "-c", gate.folder / "claiim.yaml")
        assert (ill.exit_code, "chron" in ill.output) == (1, True), ill.output
        before = len(origin.seen)
        assert load(5).status_code == 503
        assert len(origin.seen) == before
        mortal.start()
        until(lambda: not gate.service.faults())
        with client_of(gate) as client:
            assert client.get("https://origin.test/things/back").status_code == 200
    decisions = {each.text("path"): each for each in chron.find(log, kind="decision", outcome="ALLOW")}
    reached = {request.path for request in origin.seen}
    assert set(answered) <= reached <= set(decisions)
    outcomes = {each.text("ref"): each.text("result") for each in chron.find(log, kind="outcome")}
    assert {each.id for each in decisions.values()} <= outcomes.keys()
    assert {outcomes[decisions[path].id] for path in decisions.keys() - reached} <= {"blocked"}
    found = chron.verify(log)
    assert (found.ok, found.fault) == (True, "")


class Elsewhere(Workers):
    """A gate whose log is in a database."""

    url: str

    @property
    @override
    def log(self) -> Source:
        return self.url


@pytest.mark.engines("fast")
def test_workers_record_in_postgresql(
    tmp_path: Path, mortal: PostgresServer, database: Database, origin: Origin, target_ca_pem: Path
) -> None:
    """Each worker's decisions stand in one chain; while the server is away each refuses, and then goes on; what a
    worker had under way that is killed is in doubt."""
    url = database.url("one")
    site = workers_site(tmp_path / "site", origin, ca=target_ca_pem, config={"chron": url})
    gate = Elsewhere(site)
    gate.url = url
    with gate, gate.one_client_each(THINGS) as clients:
        for client in clients:
            assert (client.get(THINGS).status_code, client.delete(THINGS).status_code) == (200, 403)
        mortal.kill()
        seen = len(origin.seen)
        for client in clients:
            refused = client.get(THINGS)
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.audit-unavailable")
        assert len(origin.seen) == seen
        mortal.start()
        for client in clients:
            until(lambda client=client: client.get(THINGS).status_code == 200)
        gate.wait_whole()
        seen = len(origin.seen)
        with in_thread(lambda: clients[0].get("https://origin.test/slow")):
            origin.wait_seen(seen + 1)
            (open_,) = gate.records(path="/slow")
            (joined,) = gate.records("lifecycle", event="join", session=open_["session"])
            gate.kill(int(joined["pid"]))
            origin.release()
        until(lambda: [each.id for each in doubts(url) if each.state == "in doubt"] == [open_["id"]])
        gate.wait_whole()
    assert gate.wait_exit() == 0
    assert chron.verify(url).ok
    told = {each.text("ref") for each in chron.find(url, kind="outcome")}
    assert {each.id for each in chron.find(url, kind="decision")} == told
