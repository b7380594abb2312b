"""A gate in front of the targets a test names, reached in either way."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients.denials import Gates, two_gates
from clients.tools import AGENTS, MAPPINGS, SKILLS, WAYS, Gated, Served
from support.gate import LiveGate
from support.targets import Target

type Behind = Callable[..., Gated]


def _site(folder: Path, targets: tuple[Target, ...], target_ca_pem: Path) -> tuple[LiveGate, Path]:
    live = LiveGate(folder / "gate", *targets, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS, agents=AGENTS)
    work = folder / "work"
    work.mkdir()
    return live, work


@pytest.fixture
def behind(way: str, tmp_path: Path, target_ca_pem: Path) -> Iterator[Behind]:
    """Put targets behind a gate, reached in the way that the test is for."""
    with ExitStack() as stack:
        yield lambda *targets: stack.enter_context(WAYS[way](*_site(tmp_path, targets, target_ca_pem)))


@pytest.fixture
def way() -> str:
    """How a tool comes to its gate; `in_both_ways` overrides it."""
    return "environment"


@pytest.fixture
def served(tmp_path: Path, target_ca_pem: Path) -> Iterator[Callable[..., Served]]:
    """Put targets behind a gate that is a process of its own."""
    with ExitStack() as stack:
        yield lambda *targets, **how: stack.enter_context(Served(*_site(tmp_path, targets, target_ca_pem), **how))


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    """Gates that refuse, for a file of callers."""
    with two_gates(tmp_path_factory.mktemp("gates")) as both:
        yield both
