"""Unmodified tools behind a gate: where they are, how they are started, what they and the gate said.

A tool gets nothing but an environment, in one of two ways that a test cannot tell apart: a gate of this process
and the variables of `proxy.wiring`, or the command `claiim run` over a configuration folder on disk.
"""

import abc
import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

import chron
from policies import credential
from support.forked import launcher, start
from support.gate import LiveGate, asked_engine, running
from support.rules import ORIGIN_MAPPINGS

TIMEOUT_S = 120
DENIALS_SHOWN = 3
CHRON_ID = re.compile(r"chr_[0-9a-z]{26}")

NOT_ALLOWED = "action not in allow list"
IN_DENY_LIST = "action in deny list"

SKILLS: dict[str, dict[str, Any]] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": [
            "data:**",
            "deploy:staging",
            "kubernetes:get:**",
            "kubernetes:list:**",
            "aws:ec2:describeinstances",
            "git:fetch",
            "git:lfs-*",
            "registry:*",
            "repo:push",
            "state:read",
            "state:lock",
            "state:write:staging",
        ],
        "deny": ["deploy:production", "infra:destroy", "repo:push-main", "state:write:prod"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read", "git:fetch", "git:lfs-download", "registry:*"]},
    "operations-v1": {
        "skill": "operations-v1",
        "allow": ["data:**", "infra:**", "deploy:**", "aws:**", "kubernetes:**", "git:**", "repo:*", "code:execute"],
    },
}
BOTS = {"deploy-bot": "deploy-v2", "reader-bot": "reader-v1", "operations-bot": "operations-v1"}
TOKENS = {bot: f"clm_test-token-of-{bot}-0123456789abcdef" for bot in BOTS}
AGENTS: dict[str, Any] = {
    "version": 1,
    "humans": [{"id": "alice@acme.test", "name": "Alice", "org": "acme", "state": "active"}],
    "agents": [
        {
            "id": bot,
            "anchor": "alice@acme.test",
            "org": "acme",
            "state": "active",
            "skill": skill,
            "tokens": [credential(bot, TOKENS[bot]).token_sha256],
        }
        for bot, skill in BOTS.items()
    ],
}

_STATE = {"host": "state.test", "path": "/state/{name}"}
MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [
        {"host": "api.k8s.test", "pack": "kubernetes", "facts": {"cluster": "test"}},
        {"host": "git.test", "pack": "git"},
        {"host": "aws.test", "pack": "aws", "facts": {"account": "test"}},
        {"host": "registry.test", "pack": "registry"},
    ],
    "env": [
        {"value": "staging", "when": {"namespace": ["default", "staging"]}},
        {"value": "production", "when": {"namespace": "prod"}},
    ],
    "rules": [
        *ORIGIN_MAPPINGS["rules"],
        {
            "id": "elsewhere",
            "match": {"host": "other.test", "path": "/{what+}"},
            "action": "secret:read",
            "target": "${host}/${what}",
        },
        {
            "id": "lfs-read",
            "match": {"host": "lfs-store.test", "method": "GET", "path": "/objects/{oid}"},
            "action": "data:read",
            "target": "${host}/${oid}",
        },
        {
            "id": "lfs-write",
            "match": {"host": "lfs-store.test", "method": "PUT", "path": "/objects/{oid}"},
            "action": "data:write",
            "target": "${host}/${oid}",
        },
        {
            "id": "push-main",
            "match": {"op": "git:push", "facts": {"phase": "transfer", "branch": "main"}},
            "action": "repo:push-main",
            "target": "${repository}#${branch}",
        },
        {"id": "state-read", "match": {**_STATE, "method": "GET"}, "action": "state:read", "target": "${name}"},
        {
            "id": "state-lock",
            "match": {**_STATE, "method": ["LOCK", "UNLOCK"]},
            "action": "state:lock",
            "target": "${name}",
        },
        {
            "id": "state-write",
            "match": {**_STATE, "method": "POST"},
            "action": "state:write:${name}",
            "target": "${name}",
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool printed; what `claiim run` adds at the end stands apart."""

    code: int
    out: str
    err: str
    summary: str = ""

    @property
    def said(self) -> str:
        """Everything the tool printed."""
        return self.out + self.err


class Gated(abc.ABC):
    """A gate, its Chron, and a working folder that is the tool's home as well."""

    def __init__(self, live: LiveGate, folder: Path) -> None:
        self.live = live
        self.folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Check, once the gate has stopped, that no decision is without its outcome."""
        if not self.live.config.chron.exists():
            return  # no tool was run
        outcomes = [record["ref"] for record in self._records("outcome")]
        assert sorted(record["id"] for record in self._records("decision")) == sorted(outcomes)

    @abc.abstractmethod
    def run(self, *command: str, agent: str = "deploy-bot", **more: str) -> Ran:
        """Run a tool as an agent; `more` is what its user has in the environment besides."""

    def decisions(self, **wanted: object) -> list[dict[str, Any]]:
        """The decisions so far, oldest first, whose fields are as wanted."""
        return [
            record
            for record in self._records("decision")
            if all(record.get(name) == value for name, value in wanted.items())
        ]

    def outcome_of(self, decision: Mapping[str, Any]) -> dict[str, Any]:
        """What became of a request."""
        (outcome,) = [record for record in self._records("outcome") if record["ref"] == decision["id"]]
        return outcome

    def denied(self, ran: Ran) -> dict[str, Any]:
        """The one refused request, when the tool has shown its reason and its record; it went nowhere."""
        denied = self.only(outcome="DENY")
        assert denied["reason"] in ran.said, ran.said
        assert denied["id"] in ran.said, ran.said
        return denied

    def only(self, **wanted: object) -> dict[str, Any]:
        """The one decision whose fields are as wanted; when it is a denial nothing was sent."""
        (decision,) = self.decisions(**wanted)
        if decision["outcome"] == "DENY":
            assert self.outcome_of(decision)["result"] == "blocked"
        return decision

    def _records(self, kind: str) -> list[dict[str, Any]]:
        return [dict(record.fields) for record in chron.find(self.live.config.chron, kind=kind)]

    def _home(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **asked_engine()}


class ByEnvironment(Gated):
    """The gate runs in this process; the tool gets the variables."""

    def __enter__(self) -> Self:
        self._running = running(self.live)
        self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def environment(self, agent: str = "deploy-bot") -> dict[str, str]:
        """What the tool is given, and nothing of this machine's own wiring."""
        (self.live.folder / "wiring").mkdir(exist_ok=True)
        wired = self.live.environment(agent, TOKENS[agent])
        return self._home() | {name: value for name, value in wired.items() if os.environ.get(name) != value}

    def run(self, *command: str, agent: str = "deploy-bot", **more: str) -> Ran:
        done = _run(command, self.folder, self.environment(agent) | more)
        return Ran(done.returncode, done.stdout, done.stderr)

    def _records(self, kind: str) -> list[dict[str, Any]]:
        return self.live.records(kind)


class ByCommand(Gated):
    """Each tool has a gate of its own, by `claiim run`."""

    def run(self, *command: str, agent: str = "deploy-bot", **more: str) -> Ran:
        config = str(self.live.folder / "claiim.yaml")
        started = [launcher(), "run", "--config", config, "--agent", agent, "--", *command]
        done = _run(started, self.folder, self._home() | more)
        err, mark, summary = done.stderr.rpartition("claiim: ")
        assert mark, done.stderr
        self._check(summary)
        return Ran(done.returncode, done.stdout, err, summary)

    def _check(self, summary: str) -> None:
        """The summary counts right and names the newest denials with their reasons."""
        session = self._records("decision")[-1]["session"]
        decisions = self.decisions(session=session)
        denied = [decision for decision in decisions if decision["outcome"] == "DENY"]
        assert summary.startswith(f"{len(decisions) - len(denied)} allowed, {len(denied)} denied\n"), summary
        shown = re.findall(r"^  (\S+)  .*?: (.* -- .*)$", summary, re.MULTILINE)
        assert shown == [(decision["id"], decision["reason"]) for decision in denied[-DENIALS_SHOWN:]]


def _run(command: Any, folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=folder,
        stdin=subprocess.DEVNULL, env=dict(environ),
    )  # fmt: skip


def run_in(folder: Path, command: list[str], environ: Mapping[str, str]) -> Ran:
    """Run a command with this environment and nothing of this machine's own but where its tools are."""
    done = _run(command, folder, {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environ})
    return Ran(done.returncode, done.stdout, done.stderr)


WAYS: dict[str, type[Gated]] = {"environment": ByEnvironment, "claiim-run": ByCommand}
in_both_ways = pytest.mark.parametrize("way", WAYS)
"""For one test of each kind of tool; `claiim run` takes a second."""


class Served(Gated):
    """`claiim serve` as a process of its own; tools get what `claiim env` prints.

    One that starts `anew` has imported everything itself, so that the memory it takes is its own.
    """

    def __init__(self, live: LiveGate, folder: Path, *, anew: bool = False) -> None:
        super().__init__(live, folder)
        self._anew = anew

    def __enter__(self) -> Self:
        config = str(self.live.folder / "claiim.yaml")
        self._process = start("serve", "--config", config, folder=self.folder, environ=self._home(), anew=self._anew)
        assert self._process.stderr is not None
        self._said: list[str] = []
        for line in self._process.stderr:
            self._said.append(line)
            if match := re.search(r"proxy on (\S+), control API on (\S+)$", line):
                break
        else:
            self._process.stderr.close()
            self._process.wait(TIMEOUT_S)
            pytest.fail(f"claiim serve did not start: {''.join(self._said)}")
        self._listening = {"CLAIIM_PROXY_LISTEN": match[1], "CLAIIM_API_LISTEN": match[2]}
        self._reader = threading.Thread(target=lambda: self._said.extend(self._process.stderr or ()))
        self._reader.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()
        super().__exit__(*error)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ca(self) -> Path:
        return self.live.config.ca_certificate

    def proxy(self, agent: str = "deploy-bot") -> str:
        """The proxy URL with credentials."""
        return f"http://{agent}:{TOKENS[agent]}@{self._listening['CLAIIM_PROXY_LISTEN']}"

    def stop(self) -> None:
        """Stop it as a service manager would; after that its Chron holds every outcome."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            code = self._process.wait(TIMEOUT_S)
        finally:
            self._process.kill()
            self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        assert code == 0, "".join(self._said)

    def claiim(self, *command: str) -> Ran:
        """Run a command of ours as the operator, with the same configuration."""
        done = _run([launcher(), *command], self.live.folder, self._home() | self._listening)
        return Ran(done.returncode, done.stdout, done.stderr)

    def environment(self, agent: str = "deploy-bot") -> dict[str, str]:
        """What a shell has after `eval "$(claiim env)"`."""
        token = {"CLAIIM_TOKEN": TOKENS[agent]}
        command = [launcher(), "env", "--agent", agent, "--json"]
        done = _run(command, self.live.folder, self._home() | self._listening | token)
        assert done.returncode == 0, done.stderr
        return self._home() | json.loads(done.stdout)["set"]

    def run(self, *command: str, agent: str = "deploy-bot", **more: str) -> Ran:
        done = _run(command, self.folder, self.environment(agent) | more)
        return Ran(done.returncode, done.stdout, done.stderr)
