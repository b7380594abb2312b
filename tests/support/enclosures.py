"""`docs/enclose.sh` for tests: an agent's network on the machine of `support.networks`."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.networks import Network, Outside, sh

ENCLOSE = Path(__file__).parents[2] / "docs" / "enclose.sh"


@dataclass(slots=True)
class Enclosure:
    """One agent's network, while it is made."""

    name: str
    machine: Network
    outside: Outside
    gate_address: str
    agent_address: str
    environment: Path = Path("/dev/null")
    """What is evaluated before a command is run."""

    @contextlib.contextmanager
    def made(self, **options: str) -> Iterator[None]:
        """Make it and take it away."""
        addresses = {"ENCLOSURE_GATE": self.gate_address, "ENCLOSURE_AGENT": self.agent_address}
        with self.machine.entered():
            sh("sh", str(ENCLOSE), "up", self.name, **addresses, **options)
            try:
                yield
            finally:
                sh("sh", str(ENCLOSE), "down", self.name)

    def run(self, *command: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """A command as the agent runs it."""
        with self.machine.entered():
            return subprocess.run(
                ["sh", str(ENCLOSE), "run", self.name, user, str(self.environment), *command],
                capture_output=True,
                text=True,
                timeout=60,
                cwd="/",
            )

    @contextlib.contextmanager
    def routed(self) -> Iterator[None]:
        """With a route that leads out, which no agent can make for itself."""
        with self.machine.entered():
            sh("ip", "-n", self.name, "route", "add", "default", "via", self.gate_address)
            try:
                yield
            finally:
                sh("ip", "-n", self.name, "route", "delete", "default")
