"""What all tests share: targets, tools, and the torture's numbers brought home from the workers that found them."""

import gc

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from proxy.configloading import ENGINE
from support import forked
from support.fixtures import *  # noqa: F403
from support.gate import engines
from support.needed import needed
from support.torture.numbers import LINES, SEED, TORTURE

# A busy machine is no failure, and in a fresh clone the first text drawn waits until Hypothesis has built its tables.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
for what in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, what, 60)  # httpx waits five seconds where a test does not say how long


# What tests share is millions of objects that stay; looking through them again and again took a seventh of the time.
gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: one that begins last keeps one worker busy while the others are idle."""
    items.sort(key=lambda item: "torture" not in item.path.parts)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked with `engines` with those it names, else with each, or with the one that was asked for."""
    if marker := metafunc.definition.get_closest_marker("engines"):
        metafunc.parametrize("engine", marker.args or engines(), indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What serves the gates of a test, where it is run with each engine."""
    if (name := getattr(request, "param", None)) is not None:
        monkeypatch.setenv(ENGINE, name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the tools that a test needs before anything is set up for it."""
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            needed(tool)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what commands were forked from; in a worker, hand over what was counted there."""
    forked.end()
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["torture"] = list(LINES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take what a worker counted, for the summary at the end."""
    LINES.extend(getattr(node, "workeroutput", {}).get("torture", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the torture found, with the seed to find it again by."""
    if LINES:
        terminalreporter.section("torture")
        terminalreporter.line(f"{'long' if TORTURE else 'short'} numbers, seed {SEED}")
        for line in LINES:
            terminalreporter.line(line)
