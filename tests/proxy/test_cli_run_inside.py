"""Inside `claiim run`: the SDK finds its gate, nobody opens a second one. The tools are in tests/clients."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import chron
from chron import Record
from support.forked import launcher
from support.gate import LiveGate, asked_engine
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

DENIED = "skill:deploy-v2 -- action in deny list"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool printed and what the gate said at the end."""

    code: int
    out: str
    err: str

    @property
    def denied_ids(self) -> list[str]:
        return re.findall(rf"^  (chr_[0-9a-z]{{26}})  .*: {re.escape(DENIED)}$", self.err, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gated:
    """A configuration with targets, and `claiim run` for it."""

    live: LiveGate
    folder: Path

    def run(self, *command: str, **more: str) -> Ran:
        claiim = [launcher(), "run", "--config", str(self.live.folder / "claiim.yaml")]
        done = subprocess.run(
            [*claiim, "--agent", "deploy-bot", "--", *command], capture_output=True, text=True, check=False,
            timeout=60, cwd=self.folder, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)} | asked_engine() | more,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def denial(self, ran: Ran) -> Record:
        """The record of the one denial that the summary names."""
        (named,) = ran.denied_ids
        shown = chron.show(self.live.config.chron, named)
        assert shown is not None
        assert (shown.record.text("outcome"), shown.record.text("reason")) == ("DENY", DENIED)
        return shown.record


@pytest.fixture
def gated(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Gated:
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    work = tmp_path / "work"
    work.mkdir()
    return Gated(live, work)


def test_the_sdk_finds_the_gate(gated: Gated) -> None:
    """Inside a run the SDK needs no arguments of its own beyond its environment."""
    program = (
        "import os; from claiim import Gate\n"
        "gate = Gate(agent_id=os.environ['CLAIIM_AGENT'], token=os.environ['CLAIIM_TOKEN'])\n"
        "print(gate.check(action='infra:destroy', target='all').reason)"
    )
    ran = gated.run(sys.executable, "-c", program)
    assert (ran.code, ran.out.strip()) == (0, DENIED), ran.err
    assert gated.denial(ran).text("channel") == "api"


def test_an_agent_that_is_not_there_is_named(gated: Gated) -> None:
    """An unknown agent and a missing choice are refused before anything starts, with what there is."""
    claiim = [launcher(), "run", "-c", str(gated.live.folder / "claiim.yaml")]
    for more, said in (
        (["--agent", "deploy-bto"], 'no agent "deploy-bto" in agents.yaml; known: deploy-bot, other-bot\n'),
        ([], "which agent runs this? give --agent; known: deploy-bot, other-bot\n"),
    ):
        environ = {"PATH": os.environ["PATH"], "HOME": str(gated.folder)}
        done = subprocess.run([*claiim, *more, "--", "true"], capture_output=True, text=True, env=environ)
        assert (done.returncode, done.stderr) == (2, said)
    assert not gated.live.config.chron.exists()


def test_a_gated_agent_cannot_open_a_gate_of_its_own(gated: Gated) -> None:
    """`claiim run` inside `claiim run` is refused."""
    inner = [sys.executable, "-m", "claiim_gate", "run", "-c", str(gated.live.folder / "claiim.yaml"), "--", "true"]
    ran = gated.run(*inner)
    assert (ran.code, '"claiim run" is refused inside' in ran.err) == (2, True), ran.err
