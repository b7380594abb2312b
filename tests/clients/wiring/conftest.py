"""One gate, one target and one trap for all tools, reached in two ways."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import trustme

import chron
from clients.tools import AGENTS, MAPPINGS, SKILLS, TOKENS
from clients.wiring.drives import AROUND, Drive
from clients.wiring.scripts import JAVA
from clients.wiring.shelf import Shelf, Trap, with_hosts
from clients.wiring.traps import SHELL, write_traps
from support.forked import launcher
from support.gate import LiveGate, asked_engine, running
from support.needed import found
from support.networks import networks
from support.targets import GitServer, Target
from support.targets.grpcs import GrpcServer

RUNNING = Path(__file__).with_name("running.py")
TIMEOUT_S = 600
HOSTS = {"git": "git.test", "gRPC": "grpc.test"}
"""Who has what a drive asks for, where it is not origin.test."""
SITE_MAPPINGS: dict[str, Any] = {
    **MAPPINGS,
    "bind": [*MAPPINGS["bind"], {"host": "grpc.test", "pack": "grpc"}],
    "rules": [
        *MAPPINGS["rules"],
        {"id": "echo", "match": {"op": "grpc:echo.Echo/Unary"}, "action": "data:read", "target": "${host}"},
    ],
}
type Results = Mapping[str, tuple[int, str]]


@dataclass
class Site:
    """Where everything is; `drive` runs commands as a tool behind the gate would run."""

    folder: Path
    live: LiveGate
    """For `claiim env`; it runs."""
    private: LiveGate
    """For `claiim run`; only its folder is used."""
    trap: Trap
    prefix: list[str]
    plans: int = 0
    """How many were made; each has folders of its own, so that nothing is in a cache."""

    def base(self, drive: str, *, allowed: bool) -> str:
        """The URL that a drive's call is below."""
        own = drive if drive in AROUND else HOSTS.get(drive, "origin.test")
        return f"https://{own if allowed else 'other.test'}"

    def plan(self, drives: Mapping[str, Drive], *, allowed_only: bool = False) -> list[dict[str, Any]]:
        """Both calls of each drive, or the first alone, as `running.py` takes them."""
        steps = []
        self.plans += 1
        for name, drive in drives.items():
            for call in ("allowed",) if allowed_only else ("allowed", "denied"):
                base = self.base(name, allowed=call == "allowed")
                folder = self.folder / f"drives-{self.plans}" / re.sub(r"\W+", "-", name) / call
                folder.mkdir(parents=True, exist_ok=True)
                argv = drive.command(base, folder)
                argv[0] = found(argv[0]) or argv[0]
                environ = dict(drive.environ(base, folder))
                steps.append({"name": f"{name} {call}", "argv": argv, "environ": environ, "cwd": str(folder)})
        return steps

    @cached_property
    def inherited(self) -> dict[str, str]:
        """The environment that an agent's shell had before: its own programs and home, and traps."""
        home = self.folder / "home"
        own = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "CLASSPATH": str(self.classes)}
        own["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
        return own | asked_engine() | write_traps(home)

    @cached_property
    def classes(self) -> Path:
        """The compiled Java programs."""
        folder = self.folder / "classes"
        folder.mkdir()
        if javac := found("javac"):
            for name, text in JAVA.items():
                (folder / f"{name}.java").write_text(text)
            sources = [str(folder / f"{name}.java") for name in JAVA]
            subprocess.run([javac, "-d", str(folder), *sources], check=True, timeout=TIMEOUT_S)
        return folder

    def by_env(self, plan: list[dict[str, Any]], *options: str, agent: str = "deploy-bot") -> Results:
        """In a shell that has evaluated what `claiim env` prints."""
        (self.live.folder / "token").write_text(TOKENS[agent])
        listening = {
            "CLAIIM_PROXY_LISTEN": str(self.live.service.proxy_address),
            "CLAIIM_API_LISTEN": self.live.api.removeprefix("http://"),
        }
        env = [launcher(), "env", "--config", str(self.live.folder / "claiim.yaml"), "--agent", agent]
        env += ["--token-file", str(self.live.folder / "token"), "--files", str(self.folder / "with blank"), *options]
        return self._run(
            ["sh", "-c", f'given="$({shlex.join(env)})" && eval "$given" && exec "$@"', "sh"], plan, listening
        )

    def by_run(self, plan: list[dict[str, Any]], agent: str = "deploy-bot") -> Results:
        """Behind the private gate of `claiim run`."""
        config = str(self.private.folder / "claiim.yaml")
        return self._run([launcher(), "run", "--config", config, "--agent", agent, "--"], plan, {})

    def privately_recorded(self) -> list[dict[str, Any]]:
        """The decisions of the gates of `claiim run`."""
        return [dict(record.fields) for record in chron.find(self.private.config.chron, kind="decision")]

    def without(self, plan: list[dict[str, Any]]) -> Results:
        """With no wiring at all, and nothing in the shell that would lead elsewhere."""
        return self._run(["env", *(f"--unset={name}" for name in SHELL)], plan, {})

    def _run(self, way: list[str], plan: list[dict[str, Any]], environ: Mapping[str, str]) -> Results:
        written, results = self.folder / "plan.json", self.folder / "results.json"
        written.write_text(json.dumps(plan))
        results.unlink(missing_ok=True)
        command = [*self.prefix, *way, sys.executable, str(RUNNING), str(written), str(results)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
            env=self.inherited | environ, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return {name: tuple(result) for name, result in json.loads(results.read_text()).items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA, target_ca_pem: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("wiring")
    with networks() as (machine, _), machine.entered(), ExitStack() as stack:
        servers: tuple[Target, ...] = (
            Shelf(target_ca),
            GitServer(target_ca, folder / "git-root"),
            GrpcServer(target_ca),
        )
        targets = [stack.enter_context(server) for server in servers]
        prefix = with_hosts(folder, [*(name for target in targets for name in target.names), *AROUND])
        trap = stack.enter_context(Trap())
        live, private = (
            LiveGate(
                folder / name, *targets, target_ca=target_ca_pem, mappings=SITE_MAPPINGS, skills=SKILLS, agents=AGENTS
            )
            for name in ("gate", "private")
        )
        stack.enter_context(running(live))
        yield Site(folder, live, private, trap, prefix)
