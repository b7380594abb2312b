"""`claiim healthcheck`: what a container's supervisor gets."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.gate import LiveGate


def healthcheck(folder: Path, port: int, host: str = "127.0.0.1") -> Result:
    (folder / "health.yaml").write_text(f'version: 1\napi: {{listen: "{host}:{port}"}}\n')
    result = CliRunner().invoke(main, ["healthcheck", "-c", str(folder / "health.yaml")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's own variables do not lead elsewhere, and no proxy is asked."""
    monkeypatch.delenv("CLAIIM_API_LISTEN", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")


def test_a_gate_that_is_well_is_0(tmp_path: Path) -> None:
    """Also when it is configured to listen on every address."""
    with LiveGate(tmp_path / "gate") as gate:
        port = gate.service.api_address.port
        for host in ("127.0.0.1", "0.0.0.0"):
            done = healthcheck(tmp_path, port, host)
            assert (done.exit_code, done.stdout) == (0, "ok\n")


def test_each_failing_check_is_named(tmp_path: Path) -> None:
    """Exit 1, one line for each; whoever can read the operator's token is told the details."""
    summary = "rules: the last reload was refused, older rules are in force"
    with LiveGate(tmp_path / "gate") as gate:
        gate.service._reloading.refused = "policies/x.yaml:1:1: broken"
        port = gate.service.api_address.port
        stranger, operator = healthcheck(tmp_path, port), healthcheck(gate.folder, port)
    assert (stranger.exit_code, stranger.stderr) == (1, f"{summary}\n")
    assert (operator.exit_code, operator.stderr) == (1, f"{summary}: policies/x.yaml:1:1: broken\n")


def test_nobody_there_is_69(tmp_path: Path) -> None:
    """With the command that would help."""
    done = healthcheck(tmp_path, 1)
    assert (done.exit_code, done.stderr) == (69, 'no gate answers on 127.0.0.1:1; start it with "claiim serve"\n')


class _Other(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[http.server.HTTPServer]:
    """Something else that listens where a gate is expected."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_something_else_is_69(tmp_path: Path, other: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says, it is no gate, and no trace."""
    for body in (b"<html>", b"[]", b"{}", b'{"faults": 7}', b'{"faults": ["x"]}', b"\xff"):
        monkeypatch.setattr(_Other, "body", body)
        assert healthcheck(tmp_path, other.server_port).exit_code == 69
