"""`claiim doctor`: what it proves, what it takes for a hole, and what it does not believe."""

import contextlib
import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from proxy.doctor import Place, probe_datagrams, probe_names
from proxy.doctor.names import configured_resolvers
from support.gate import AGENTS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS

NOWHERE = ("--to", "127.0.0.1:1", "--dns", "127.0.0.1:1", "--timeout", "2")
"""Ports of this machine that nobody listens on."""


@pytest.fixture
def inside(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> LiveGate:
    """The environment of an agent of the gate."""
    enter(gate, monkeypatch)
    return gate


def enter(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    (gate.folder / "wiring").mkdir(exist_ok=True)
    for name, value in gate.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("CLAIIM_TOKEN", "CLAIIM_TOKEN_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def doctor(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON, checks by their name."""
    result = doctor("--json", *arguments)
    answer = json.loads(result.stdout)
    assert answer["proven"] is (result.exit_code == 0)
    return result.exit_code, {check["check"]: check for check in answer["checks"]}


def test_a_canary_is_denied_and_in_the_chron(inside: LiveGate) -> None:
    """Both calls stand in the Chron under the ids that are told, and nothing else got out: exit 0."""
    code, checks = told(*NOWHERE)
    assert (code, list(checks)) == (0, ["canary", "trust", "tcp", "quic", "dns"])
    plain, secured = inside.records()
    for check, record, scheme in (("canary", plain, "http"), ("trust", secured, "https")):
        assert checks[check]["chron_id"] == record["id"]
        assert checks[check]["said"] == "denied and in the Chron, as deploy-bot"
        assert (record["outcome"], record["agent"], record["scheme"]) == ("DENY", "deploy-bot", scheme)
        assert record["host"].endswith(".canary.invalid")
    assert plain["host"] != secured["host"]


def test_people_read_a_line_for_each_check(inside: LiveGate) -> None:
    """With the record beside what it shows."""
    result = doctor(*NOWHERE)
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in ("canary", "trust", "tcp", "quic", "dns")]
    assert inside.records()[0]["id"] in lines[0]


def test_a_connection_that_gets_out_is_a_hole(inside: LiveGate, origin: Any) -> None:
    """Whatever listens there: the agent has a way around the gate."""
    code, checks = told("--to", origin.address, *NOWHERE)
    assert (code, checks["tcp"]["ok"]) == (1, False)
    assert f"127.0.0.1 port {origin.port}" in checks["tcp"]["said"]
    assert checks["canary"]["ok"]


def test_a_connection_that_the_gate_answers_is_none(inside: LiveGate, gate: LiveGate) -> None:
    """Only what the Chron confirms counts as the gate, and a way in that records nothing is not it."""
    code, checks = told("--to", str(gate.service.proxy_address), "--dns", "127.0.0.1:1")
    # The proxy's own port answers an origin-form request with a record, of no host.
    assert (code, checks["tcp"]["ok"]) == (1, False)


class Forging(http.server.BaseHTTPRequestHandler):
    """Something that says it is the gate."""

    chron_id = ""

    def do_GET(self) -> None:
        self.send_response(403)
        if self.chron_id:
            self.send_header("X-Chron-Id", self.chron_id)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def forged(chron_id: str) -> Iterator[str]:
    class Handler(Forging):
        pass

    Handler.chron_id = chron_id
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


FORGED: dict[str, tuple[Callable[[LiveGate], str], str]] = {
    "no id": (lambda _: "", "names no record"),
    "an id of nothing": (lambda _: "chr_01m8g000000000000000000000", "is not in the Chron"),
    "an id that is none": (lambda _: "../../healthz", "is not in the Chron"),
    "the id of another call": (lambda gate: str(gate.records()[0]["id"]), "is of another call"),
}


@pytest.mark.parametrize("name", FORGED)
def test_who_only_says_that_it_is_the_gate_is_not_believed(
    inside: LiveGate, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 403 proves nothing; a record of exactly this call, told by the control API, does."""
    doctor(*NOWHERE)
    make, said = FORGED[name]
    with forged(make(inside)) as address:
        monkeypatch.setenv("https_proxy", f"http://deploy-bot:x@{address}")
        monkeypatch.setenv("CLAIIM_TOKEN", inside.environment()["HTTPS_PROXY"].split(":")[2].partition("@")[0])
        code, checks = told(*NOWHERE)
    assert (code, checks["canary"]["ok"]) == (1, False)
    assert said in checks["canary"]["said"]


def test_certificates_that_are_not_trusted_are_told(inside: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that cannot be trusted is one that tools switch off."""
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    code, checks = told(*NOWHERE)
    assert (code, checks["canary"]["ok"], checks["trust"]["ok"]) == (1, True, False)
    assert "set SSL_CERT_FILE" in checks["trust"]["said"]


def test_an_agent_that_is_observed_only_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls pass the gate and are stopped by nothing."""
    deploy, other = AGENTS["agents"]
    agents = {**AGENTS, "agents": [{**deploy, "mode": "observe"}, other]}
    with running(LiveGate(tmp_path / "gate", mappings=ORIGIN_MAPPINGS, agents=agents)) as gate:
        enter(gate, monkeypatch)
        code, checks = told(*NOWHERE)
    assert (code, checks["canary"]["ok"]) == (0, True)
    assert "observed only" in checks["canary"]["said"]


@pytest.mark.parametrize("away", ["proxy", "api"])
def test_a_gate_that_does_not_answer_is_69(inside: LiveGate, away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told apart from a hole: nothing gets out, and nothing gets in."""
    if away == "proxy":
        monkeypatch.setenv("https_proxy", "http://deploy-bot:x@127.0.0.1:1")
    else:
        monkeypatch.setenv("CLAIIM_URL", "http://127.0.0.1:1")
    code, checks = told(*NOWHERE)
    assert code == 69
    assert "does not answer" in checks["canary"]["said"]


def test_without_a_proxy_there_has_to_be_a_redirect(inside: LiveGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that nobody wired is one that is not gated."""
    monkeypatch.setenv("CLAIIM_TOKEN", "clm_x")
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    code, checks = told(*NOWHERE)
    assert (code, checks["canary"]["ok"]) == (1, False)
    assert "no proxy is set here" in checks["canary"]["said"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("https_proxy", "socks5://127.0.0.1:1080", 2), ("CLAIIM_TOKEN_FILE", "/nonexistent", 4)],
)
def test_an_environment_that_is_none(
    inside: LiveGate, name: str, value: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends with what is missing, before anything is tried."""
    monkeypatch.setenv(name, value)
    result = doctor(*NOWHERE)
    assert (result.exit_code, result.stdout) == (code, "")


@pytest.mark.parametrize("place", ["origin.test:443", "192.0.2.7", "192.0.2.7:0", "[::1:443:x"])
def test_places_are_addresses_with_a_port(inside: LiveGate, place: str) -> None:
    """A name could not be tried where none is resolved."""
    result = doctor("--to", place)
    assert result.exit_code == 2
    assert "is no address with a port" in result.stderr


# --- datagrams and names -------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(answer: Callable[[bytes], bytes | None]) -> Iterator[Place]:
    """A UDP server on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.bind(("127.0.0.1", 0))
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                received, peer = raw.recvfrom(65_536)
                if not stopped.is_set() and (answered := answer(received)) is not None:
                    raw.sendto(answered, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Place(*raw.getsockname())
        finally:
            stopped.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", raw.getsockname())
            thread.join()


def test_a_datagram_that_is_answered_is_a_hole() -> None:
    """What is sent is what every QUIC server answers: 1200 bytes, and a version that nobody speaks."""
    seen: list[bytes] = []

    def answer(datagram: bytes) -> bytes:
        seen.append(datagram)
        return b"\x80\0\0\0\0"

    with answering(answer) as place:
        finding = probe_datagrams([place, Place("127.0.0.1", 1)], 1)
    assert not finding.ok
    assert str(place) in finding.said
    (initial,) = seen
    assert (len(initial), initial[0] & 0xC0, initial[1:5]) == (1200, 0xC0, b"\x1a\x2a\x3a\x4a")


def resolving(table: Callable[[str], str | None], rcode: int = 0) -> Callable[[bytes], bytes]:
    """A name server as a function; None is an answer without addresses."""

    def answer(asked: bytes) -> bytes:
        labels, at = [], 12
        while asked[at]:
            labels.append(asked[at + 1 : at + 1 + asked[at]].decode())
            at += 1 + asked[at]
        address = table(".".join(labels))
        head = asked[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, 1 if address else 0, 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address) if address else b""
        return head + asked[12:] + record

    return answer


NAMES: dict[str, tuple[Callable[[bytes], bytes | None], bool]] = {
    "a resolver": (resolving(lambda name: "192.0.2.7" if name == "example.com" else None), False),
    "one that makes up the same for all": (resolving(lambda _: "198.18.0.1"), True),
    "one that refuses": (resolving(lambda _: None, rcode=5), True),
    "one that knows no name": (resolving(lambda _: None, rcode=3), True),
    "what is no name server": (lambda _: b"hello", True),
    "an answer to another question": (lambda asked: b"\0\0" + asked[2:], True),
    "an answer cut short": (lambda asked: resolving(lambda _: "192.0.2.7")(asked)[:-6], True),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_resolved_is_a_hole(name: str) -> None:
    """Unless the answer is the same for what is nowhere, which no resolver outside would say."""
    answer, ok = NAMES[name]
    with answering(answer) as place:
        assert probe_names([place], 1, system=False).ok is ok


def test_the_resolvers_of_this_environment_are_asked(tmp_path: Path) -> None:
    """As resolv.conf names them."""
    (tmp_path / "resolv.conf").write_text(
        "# one\nnameserver 10.0.0.2\nsearch a.test\n nameserver fd00::2\nnameserver x\n"
    )
    assert configured_resolvers(tmp_path / "resolv.conf") == (Place("10.0.0.2", 53), Place("fd00::2", 53))
    assert configured_resolvers(tmp_path / "none") == ()
