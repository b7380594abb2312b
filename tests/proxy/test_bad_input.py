"""Bad input at the start, on reload and while running: one line for each fault, and nothing is forwarded or lost.

Each row prepares one defect in a folder from which the gate would start, and says with which line it does not.
"""

import asyncio
import datetime
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

import chron
from chron import Chron
from proxy.ca import create_authority
from proxy.cli.main import main
from proxy.configloading import ENGINE, load_config
from proxy.serve import Service
from support.clients import client_of
from support.gate import AGENTS, SKILLS, TOKEN, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving, clean_environment
from support.targets import Origin

ECHO = "https://origin.test/echo"


class Site:
    """A folder from which a gate starts, and the means to spoil it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        LiveGate(folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def configure(self, **settings: Any) -> None:
        config = yaml.safe_load((self / "claiim.yaml").read_text())
        (self / "claiim.yaml").write_text(yaml.safe_dump({**config, **settings}))

    def start(self) -> None:
        """Let a gate run once, so that there are a CA and a Chron."""

        async def once() -> None:
            async with Service(load_config(self / "claiim.yaml", environ={})):
                pass

        asyncio.run(once())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in [name for name in os.environ if name.startswith("CLAIIM_") and name != ENGINE]:
        monkeypatch.delenv(name)
    return Site(tmp_path / "site")


def claiim(site: Site, *arguments: str) -> Result:
    result = CliRunner().invoke(main, [*arguments, "-c", str(site / "claiim.yaml")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


# --- rules that cannot be used -------------------------------------------------------------------------

Spoil = Callable[[Site], object]

CHANGED = 'skill "deploy-v2" version 1 changed since it was first loaded; bump the version'
CHANGED_SKILL = {**SKILLS["deploy-v2"], "allow": ["**"]}


def _change_seen_skill(site: Site) -> None:
    site.start()
    (site / "policies/deploy-v2.yaml").write_text(yaml.safe_dump(CHANGED_SKILL, sort_keys=False))


RULES: dict[str, tuple[Spoil, list[str]]] = {
    "broken configuration": (
        lambda s: s.append("claiim.yaml", "state: [\n"),
        ["claiim.yaml:11:1: did not find expected node content"],
    ),
    "broken agents": (lambda s: s.append("agents.yaml", "]\n"), ["agents.yaml:"]),
    "broken skill": (
        lambda s: s.append("policies/deploy-v2.yaml", "description: {\n"),
        ["policies/deploy-v2.yaml:10:1: did not find expected node content"],
    ),
    "broken policy": (
        lambda s: (s / "policies/p.yaml").write_text("policy: p\ndeny: [a\n"),
        ["policies/p.yaml:3:1: did not find expected ',' or ']'"],
    ),
    "broken mapping": (lambda s: s.append("mappings/site.yaml", "\trules: []\n"), ["mappings/site.yaml:2:1: "]),
    "unknown key in the configuration": (
        lambda s: s.append("claiim.yaml", "proxi: {}\n"),
        ['claiim.yaml:10:1: unknown key "proxi"; did you mean "proxy"'],
    ),
    "unknown key in agents": (
        lambda s: s.append("agents.yaml", "agentz: []\n"),
        ['agents.yaml:22:1: unknown key "agentz"; did you mean "agents"'],
    ),
    "unknown key in a skill": (
        lambda s: s.append("policies/deploy-v2.yaml", "alow: []\n"),
        ['policies/deploy-v2.yaml:9:1: unknown key "alow"; did you mean "allow"'],
    ),
    "unknown key in a mapping": (
        lambda s: s.append("mappings/site.yaml", "rulez: []\n"),
        ['mappings/site.yaml:2:1: unknown key "rulez"; did you mean "rules"'],
    ),
    "two agents of one name": (
        lambda s: (s / "agents.yaml").write_text(
            yaml.safe_dump({**AGENTS, "agents": [*AGENTS["agents"], {**AGENTS["agents"][0], "tokens": []}]})
        ),
        ["agents.yaml:"],
    ),
    "one skill twice": (
        lambda s: (s / "policies/again.yaml").write_text("skill: deploy-v2\nallow: [a:b]\n"),
        ['policies/deploy-v2.yaml:1:8: skill "deploy-v2" version 1 is already defined at {}/policies/again.yaml:1:8; '],
    ),
    "one rule twice": (
        lambda s: s.append(
            "mappings/site.yaml",
            "rules:\n- {id: a, match: {host: a.test}, action: a:b}\n- {id: a, match: {host: b.test}, action: a:b}\n",
        ),
        ['mappings/site.yaml:4:8: '],
    ),
    "a skill that is not there": (
        lambda s: (s / "policies/deploy-v2.yaml").unlink(),
        ['agents.yaml:12:10: skill "deploy-v2" does not exist'],
    ),
    "a token that is no digest": (
        lambda s: (s / "agents.yaml").write_text(
            yaml.safe_dump({**AGENTS, "agents": [{**AGENTS["agents"][0], "tokens": [TOKEN]}]})
        ),
        ["agents.yaml:"],
    ),
    "no agents file": (
        lambda s: (s / "agents.yaml").unlink(),
        ['agents.yaml:1:1: cannot be read: no such file or directory; create it with "claiim agent add"'],
    ),
    "mappings that are not there": (
        lambda s: s.configure(mappings=["nowhere.yaml"]),
        ["nowhere.yaml:1:1: there is no such file; create it or remove the path"],
    ),
    "a text changed under its version": (
        _change_seen_skill,
        [f"policies/deploy-v2.yaml:1:8: {CHANGED}"],
    ),
    "several files at once": (
        lambda s: (
            s.append("agents.yaml", "x: 1\n"),
            s.append("policies/deploy-v2.yaml", "y: 1\n"),
            s.append("mappings/site.yaml", "z: 1\n"),
        ),
        ["agents.yaml:22:1: ", "policies/deploy-v2.yaml:9:1: ", "mappings/site.yaml:2:1: "],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "lines"), RULES.values(), ids=RULES)
def test_rules_that_cannot_be_used(site: Site, spoil: Spoil, lines: list[str]) -> None:
    """`check` exits 1 and `serve` 78, both with one line for each fault that begins with its place."""
    spoil(site)
    expected = sorted(f"{site.folder}/{line.format(site.folder)}" for line in lines)
    checked, served = claiim(site, "check"), claiim(site, "serve")
    assert (checked.exit_code, served.exit_code) == (1, 78)
    for said in (checked.stdout, served.stderr):
        found = sorted(line for line in said.splitlines() if line)
        assert len(found) == len(expected), said
        for line, start in zip(found, expected, strict=True):
            assert line.startswith(start)
            assert re.match(r"\S+:\d+:\d+: \S", line)
            assert TOKEN not in line
    plural = "s" if len(lines) > 1 else ""
    assert checked.stderr == f"{len(lines)} fault{plural}\n"


# --- certificates --------------------------------------------------------------------------------------


def _old_authority(site: Site) -> None:
    (site / "state").mkdir()
    long_ago = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    create_authority(site / "state/ca.pem", site / "state/ca-key.pem", long_ago)


def _other_key(site: Site) -> None:
    site.start()
    create_authority(site / "b.pem", site / "b-key.pem", datetime.datetime.now(datetime.UTC))
    (site / "b-key.pem").replace(site / "state/ca-key.pem")


def _after_a_start(change: Callable[[Site], object]) -> Spoil:
    def spoil(site: Site) -> None:
        site.start()
        change(site)

    return spoil


def _resolve(ca: str) -> dict[str, Any]:
    return {"a.test": {"address": "127.0.0.1:1", "ca": ca}}


CERTIFICATES: dict[str, tuple[Spoil, str]] = {
    "expired CA": (_old_authority, "state/ca.pem: expired on 2009-12-29; remove it and its key"),
    "key of another CA": (_other_key, "state/ca-key.pem: does not belong to {}/state/ca.pem; supply"),
    "key that others can read": (
        _after_a_start(lambda s: (s / "state/ca-key.pem").chmod(0o644)),
        'state/ca-key.pem: others can read this key (mode 0644); run "chmod 600 {}/state/ca-key.pem"',
    ),
    "key that is gone": (
        _after_a_start(lambda s: (s / "state/ca-key.pem").unlink()),
        "state/ca-key.pem: cannot read: no such file or directory; put it back",
    ),
    "certificate that is none": (
        _after_a_start(lambda s: (s / "state/ca.pem").write_text("x")),
        "state/ca.pem: not a PEM certificate; supply",
    ),
    "supplied CA that is not there": (
        lambda s: s.configure(ca={"certificate": "my.pem", "key": "my.key"}),
        "my.pem: cannot read: no such file or directory; put it back, or name another in claiim.yaml",
    ),
    "roots that are not there": (
        lambda s: s.configure(upstream={"ca_bundle": "roots.pem"}),
        "roots.pem: cannot read: no such file or directory; put it back",
    ),
    "roots that hold nothing": (
        lambda s: ((s / "roots.pem").write_text("x"), s.configure(upstream={"ca_bundle": "roots.pem"})),
        "roots.pem: no PEM certificate; give a file that holds at least one",
    ),
    "a target's CA that is not there": (lambda s: s.configure(resolve=_resolve("k8s.pem")), "k8s.pem: cannot read: "),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "line"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates_that_cannot_be_used(site: Site, spoil: Spoil, line: str) -> None:
    """Found before anything listens, by `check` too, with the file and the remedy and no word of the key."""
    spoil(site)
    checked, served = claiim(site, "check"), claiim(site, "serve")
    assert (checked.exit_code, served.exit_code) == (1, 78)
    for said in (checked.stdout, served.stderr):
        assert said.startswith(f"{site.folder}/{line.format(site.folder)}")
        assert said.count("\n") == 1
        assert "PRIVATE" not in said
    assert not (site / "state/operator.token").exists() or "state/" in line


# --- the state folder and the Chron --------------------------------------------------------------------


def _tamper(site: Site) -> None:
    """Change one byte of a record, as the file's owner could."""
    site.start()
    with closing(sqlite3.connect(site / "state/chron.db")) as database, database:
        database.execute("DROP TRIGGER chron_only_empty")
        database.execute("UPDATE chron SET body = replace(body, 'open', 'opex') WHERE seq = 1")


def _no_chron(site: Site) -> None:
    (site / "state").mkdir()
    (site / "state/chron.db").write_bytes(b"not a database at all, but long enough to look at" * 100)


def _newer_chron(site: Site) -> None:
    site.start()
    with closing(sqlite3.connect(site / "state/chron.db")) as database:
        database.execute("PRAGMA user_version = 99")


STATE: dict[str, tuple[Spoil, str]] = {
    "state is a file": (lambda s: (s / "state").write_text(""), "{}/state: cannot create: file exists; set another"),
    "state under a file": (
        lambda s: s.configure(state="agents.yaml/state"),
        "{}/agents.yaml/state: cannot create: not a directory; set another state folder",
    ),
    "Chron under a file": (
        lambda s: s.configure(chron="agents.yaml/chron.db"),
        'cannot record in "{}/agents.yaml/chron.db": ',
    ),
    "Chron is a folder": (lambda s: (s / "state/chron.db").mkdir(parents=True), 'cannot record in "{}/state/chron.db"'),
    "Chron is no database": (_no_chron, 'chron "{}/state/chron.db" does not verify: '),
    "Chron was changed": (_tamper, 'chron "{}/state/chron.db" does not verify at record 1: its body was changed; run '),
    "Chron of a newer gate": (_newer_chron, '"{}/state/chron.db" has Chron format 99 and this version knows 2; use '),
    "roots cannot be written": (
        lambda s: (s / "state/upstream-roots.pem").mkdir(parents=True),
        "{}/state/upstream-roots.pem: cannot write: is a directory; make the state folder writable",
    ),
    "token cannot be written": (
        lambda s: (s / "state/operator.token").mkdir(parents=True),
        "{}/state/operator.token: cannot write: is a directory; make the state folder writable",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "line"), STATE.values(), ids=STATE)
def test_a_state_that_cannot_be_used(site: Site, spoil: Spoil, line: str) -> None:
    """`serve` does not start, says why in one line, and listens nowhere."""
    spoil(site)
    served = claiim(site, "serve")
    assert served.exit_code == 78
    assert served.stderr.startswith(line.format(site.folder))
    assert served.stderr.count("\n") == 1
    assert ";" in served.stderr


def test_a_changed_chron_stays_as_evidence(site: Site) -> None:
    """Refusing to start changes nothing in it: `chron verify` still finds the same record."""
    _tamper(site)
    claiim(site, "serve")
    found = chron.verify(site / "state/chron.db")
    assert (found.ok, found.first_bad_seq, found.fault) == (False, 1, "its body was changed")
    verified = claiim(site, "chron", "verify")
    assert (verified.exit_code, "record 1" in verified.output) == (1, True)


def test_a_chron_of_another_gate_is_left_alone(site: Site) -> None:
    """Two gates do not write one Chron: the second says who holds it, and the first goes on."""
    (site / "state").mkdir()
    with Chron.open(site / "state/chron.db", low_water_bytes=0):
        served = claiim(site, "serve")
    assert served.exit_code == 78
    assert served.stderr == (
        f'chron "{site.folder}/state/chron.db" is open in another process (pid {os.getpid()}); '
        "stop that gate first, or give this one its own Chron\n"
    )
    assert not (site / "state/operator.token").exists()


@pytest.mark.parametrize("section", ["proxy", "api"])
def test_a_port_in_use(site: Site, section: str) -> None:
    """Both listeners say which address is taken; a gate that is there keeps its operator's token."""
    site.start()
    token = (site / "state/operator.token").read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site.configure(**{section: {"listen": address}})
        served = claiim(site, "serve")
    assert served.exit_code == 78
    assert served.stderr == (
        f"cannot listen on {address}: address already in use; stop what is there or configure another address\n"
    )
    assert (site / "state/operator.token").read_text() == token
    assert chron.verify(site / "state/chron.db").ok


def test_one_port_for_both_listeners(site: Site) -> None:
    """Our own other listener is no better."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    site.configure(proxy={"listen": address}, api={"listen": address})
    served = claiim(site, "serve")
    assert (served.exit_code, "address already in use" in served.stderr) == (78, True)


def test_a_listener_that_has_no_address(site: Site) -> None:
    """A name that does not resolve is told in the resolver's words."""
    site.configure(api={"listen": "nobody.invalid:0"})
    served = claiim(site, "serve")
    assert served.exit_code == 78
    assert served.stderr.startswith("cannot listen on nobody.invalid:0: ")
    assert "unknown error" not in served.stderr
    assert served.stderr.count("\n") == 1


# --- full disks ----------------------------------------------------------------------------------------


def test_a_full_disk_at_the_start(site: Site) -> None:
    """In a process of its own: one line, no trace, and no half of a CA that would stop the next start."""
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "claiim_gate", "serve"]
    done = subprocess.run(
        command, cwd=site.folder, env=clean_environment(site.folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert done.stderr == (
        f"{site.folder}/state/ca-key.pem: cannot create the CA: file too large; make room for it, or supply a CA\n"
    )
    assert list((site / "state").iterdir()) == []
    site.start()


def test_a_disk_without_reserve_at_the_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the low-water mark a gate that could decide nothing does not start."""
    site.start()
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    served = claiim(site, "serve")
    assert served.exit_code == 78
    assert served.stderr.splitlines()[0].startswith(f'disk almost full: 0 MiB free for "{site.folder}/state/chron.db"')
    assert served.stderr.count("\n") == 1


def test_a_disk_that_fills_up(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """503 for everybody and nothing forwarded while records cannot be written; afterwards as before, none lost."""
    live = LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    question = {"json": {"action": "deploy:staging"}, "headers": {"Authorization": f"Bearer {TOKEN}"}}
    with Serving(live.folder) as gate, gate.client() as client:
        assert client.get(ECHO).status_code == 200
        gate.limit_files(1)
        for _ in range(2):
            response = client.get(ECHO)
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert (response.json()["code"], response.json()["chron_id"]) == ("gate.audit-unavailable", "")
            assert "retry-after" in response.headers
        asked = gate.api("/v1/check", method="POST", **question)
        assert (asked.status_code, asked.json()["code"]) == (503, "gate.audit-unavailable")
        ready = gate.api("/readyz")
        assert (ready.status_code, list(ready.json()["faults"])) == (503, ["chron"])
        assert gate.api("/healthz").status_code == 200
        assert len(origin.seen) == 1
        gate.limit_files(None)
        gate.wait_ready("chron", failing=False)
        assert client.get(ECHO).status_code == 200
        assert gate.api("/v1/check", method="POST", **question).json()["outcome"] == "ALLOW"
        assert not [line for line in gate.printed if "Traceback" in line]
    assert gate.wait_exit() == 0
    assert len(origin.seen) == 2
    path = live.folder / "state/chron.db"
    assert chron.verify(path).ok
    allowed = list(chron.find(path, kind="decision", outcome="ALLOW"))
    assert [record.text("channel") for record in allowed] == ["wire", "wire", "api"]


def test_a_disk_below_the_low_water_mark(gate: LiveGate, origin: Origin, client: httpx.Client) -> None:
    """New decisions are refused while there is still room to finish what was begun."""
    storage = gate.service._chron._writer._storage
    assert client.get(ECHO).status_code == 200
    reserve, storage._low_water_bytes, storage._looked_s = storage._low_water_bytes, 2**62, 0.0
    response = client.get(ECHO)
    assert (response.status_code, response.json()["code"]) == (503, "gate.audit-unavailable")
    (failing,) = gate.service.faults()
    assert failing.name == "chron"
    assert failing.detail.startswith("disk almost full: ")
    storage._low_water_bytes, storage._looked_s = reserve, 0.0
    assert client.get(ECHO).status_code == 200
    assert len(origin.seen) == 2
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "ALLOW"]


# --- while it runs -------------------------------------------------------------------------------------


def test_an_expired_ca_is_seen(tmp_path: Path) -> None:
    """A gate that outlives its CA says so in /readyz."""
    gate = LiveGate(tmp_path / "gate")
    with gate:
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=4000)
        gate.service._now = lambda: later
        ready = httpx.get(f"{gate.api}/readyz", trust_env=False)
    assert (ready.status_code, ready.json()["faults"]) == (503, {"ca": "the CA has expired"})


def test_a_chron_that_is_moved_away(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """What is written to a file without a name would be found by nobody, so nothing is forwarded."""
    gate = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    path = gate.config.chron
    with running(gate), client_of(gate) as client:
        assert client.get(ECHO).status_code == 200
        gate.settle()
        path.rename(tmp_path / "elsewhere.db")
        gate.service._chron._writer._storage._looked_s = 0.0
        response = client.get(ECHO)
        assert (response.status_code, response.json()["code"]) == (503, "gate.audit-unavailable")
        (tmp_path / "elsewhere.db").rename(path)
        gate.service._chron._writer._storage._looked_s = 0.0
        ready = Ready(gate)
        ready.wait()
        assert client.get(ECHO).status_code == 200
    assert len(origin.seen) == 2
    assert chron.verify(path).ok


class Ready:
    """Polls /readyz of a gate in this process; there is no event to wait for."""

    def __init__(self, gate: LiveGate) -> None:
        self.gate = gate

    def wait(self) -> None:
        end = datetime.datetime.now() + datetime.timedelta(seconds=20)
        while httpx.get(f"{self.gate.api}/readyz", trust_env=False).status_code != 200:
            assert datetime.datetime.now() < end
            self.gate.call(asyncio.sleep(0.05))  # between two looks only: the writer's recovery tells nobody


def test_a_refusal_on_reload_is_one_line_for_each_fault(gate: LiveGate, client: httpx.Client) -> None:
    """Through the API: all faults of all files, and the rules in force answer as before."""
    gate.write("agents.yaml", "version: 1\nhumans: []\nagents: {}\n")
    gate.write("mappings/site.yaml", "version: 2\n")
    token = gate.config.operator_token.read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    said = httpx.post(f"{gate.api}/v1/reload", headers=headers, trust_env=False).json()
    assert said["status"] == "refused"
    assert {fault.split(":")[0].rpartition("/")[2] for fault in said["faults"]} == {"agents.yaml", "site.yaml"}
    assert json.dumps(said).count("Traceback") == 0
    assert client.get(ECHO).status_code == 200
