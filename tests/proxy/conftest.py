"""A gate in front of the origin, with rules that name reads, writes and deletions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.clients import client_of
from support.gate import LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A running gate; checks at its end that every decision has its outcome."""
    live = LiveGate(tmp_path / "gate", origin, plain_origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with running(live):
        yield live


@pytest.fixture
def client(gate: LiveGate) -> Iterator[httpx.Client]:
    """An unmodified client that is sent through the gate."""
    with client_of(gate) as connected:
        yield connected


type Run = Callable[..., Result]


@pytest.fixture
def claiim(gate: LiveGate, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command of ours for the gate of this test, as its operator."""
    monkeypatch.setenv("CLAIIM_API_LISTEN", str(gate.service.api_address))
    for name in ("CLAIIM_RUN_ID", "CLAIIM_STATE", "CLAIIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, [*arguments, "-c", str(gate.folder / "claiim.yaml")])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run
