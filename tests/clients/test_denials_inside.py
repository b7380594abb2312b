"""Refusals in the middle of what a tool does: what came before was allowed, and it shows all the same why no more."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from clients.tools import AGENTS, MAPPINGS, ByEnvironment, Ran
from support.gate import LiveGate
from support.needed import needed
from support.targets import GitServer, KubernetesApi, Origin, Seen, Target, TerraformState

type Started = Callable[..., ByEnvironment]

FETCH = {
    "id": "fetch-pack",
    "match": {"op": "git:fetch", "facts": {"phase": "transfer"}},
    "action": "repo:download",
    "target": "${repository}",
}
DISCOVERY = {
    "id": "discovery",
    "match": {"host": "app.terraform.io", "path": "/.well-known/terraform.json"},
    "action": "health:check",
    "target": "${host}",
}
CLOUD = """
terraform {
  cloud {
    organization = "acme"
    workspaces {
      name = "shop"
    }
  }
}
"""
SKILLS: dict[str, dict[str, Any]] = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["kubernetes:get:**", "kubernetes:list:**", "git:fetch", "health:check", "state:read", "data:read"],
        "deny": ["repo:download", "code:execute", "state:lock", "kubernetes:get:pods/log"],
        "limits": [{"action": "data:read", "most": 1, "per": "hour"}],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
    "operations-v1": {"skill": "operations-v1", "allow": ["data:**"]},
}


@pytest.fixture
def started(tmp_path: Path, target_ca_pem: Path) -> Iterator[Started]:
    """Put a target behind a gate whose agent may begin a few things and finish none."""
    with ExitStack() as stack:

        def start(target: Target) -> ByEnvironment:
            mappings = {**MAPPINGS, "rules": [*MAPPINGS["rules"], FETCH, DISCOVERY]}
            live = LiveGate(
                tmp_path / "gate", target, target_ca=target_ca_pem, mappings=mappings, skills=SKILLS, agents=AGENTS
            )
            (tmp_path / "work").mkdir()
            return stack.enter_context(ByEnvironment(live, tmp_path / "work"))

        yield start


def refused(gated: ByEnvironment, ran: Ran, count: int = 1) -> dict[str, Any]:
    """The refusal that a tool has shown and failed with; it was asked for `count` times."""
    assert ran.code != 0, ran.said
    denied = gated.decisions(outcome="DENY")
    assert len(denied) == count, [(each["method"], each["path"]) for each in denied]
    assert denied[-1]["reason"] in ran.said, ran.said
    assert any(each["id"] in ran.said for each in denied), ran.said
    return denied[-1]


def test_git_prints_why_it_gets_no_pack(started: Started, git_server: GitServer) -> None:
    """The refs it may see; of the pack it reads "ERR" where it waits for one, and the server is not asked."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(git_server.path.parent)}
    for command in (["init", "-q", "there"], ["-C", "there", "commit", "-q", "--allow-empty", "-mfirst"]):
        names = ("-c", "user.name=bot", "-c", "user.email=bot@acme.test")
        subprocess.run([needed("git"), *names, *command], cwd=git_server.path.parent, env=environment, check=True)
    there = git_server.path.parent / "there"
    subprocess.run(
        [needed("git"), "-C", there, "push", "-q", git_server.path, "HEAD:main"], env=environment, check=True
    )
    gated = started(git_server)
    ran = gated.run(needed("git"), "clone", git_server.remote)
    assert "fatal: remote error: skill:deploy-v2 -- action in deny list [chr_" in ran.err, ran.said
    assert refused(gated, ran)["action"] == "repo:download"
    assert {seen.method for seen in git_server.seen} == {"GET"}


STREAMS = {
    "exec": (["exec", "web-1", "--", "id"], 2),
    "port-forward": (["port-forward", "pod/web-1", ":80"], 2),
    "logs": (["logs", "--follow", "web-1"], 1),
}
"""Refused over WebSocket, kubectl asks once more over SPDY."""


@pytest.mark.parametrize(("command", "count"), STREAMS.values(), ids=STREAMS)
def test_kubectl_prints_why_there_is_no_stream(
    started: Started, kubernetes_api: KubernetesApi, command: list[str], count: int
) -> None:
    """What it looks up first is allowed; the stream itself is refused as anything else is."""
    gated = started(kubernetes_api)
    config = str(kubernetes_api.kubeconfig(gated.folder / "kubeconfig"))
    ran = gated.run(needed("kubectl"), *command, KUBECONFIG=config)
    refused(gated, ran, count)
    assert not [seen for seen in kubernetes_api.seen if seen.header("upgrade") or "/log" in seen.path]


def test_terraform_prints_why_it_gets_no_lock(started: Started, terraform_state: TerraformState) -> None:
    """It shows the name of the lock that it believes in, which is the refusal; the state's server never hears of it."""
    gated = started(terraform_state)
    tool = needed("terraform")
    terraform_state.write_configuration(gated.folder)
    assert gated.run(tool, "init", "-input=false", CHECKPOINT_DISABLE="1").code == 0
    ran = gated.run(tool, "apply", "-auto-approve", "-no-color", "-input=false", CHECKPOINT_DISABLE="1")
    # It wraps what it prints.
    unwrapped = Ran(ran.code, " ".join(ran.out.split()), " ".join(ran.err.replace("│", " ").split()))
    assert refused(gated, unwrapped)["action"] == "state:lock"
    assert "LOCK" not in {seen.method for seen in terraform_state.seen}


class HcpTerraform(Target):
    """As much of it as tells where its API is.

    https://developer.hashicorp.com/terraform/internals/remote-service-discovery
    """

    NAMES = ("app.terraform.io",)

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        places = {f"tfe.v2{more}": "/api/v2/" for more in ("", ".1", ".2")}
        return web.json_response(places | {"state.v2": "/api/v2/"})


def test_hcp_terraform_prints_why(started: Started, target_ca: trustme.CA) -> None:
    """It may find out where the API is and whether it is there; why it gets no more it prints."""
    with HcpTerraform(target_ca) as target:
        gated = started(target)
        (gated.folder / "main.tf").write_text(CLOUD)
        token = {"TF_TOKEN_app_terraform_io": "token", "CHECKPOINT_DISABLE": "1"}
        ran = gated.run(needed("terraform"), "init", "-no-color", "-input=false", **token)
        unwrapped = Ran(ran.code, " ".join(ran.out.split()), " ".join(ran.err.replace("│", " ").split()))
        refused(gated, unwrapped)
        assert {seen.path for seen in target.seen} == {"/.well-known/terraform.json", "/api/v2/ping"}


STATUS_LINES = {
    "requests": "import requests, sys; requests.get(sys.argv[1]).raise_for_status()",
    "httpx": "import httpx, sys; httpx.get(sys.argv[1]).raise_for_status()",
    "urllib": "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])",
    "aiohttp": """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as session:
        await session.get(sys.argv[1])
asyncio.run(main())
""",
}


@pytest.mark.parametrize("client", STATUS_LINES)
def test_a_limit_is_told_in_the_status_line(started: Started, origin: Origin, client: str) -> None:
    """403 and never 429, which many clients repeat by themselves; what a program's own error check raises says why."""
    gated = started(origin)
    command = (sys.executable, "-W", "ignore", "-c", STATUS_LINES[client], f"{origin.url}/echo")
    assert gated.run(*command).code == 0
    ran = gated.run(*command)
    denied = refused(gated, ran)
    found = [bool(re.search(rf"\b{status}\b", ran.err)) for status in (403, 429)]  # ids and ports have digits, too
    assert (denied["code"], *found) == ("skill.limit", True, False), ran.said
    assert len(origin.seen) == 1
