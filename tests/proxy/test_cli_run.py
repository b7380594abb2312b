"""`claiim run`: environment, exit codes, signals and the summary, around a gate that only counts."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from chron import Record
from proxy.cli.run import inherited, run_behind, summary

PRINT = "import json, os, sys; print(json.dumps([dict(os.environ), open(os.environ['SSL_CERT_FILE']).read()]))"


@dataclass
class CountingGate:
    """A private gate without a proxy."""

    ca_pem: bytes
    session: str = "session-1"
    api_url: str = "http://127.0.0.1:9"
    counts: list[tuple[str, int]] = field(default_factory=list)

    def proxy_url(self, agent: str) -> str:
        return f"http://{agent}:{self.token(agent)}@127.0.0.1:8"

    def token(self, agent: str) -> str:
        return f"token-of-{agent}"

    def summary(self) -> list[tuple[str, int]]:
        return self.counts


@pytest.fixture
def gate() -> CountingGate:
    return CountingGate(trustme.CA().cert_pem.bytes())


async def test_the_command_is_wired(
    gate: CountingGate, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets proxy, trust, agent, token and run; nothing that would override them, and nothing outlives it."""
    monkeypatch.setenv("SSL_CERT_DIR", "/etc/ssl/certs")
    monkeypatch.setenv("CLAIIM_CONFIG", "/elsewhere.yaml")
    monkeypatch.setenv("MINE", "kept")
    assert await run_behind(gate, "deploy-bot", [sys.executable, "-c", PRINT]) == 0
    environ, bundle = json.loads(capfd.readouterr().out)
    assert environ["https_proxy"] == "http://deploy-bot:token-of-deploy-bot@127.0.0.1:8"
    assert (environ["CLAIIM_AGENT"], environ["CLAIIM_TOKEN"]) == ("deploy-bot", "token-of-deploy-bot")
    assert (environ["CLAIIM_URL"], environ["CLAIIM_RUN_ID"]) == ("http://127.0.0.1:9", "session-1")
    assert environ["MINE"] == "kept"
    assert not {"SSL_CERT_DIR", "CLAIIM_CONFIG"} & set(environ)
    assert gate.ca_pem.decode().strip() in bundle
    assert not os.path.exists(environ["SSL_CERT_FILE"])  # noqa: ASYNC240, PTH110


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param(["sh", "-c", "exit 7"], 7, "", id="its own code"),
        pytest.param(["sh", "-c", "kill -KILL $$"], 137, "", id="ended by a signal"),
        pytest.param(["/no/such/command"], 127, 'no command "/no/such/command"', id="no such command"),
        pytest.param(["/"], 126, 'cannot run "/": permission denied', id="not a program"),
    ],
)
async def test_the_exit_code_is_the_command_s(
    gate: CountingGate, capfd: pytest.CaptureFixture[str], command: list[str], code: int, said: str
) -> None:
    """Codes are what a shell would give."""
    assert await run_behind(gate, "deploy-bot", command) == code
    assert said in capfd.readouterr().err


async def test_standard_input_is_the_command_s(gate: CountingGate, capfd: pytest.CaptureFixture[str]) -> None:
    """The command reads what we were given to read."""
    saved = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.close(writing)
    os.dup2(reading, 0)
    try:
        assert await run_behind(gate, "deploy-bot", ["cat"]) == 0
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)
    assert capfd.readouterr().out == "hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_is_passed_on(
    gate: CountingGate, capfd: pytest.CaptureFixture[str], tmp_path: Path, number: signal.Signals
) -> None:
    """The command decides what INT, TERM and HUP mean; its code is passed on afterwards."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    name = number.name.removeprefix("SIG")
    trap = f"trap 'echo got {name}; exit 3' {name}; echo > {ready}; while :; do read -r x < {ready}; done"
    running = asyncio.create_task(run_behind(gate, "deploy-bot", ["sh", "-c", trap]))
    await asyncio.to_thread(ready.read_text)
    os.kill(os.getpid(), number)
    assert await running == 3
    assert capfd.readouterr().out == f"got {name}\n"


def test_another_gate_is_not_inherited() -> None:
    """A variable of an outer gate never reaches the command."""
    outer = {"CLAIIM_TOKEN": "x", "CLAIIM_STATE": "y", "SSL_CERT_DIR": "z", "grpc_proxy": "p", "A": "1"}
    assert inherited(outer) == {"A": "1"}


def test_the_summary_names_the_newest_denials() -> None:
    """Counts, then reason and id of each denial shown; a denial that was only observed says so."""
    denied = {"action": "deploy:production", "target": "api-v2", "mode": "enforce"}
    reason = "policy:no-prod-v1 -- action not in allow list"
    first = Record(1, "chr_1", denied | {"reason": reason}, b"")
    unnamed = {"host": "x.test", "mode": "observe", "reason": "mapping -- no rule names this request"}
    assert summary([("ALLOW", 2), ("DENY", 2)], [first, Record(2, "chr_2", unnamed, b"")]).splitlines() == [
        "claiim: 2 allowed, 2 denied",
        "  chr_1  deploy:production api-v2: policy:no-prod-v1 -- action not in allow list",
        "  chr_2  x.test: mapping -- no rule names this request (observed only: it was forwarded)",
    ]
    assert summary([], []) == "claiim: no call came to the gate"
