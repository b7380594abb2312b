"""docs/worked-example.md: its files, its commands and its output, end to end over a real gate with real clients."""

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.children import child
from support.forked import launcher
from support.pages import Command, Reader, blocks
from support.serving import Serving, clean_environment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "worked-example.md"
PLACES = {"target": "127.0.0.1:9000", "proxy": "127.0.0.1:8080", "api": "127.0.0.1:8181"}
"""What stands on the page."""


def _free_addresses() -> dict[str, str]:
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in PLACES}
        for one in sockets.values():
            one.bind(("127.0.0.1", 0))
        return {name: "{}:{}".format(*one.getsockname()) for name, one in sockets.items()}


class Stage:
    """What the page starts with "&": the target and the gate."""

    def __init__(self, reader: Reader, target: str, stack: ExitStack) -> None:
        self.reader = reader
        self.target = target
        self.stack = stack
        self.gate: Serving | None = None

    def start(self, command: str) -> None:
        """Start it and return when it can be reached; it ends with the test."""
        if command == "claiim serve":
            self.gate = self.stack.enter_context(Serving(self.reader.folder, environ=self.reader.environ))
            return
        assert command == "python3 orders.py"
        process = self.stack.enter_context(child(sys.executable, "orders.py", cwd=self.reader.folder))
        self.stack.callback(process.terminate)
        host, _, port = self.target.partition(":")
        while True:  # it prints nothing when it listens; a process that ended never will
            assert process.poll() is None
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                continue
            return


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """The page, followed to its end."""
    here = _free_addresses()
    folder = tmp_path / "shop"
    folder.mkdir()
    path = os.pathsep.join([str(Path(launcher()).parent), os.environ["PATH"]])
    environ = clean_environment(
        tmp_path, PATH=path, CLAIIM_PROXY_LISTEN=here["proxy"], CLAIIM_API_LISTEN=here["api"], LANG="C.UTF-8"
    )
    as_written = {"/srv/shop": str(folder), "9000": here["target"].partition(":")[2], PLACES["api"]: here["api"]}
    with ExitStack() as stack:
        made = Stage(Reader(folder, environ, as_written=as_written), here["target"], stack)
        made.reader.follow(PAGE.read_text(), made.start)
    return made


def test_the_page_is_what_happens(stage: Stage) -> None:
    """Every command ends and prints as the page says; then the log tells the same story."""
    gate = stage.gate
    assert gate is not None
    told = [
        (record["outcome"], record["action"], record["skill_version"], record["reason"])
        for record in gate.records(channel="wire")
    ]
    allowed, asked = "skill:orders -- action in allow list", "skill:orders -- action needs approval"
    assert told == [
        ("ALLOW", "health:check", 1, allowed),
        ("ALLOW", "health:check", 1, allowed),
        ("ALLOW", "deploy:staging", 1, allowed),
        ("ALLOW", "deploy:staging", 1, allowed),
        ("ALLOW", "deploy:production", 1, allowed),
        ("ALLOW", "infra:destroy", 1, allowed),
        ("ALLOW", "health:check", 2, allowed),
        ("ALLOW", "deploy:staging", 2, allowed),
        ("HOLD", "deploy:production", 2, asked),
        ("ALLOW", "deploy:production", 2, "skill:orders -- action approved by bob@acme.test"),
        ("HOLD", "deploy:production", 2, asked),
        ("DENY", "deploy:staging", 2, "skill:orders -- action not in allow list"),
        ("ALLOW", "deploy:staging", 1, allowed),
    ]
    put = [
        (record["text_version"], record["by"], record["approved_by"])
        for record in gate.records("policy", event="activated")
    ]
    assert put == [
        (1, "alice@acme.test", "bob@acme.test"),
        (2, "alice@acme.test", "bob@acme.test"),
        (1, "bob@acme.test", "alice@acme.test"),
    ]


def test_the_page_tells_the_whole_story() -> None:
    """Learning, testing, simulating, two people, rolling back: each of them is among its commands."""
    commands = "\n".join(step.text for step in blocks(PAGE.read_text()) if isinstance(step, Command))
    for verb in ("learn", "test", "diff", "simulate", "activate", "approve", "rollback", "versions"):
        assert f"claiim policy {verb} " in commands
