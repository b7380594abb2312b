"""The recipe of docs/enclosure.md in real namespaces: the agent reaches the gate, and nothing else."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.wiring import shell_lines
from support.enclosures import ENCLOSE, Enclosure
from support.gate import LiveGate
from support.needed import needed
from support.networks import OUTSIDE, networks, sh
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

GATE, AGENT = "10.77.0.1", "10.77.0.2"


@dataclass(frozen=True, slots=True)
class Enclosed:
    """An enclosure with a gate in front of an origin."""

    enclosure: Enclosure
    gate: LiveGate

    def run(self, *command: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """A command as the agent runs it."""
        return self.enclosure.run(*command, user=user)

    def doctor(self, timeout_s: float = 0.5) -> tuple[int, dict[str, Any]]:
        """What `claiim doctor` says inside: its exit code, and the checks by their name."""
        places = [f"--to={OUTSIDE}:{port}" for port in (53, 80, 443)]
        asked = [f"--dns={OUTSIDE}:53", f"--timeout={timeout_s}", "--json"]
        done = self.run(sys.executable, "-m", "claiim_gate", "doctor", *places, *asked)
        assert done.stdout, done.stderr
        return done.returncode, {check["check"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module")
def enclosed(
    target_ca: trustme.CA, target_ca_pem: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Enclosed]:
    """One for all tests here: what they do to it they undo."""
    folder = tmp_path_factory.mktemp("enclosed")
    with networks() as (machine, outside):
        enclosure = Enclosure(f"t{os.getpid() % 10**8}", machine, outside, GATE, AGENT)
        # Something of the machine's own that answers everywhere, as its sshd would.
        with enclosure.made(), machine.entered(), Origin(target_ca) as origin, socket.create_server(("0.0.0.0", 22)):
            live = LiveGate(
                folder / "gate",
                origin,
                target_ca=target_ca_pem,
                mappings=ORIGIN_MAPPINGS,
                config={"proxy": {"listen": f"{GATE}:8080"}, "api": {"listen": f"{GATE}:8181"}},
            )
            with live as gate:
                enclosure.environment = _environment(gate, folder)
                yield Enclosed(enclosure, gate)


def _environment(gate: LiveGate, folder: Path) -> Path:
    (gate.folder / "wiring").mkdir()
    wired = gate.environment()
    kept = {name: value for name, value in wired.items() if name in ("SSL_CERT_FILE", "HTTPS_PROXY", "CLAIIM_URL")}
    path = folder / "agent.env"
    path.write_text(shell_lines(kept))
    return path


def test_doctor_proves_that_there_is_no_other_way_out(enclosed: Enclosed) -> None:
    """All checks are as they should be, even were there a route: the canary is in the Chron, nothing came outside."""
    enclosed.enclosure.outside.came.clear()
    with enclosed.enclosure.routed():
        code, checks = enclosed.doctor()
    assert (code, [name for name, check in checks.items() if not check["ok"]]) == (0, []), checks
    denied = {record["id"]: record for record in enclosed.gate.records(outcome="DENY")}
    assert denied[checks["canary"]["chron_id"]]["client"] == AGENT
    assert enclosed.enclosure.outside.came == []


def test_doctor_sees_it_when_the_rules_are_gone(enclosed: Enclosed) -> None:
    """The same without them: connections, datagrams and names get out, and each is told as a hole."""
    with enclosed.enclosure.machine.entered():
        rules = sh("nft", "list", "table", "inet", f"claiim_{enclosed.enclosure.name}")
        sh("nft", "delete", "table", "inet", f"claiim_{enclosed.enclosure.name}")
        try:
            with enclosed.enclosure.routed():
                code, checks = enclosed.doctor(timeout_s=10)
        finally:
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    assert code == 1
    assert {name for name, check in checks.items() if not check["ok"]} == {"tcp", "quic", "dns"}
    assert {"tcp 53", "tcp 80", "tcp 443", "udp 53", "udp 443"} <= set(enclosed.enclosure.outside.came)


@pytest.mark.needs("curl")
def test_the_gate_works_from_inside(enclosed: Enclosed) -> None:
    """Also for a user without a home: what is allowed arrives, what is denied says why."""
    curl = f'{needed("curl")} -sS -m 20 --cacert /dev/stdin -o /dev/null -w "%{{http_code}}" https://origin.test/echo'
    trusted = enclosed.gate.ca.read_text()
    for method, status, outcome in (("GET", "200", "ALLOW"), ("DELETE", "403", "DENY")):
        script = f'{curl} -X {method} <<"CA"\n{trusted}CA\n'
        done = enclosed.run("sh", "-c", script, user="nobody")
        assert done.stdout == status, done.stderr
        assert enclosed.gate.records(client=AGENT, host="origin.test")[-1]["outcome"] == outcome


@pytest.mark.needs("curl")
@pytest.mark.parametrize("routed", [False, True], ids=["as it is", "with a route that leads out"])
def test_the_machine_itself_is_not_reached(enclosed: Enclosed, routed: bool) -> None:
    """Neither its other ports nor its other addresses nor its IPv6, and no packet is passed on."""
    with enclosed.enclosure.machine.entered(), enclosed.enclosure.routed() if routed else contextlib.nullcontext():
        for address in (f"{GATE}:22", "127.0.0.1:22", "198.51.100.1:22", f"{OUTSIDE}:80"):
            done = enclosed.run("curl", "-sS", "-m", "0.3", "--noproxy", "*", f"http://{address}/", user="nobody")
            assert done.returncode in (7, 28), (address, done.stdout, done.stderr)
        socket.create_connection((GATE, 22), timeout=5).close()  # it is there, for others
    links = enclosed.run("cat", "/proc/net/if_inet6", user="nobody")
    assert links.stdout == ""


INSIDE = {
    "no privilege": ("grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
    "none to be had": ("grep -E 'CapBnd|NoNewPrivs' /proc/self/status", "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\n"),
    "no socket of a resolver": ("ls -A /run", ""),
    "no other's processes": ("ls -d /proc/[0-9]* | wc -l | xargs test 6 -gt && echo few", "few\n"),
    "no resolver": ("grep -c nameserver /etc/resolv.conf", "0\n"),
    "no other variables": ("env | grep -c SECRET_OF_THE_OPERATOR", "0\n"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_an_agent_inside_has_nothing_to_get_out_with(
    enclosed: Enclosed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as root it can neither change its network nor enter another."""
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "x")
    command, printed = INSIDE[name]
    assert enclosed.run("sh", "-c", command).stdout == printed


def test_root_inside_cannot_change_its_network(enclosed: Enclosed) -> None:
    """It is root by name alone."""
    for command in (
        ("ip", "route", "add", "default", "via", GATE),
        ("nsenter", "--net=/proc/1/ns/net", "true"),
        ("mount", "-t", "tmpfs", "none", "/mnt"),
    ):
        assert enclosed.run(*command).returncode != 0, command


def test_it_can_be_made_again_and_taken_away(enclosed: Enclosed) -> None:
    """What `up` made is gone after `down`; a name that would be read as a rule is refused."""
    name = f"u{os.getpid() % 10**8}"
    addresses = {"ENCLOSURE_GATE": "10.77.1.1", "ENCLOSURE_AGENT": "10.77.1.2"}
    with enclosed.enclosure.machine.entered():
        for _ in range(2):
            assert "10.77.1.1" in sh("sh", str(ENCLOSE), "up", name, **addresses)
            sh("sh", str(ENCLOSE), "down", name)
        assert name not in sh("nft", "list", "tables") + sh("ip", "link", "show") + sh("ip", "netns", "list")
        assert not Path(f"/etc/netns/{name}").exists()
        refused = subprocess.run(["sh", str(ENCLOSE), "up", 'a"; drop'], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
