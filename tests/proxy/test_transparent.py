"""Transparent mode in real namespaces: a program that knows of no proxy comes through the gate, or not at all."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.wiring import shell_lines
from support.enclosures import Enclosure
from support.gate import TOKEN, LiveGate, running
from support.needed import needed
from support.networks import OUTSIDE, OUTSIDE6, networks
from support.raw import read_all, status
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.ways import dial_listener, registry

ROOT = Path(__file__).parents[2]
GATE, AGENT, PORT = "10.77.2.1", "10.77.2.2", 8443
LISTENERS = {"netns": {"mode": "transparent", "listen": f"{GATE}:{PORT}", "proves": "address"}}


@dataclass(frozen=True, slots=True)
class Redirected:
    """An agent whose connections are led to the gate."""

    enclosure: Enclosure
    gate: LiveGate
    origin: Origin
    plain: Origin

    def last(self) -> dict[str, Any]:
        """The newest decision."""
        return self.gate.records()[-1]


@pytest.fixture(scope="module")
def redirected(
    target_ca: trustme.CA, target_ca_pem: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Redirected]:
    """One for all tests here."""
    folder = tmp_path_factory.mktemp("redirected")
    with networks() as (machine, outside):
        enclosure = Enclosure(f"r{os.getpid() % 10**8}", machine, outside, GATE, AGENT)
        options = {"ENCLOSURE_REDIRECT": str(PORT), "ENCLOSURE_HOSTS": "origin.test other.test plain.test"}
        plain_origin = Origin(target_ca, "plain.test", secure=False)
        with enclosure.made(**options), machine.entered(), Origin(target_ca) as origin, plain_origin as plain:
            live = LiveGate(
                folder / "gate",
                origin,
                plain,
                target_ca=target_ca_pem,
                mappings=ORIGIN_MAPPINGS,
                config={"api": {"listen": f"{GATE}:8181"}, "listeners": LISTENERS},
                agents=registry(deploy_bot=f"address:{AGENT}"),
            )
            with running(live) as gate:
                bundle = {"SSL_CERT_FILE": str(gate.ca), "CLAIIM_URL": gate.api, "CLAIIM_TOKEN": TOKEN}
                enclosure.environment = folder / "agent.env"
                enclosure.environment.write_text(shell_lines(bundle))
                yield Redirected(enclosure, gate, origin, plain)


def curl(redirected: Redirected, *arguments: str) -> tuple[int, str]:
    """What curl ended with inside, and the status that it saw."""
    command = [needed("curl"), "-sS", "-m", "20", "--cacert", str(redirected.gate.ca), "-o", "/dev/null"]
    done = redirected.enclosure.run(*command, "-w", "%{http_code}", *arguments)
    return done.returncode, done.stdout


@pytest.mark.needs("curl")
@pytest.mark.parametrize(
    ("arguments", "answered", "wanted"),
    [
        (["https://origin.test/echo"], "200", {"outcome": "ALLOW", "scheme": "https", "port": 443}),
        (["--http1.1", "https://origin.test/echo"], "200", {"outcome": "ALLOW", "host": "origin.test"}),
        (["-X", "DELETE", "https://origin.test/echo"], "403", {"outcome": "DENY", "action": "infra:destroy"}),
        (["http://plain.test/echo"], "200", {"outcome": "ALLOW", "scheme": "http", "port": 80}),
        (["-X", "DELETE", "http://plain.test/echo"], "403", {"outcome": "DENY", "host": "plain.test"}),
        # Whatever address a name has for the agent, the gate looks for itself.
        (["--resolve", f"origin.test:443:{OUTSIDE}", "https://origin.test/echo"], "200", {"outcome": "ALLOW"}),
        # One name in the hello, another in the request.
        (["-H", "Host: other.test", "https://origin.test/echo"], "400", {"code": "wire.authority-mismatch"}),
        (["-H", "Host: plain.test:8080", "http://plain.test/echo"], "400", {"code": "wire.authority-mismatch"}),
        (["-H", "Host:", "http://plain.test/echo"], "400", {"code": "wire.host-missing"}),
        (["-k", f"https://{OUTSIDE}/"], "403", {"outcome": "DENY", "host": OUTSIDE}),
        (["http://169.254.169.254/latest/"], "403", {"outcome": "DENY", "host": "169.254.169.254"}),
        # A header that says who one is says nothing.
        (["-H", "X-Forwarded-For: 10.77.0.9", "http://plain.test/echo"], "200", {"client": AGENT}),
    ],
)  # fmt: skip
def test_a_program_that_knows_no_proxy_is_decided_on(
    redirected: Redirected, arguments: list[str], answered: str, wanted: dict[str, Any]
) -> None:
    """The name in its hello and its request decide; who it is, its address proves."""
    redirected.origin.clear()
    redirected.plain.clear()
    assert curl(redirected, *arguments) == (0, answered)
    record = redirected.last()
    expected = {"agent": "deploy-bot", "identities": f"address:{AGENT}", "listener": "netns", "client": AGENT, **wanted}
    assert {name: record.get(name) for name in expected} == expected
    reached = len(redirected.origin.seen) + len(redirected.plain.seen)
    assert reached == (1 if answered == "200" else 0)
    assert redirected.enclosure.outside.came == []


@pytest.mark.needs("curl")
@pytest.mark.parametrize("port", [PORT, 22, 8080])
def test_nothing_else_of_the_gate_is_reached(redirected: Redirected, port: int) -> None:
    """Not even the listener itself, by its own port: what comes there names no place to go."""
    before = len(redirected.gate.records())
    code, _ = curl(redirected, "-m", "0.3", f"http://{GATE}:{port}/echo")
    assert code in (7, 28)
    assert len(redirected.gate.records()) == before


def test_doctor_proves_it_without_a_proxy(redirected: Redirected) -> None:
    """Connections to anywhere are led to the gate, which the Chron confirms; datagrams and names get nowhere."""
    places = [f"--to={OUTSIDE}:{port}" for port in (80, 443, 853)]
    asked = [f"--dns={OUTSIDE}:53", "--timeout=0.5", "--json"]
    done = redirected.enclosure.run(sys.executable, "-m", "claiim_gate", "doctor", *places, *asked)
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, [name for name, check in checks.items() if not check["ok"]]) == (0, []), checks
    assert checks["canary"]["said"] == "no proxy is set here, and connections are led to the gate"
    denied = {record["id"]: record for record in redirected.gate.records(outcome="DENY")}
    assert denied[checks["tcp"]["chron_id"]]["host"].endswith(".canary.invalid")


# --- a connection that nobody redirected ---------------------------------------------------------------


def test_a_connection_that_was_not_redirected_is_refused(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """It names no place but this listener; that it knows a Host makes no difference."""
    live = LiveGate(
        tmp_path / "gate",
        origin,
        target_ca=target_ca_pem,
        mappings=ORIGIN_MAPPINGS,
        config={"listeners": {"here": {"mode": "transparent", "listen": "127.0.0.1:0", "proves": "listener"}}},
    )
    with running(live) as gate:
        with dial_listener(gate, "here") as raw:
            raw.sendall(b"GET /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            assert status(read_all(raw)) == 0
        (record,) = gate.records()
    assert (record["outcome"], record["code"], record["listener"]) == ("DENY", "wire.redirect", "here")
    assert origin.connections == 0


# --- by user, without a network of its own -------------------------------------------------------------


def rules_of_the_page() -> str:
    """What docs/enclosure.md says for one user."""
    found = re.search(r"```nft\n(.*?)```", (ROOT / "docs" / "enclosure.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.needs("curl")
@pytest.mark.parametrize(("listens", "outer"), [("127.0.0.1", OUTSIDE), ("[::1]", f"[{OUTSIDE6}]")], ids=["4", "6"])
def test_one_users_connections_are_led_to_the_gate(
    target_ca: trustme.CA, target_ca_pem: Path, tmp_path: Path, listens: str, outer: str
) -> None:
    """By the rules of the page: that user comes by its listener or not at all, and no other user comes by it."""
    with networks() as (machine, outside), machine.entered(), Origin(target_ca) as origin:
        subprocess.run(["nft", "-f", "-"], input=rules_of_the_page(), text=True, check=True)
        live = LiveGate(
            tmp_path / "gate",
            origin,
            target_ca=target_ca_pem,
            mappings=ORIGIN_MAPPINGS,
            config={"listeners": {"user": {"mode": "transparent", "listen": f"{listens}:8444", "proves": "listener"}}},
            agents=registry(deploy_bot="listener:user"),
        )
        with running(live) as gate:

            def get(user: str, url: str, most_s: float = 0.3) -> str:
                asked = f'--resolve "*:443:{outer}" -w "%{{http_code}}" -o /dev/null {url}'
                # Where nothing comes back, how long is waited makes no difference but to the test.
                script = f'ca=$(mktemp); cat > "$ca"; curl -s -m {most_s} --cacert "$ca" {asked}; rm "$ca"'
                command = ["setpriv", f"--reuid={user}", "--clear-groups", "sh", "-c", script]
                done = subprocess.run(command, input=gate.ca.read_text(), capture_output=True, text=True, cwd="/")
                return done.stdout

            assert get("65534", "https://origin.test/echo", 20) == "200"
            (record,) = gate.records()
            for blocked in (
                f"http://{outer}:853/",
                f"http://{gate.service.proxy_address}/",
                f"http://{listens}:8444/",
            ):
                assert get("65534", blocked) == "000", blocked
            assert outside.came == []
            assert len(gate.records()) == 1
            # Somebody else is not led here, and cannot come by itself.
            assert get("65533", "https://origin.test/echo", 20) == "000"
            assert outside.came == (["tcp 443"] if listens == "127.0.0.1" else [])  # it listens by IPv4 alone
            assert get("65533", f"http://{listens}:8444/", 20) == "000"
            refused = gate.records()[-1]
    wanted = {"outcome": "ALLOW", "agent": "deploy-bot", "identities": "listener:user", "host": "origin.test"}
    assert {name: record[name] for name in wanted} == wanted
    assert (refused["code"], refused["outcome"]) == ("wire.redirect", "DENY")
    assert len(origin.seen) == 1
