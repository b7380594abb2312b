"""A gate in front of the origin, with rules that name reads, writes and deletions."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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
