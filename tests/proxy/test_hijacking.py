"""`Upgrade: tcp`, what docker exec and attach speak: decided at the upgrade, then bytes both ways, ended by halves."""

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trustme

from support.gate import SKILLS, LiveGate, running
from support.raw import authorization, connect, dial, read_all, read_head, status, tunnel
from support.targets.hijacking import GREETING, Hijacking
from support.until import until

pytestmark = pytest.mark.engines

MAPPINGS = {
    "version": 1,
    "bind": [{"host": "docker.test", "pack": "docker"}, {"host": "plain-docker.test", "pack": "docker"}],
}
ALLOWING = {**SKILLS, "deploy-v2": {"skill": "deploy-v2", "allow": ["code:execute", "infra:update"]}}

EXEC = b'{"Detach": false, "Tty": true}'
SAID = bytes(range(256)) * 400


def asked(path: str = "/v1.47/exec/e1/start", host: str = "docker.test", body: bytes = EXEC) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


@pytest.fixture
def docker(target_ca: trustme.CA) -> Iterator[Hijacking]:
    with Hijacking(target_ca) as target:
        yield target


@pytest.fixture
def plain_docker(target_ca: trustme.CA) -> Iterator[Hijacking]:
    with Hijacking(target_ca, "plain-docker.test", secure=False) as target:
        yield target


@pytest.fixture
def gate(tmp_path: Path, docker: Hijacking, plain_docker: Hijacking, target_ca_pem: Path) -> Iterator[LiveGate]:
    live = LiveGate(
        tmp_path / "gate", docker, plain_docker, target_ca=target_ca_pem, mappings=MAPPINGS, skills=ALLOWING
    )
    with running(live):
        yield live


class Terminal:
    """What docker sees of a program: bytes both ways, and an end of its own half, in the clear or in TLS."""

    def __init__(self, raw: socket.socket, ca: Path | None = None) -> None:
        self._raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            self._tls = context.wrap_bio(self._in, self._out, server_hostname="docker.test")
            self._until(self._tls.do_handshake)

    def _until[T](self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                if received := self._raw.recv(65536):
                    self._in.write(received)
                else:
                    self._in.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if pending := self._out.read():
            self._raw.sendall(pending)

    def say(self, data: bytes) -> None:
        if self._tls is None:
            self._raw.sendall(data)
        else:
            self._tls.write(data)
            self._flush()

    def end(self) -> None:
        """Say that nothing more comes; what comes back is still read."""
        if self._tls is None:
            self._raw.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(ssl.SSLWantReadError):  # the other side has not ended, and need not
            self._tls.unwrap()
        self._flush()

    def gone(self) -> None:
        """Break off, without a word."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._raw.close()

    def hear(self, end: bytes | None = None) -> bytes:
        """What comes, up to `end`, or up to the end."""
        heard = b""
        while end is None or not heard.endswith(end):
            more = self._raw.recv(65536) if self._tls is None else self._until(partial(_read, self._tls))
            if not more:
                break
            heard += more
        return heard


def _read(tls: ssl.SSLObject) -> bytes:
    try:
        return tls.read(65536)
    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
        return b""


@pytest.fixture(params=["in TLS", "plain"])
def terminal(request: pytest.FixtureRequest, gate: LiveGate) -> Iterator[Terminal]:
    if request.param == "plain":
        with dial(gate) as raw:
            yield Terminal(raw)
    else:
        with connect(gate, "docker.test:443") as raw:
            yield Terminal(raw, gate.ca)


@pytest.fixture
def to(request: pytest.FixtureRequest, docker: Hijacking, plain_docker: Hijacking) -> Hijacking:
    """The daemon that `terminal` leads to."""
    plain = request.node.callspec.params.get("terminal") == "plain"
    return plain_docker if plain else docker


def begin(target: Hijacking, path: str = "/v1.47/exec/e1/start", body: bytes = EXEC) -> bytes:
    """The request, as a proxy gets it where there is no tunnel."""
    if target.secure:
        return asked(path, body=body)
    proxied = asked(f"http://plain-docker.test{path}", "plain-docker.test", body)
    return proxied.replace(b"\r\n", b"\r\n" + authorization(), 1)


@pytest.mark.parametrize(
    ("path", "operation", "body"),
    [
        ("/v1.47/exec/e1/start", "docker:ExecStart", EXEC),
        ("/containers/web/attach?stream=1&stdin=1", "docker:ContainerAttach", b""),
    ],
    ids=["exec", "attach"],
)
def test_what_is_said_after_it_passes_to_the_end_of_both_halves(
    gate: LiveGate, terminal: Terminal, to: Hijacking, path: str, operation: str, body: bytes
) -> None:
    """One decision; the first word is not lost, the agent's end reaches the daemon, whose answer reaches the agent."""
    terminal.say(begin(to, path, body))
    head = terminal.hear(GREETING)
    assert status(head) == 101
    assert b"\r\nUpgrade: tcp\r\n" in head
    assert head.endswith(b"\r\n\r\n" + GREETING)
    terminal.say(SAID)
    terminal.end()
    assert terminal.hear() == SAID
    (seen,) = to.seen
    assert (seen.path, seen.header("upgrade"), seen.body) == (path, "tcp", body)
    (decision,) = gate.records()
    assert (decision["outcome"], decision["action"]) == ("ALLOW", "code:execute")
    assert (decision["operation"], decision["upgrade"]) == (operation, "tcp")
    outcome = gate.outcome_of(decision)
    assert (outcome["result"], outcome["status"]) == ("sent", 101)
    assert outcome["request_bytes"] == len(body) + len(SAID)
    assert outcome["response_bytes"] == len(GREETING) + len(SAID)


def test_an_agent_that_is_gone_ends_it(gate: LiveGate, terminal: Terminal, to: Hijacking) -> None:
    """Not by halves: what the daemon would still say is for nobody, and the outcome is written."""
    terminal.say(begin(to))
    assert terminal.hear(GREETING).endswith(GREETING)
    terminal.say(SAID)
    terminal.gone()
    until(lambda: gate.records("outcome"))
    (outcome,) = gate.records("outcome")
    assert outcome["result"] in ("sent", "failed")


@pytest.mark.parametrize("path", ["/v1.47/containers/web/start", "/v1.47/session", "/v1.47/exec/e1/resize"])
def test_any_other_request_gets_no_such_upgrade(gate: LiveGate, docker: Hijacking, path: str) -> None:
    """Whatever the policies say: it would be a tunnel under a mild name."""
    with tunnel(gate, "docker.test:443", sni="docker.test") as secure:
        secure.sendall(asked(path, body=b""))
        assert status(read_head(secure)) == 400
    assert docker.connections == 0
    (decision,) = gate.records()
    assert (decision["outcome"], decision["code"]) == ("DENY", "wire.upgrade")


def test_a_denied_one_is_no_upgrade(tmp_path: Path, docker: Hijacking, target_ca_pem: Path) -> None:
    """It is answered as any denied request of docker is, and what follows it goes nowhere."""
    live = LiveGate(tmp_path / "gate", docker, target_ca=target_ca_pem, mappings=MAPPINGS)
    with running(live), tunnel(live, "docker.test:443", sni="docker.test") as secure:
        secure.sendall(asked() + b"rm -rf /\n")
        answer = read_all(secure)
        assert status(answer) == 403
        assert b'"message"' in answer
    assert docker.connections == 0
    assert [each["outcome"] for each in live.records()] == ["DENY"]


class Hasty(Hijacking):
    """Switches before it has been sent the whole request."""

    def _cat(self, spoken: socket.socket) -> None:
        spoken.recv(1)
        self.answer_head(spoken)
        self.relayed = spoken.recv(65536)


def test_a_daemon_that_switches_before_the_request_is_whole_has_failed(
    tmp_path: Path, target_ca: trustme.CA, target_ca_pem: Path
) -> None:
    """RFC 9110, 7.8: else what is left of a body would be taken for what follows."""
    with Hasty(target_ca) as hasty:
        live = LiveGate(tmp_path / "gate", hasty, target_ca=target_ca_pem, mappings=MAPPINGS, skills=ALLOWING)
        with running(live), tunnel(live, "docker.test:443", sni="docker.test") as secure:
            secure.sendall(asked()[:-1])
            assert status(read_head(secure)) == 502
        (decision,) = live.records(outcome="ALLOW")
        assert live.outcome_of(decision)["result"] == "failed"
