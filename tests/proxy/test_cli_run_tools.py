"""`claiim run` with the real tools: nothing but their environment is set, and every denial is explained."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import chron
from chron import Record
from support.fixtures import *  # noqa: F403
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.targets import GitServer, KubernetesApi, MotoAws, Origin, TerraformState, find_aws

DENIED = "skill:deploy-v2 -- action in deny list"
MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [
        {"host": "api.k8s.test", "pack": "kubernetes"},
        {"host": "git.test", "pack": "git"},
    ],
    "rules": [
        *ORIGIN_MAPPINGS["rules"],
        {
            "id": "state",
            "match": {"host": "state.test", "path": "/state/{name}"},
            "action": "state:${name}",
            "target": "${name}",
        },
    ],
}
SKILLS = {
    "deploy-v2": {
        "skill": "deploy-v2",
        "allow": ["data:**", "kubernetes:get:**", "kubernetes:list:**", "git:fetch", "state:staging", "infra:create"],
        "deny": ["infra:destroy", "repo:push", "state:prod"],
    },
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}


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
        claiim = [sys.executable, "-m", "claiim_gate", "run", "--config", str(self.live.folder / "claiim.yaml")]
        done = subprocess.run(
            [*claiim, "--agent", "deploy-bot", "--", *command], capture_output=True, text=True, check=False,
            timeout=60, cwd=self.folder, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)} | more,
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
def gated(
    tmp_path: Path,
    origin: Origin,
    kubernetes_api: KubernetesApi,
    git_server: GitServer,
    terraform_state: TerraformState,
    moto_server: MotoAws,
    target_ca_pem: Path,
) -> Iterator[Gated]:
    moto_server.reset()
    targets = (origin, kubernetes_api, git_server, terraform_state, moto_server)
    live = LiveGate(tmp_path / "gate", *targets, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS)
    work = tmp_path / "work"
    work.mkdir()
    return Gated(live, work)


REQUESTS = "import requests, sys; a = requests.request(*sys.argv[1:]); print(a.status_code, a.text)"
HTTPX = "import httpx, sys; a = httpx.request(*sys.argv[1:]); print(a.status_code, a.text)"
FETCH = """
const [method, url] = process.argv.slice(1);
fetch(url, {method}).then(async (a) => console.log(a.status, await a.text()));
"""
HTTP_CLIENTS = {
    "curl": ["curl", "-sS", "-w", "%{http_code}", "-X"],
    "requests": [sys.executable, "-c", REQUESTS],
    "httpx": [sys.executable, "-c", HTTPX],
    "node": ["node", "-e", FETCH],
}


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.mark.parametrize("client", HTTP_CLIENTS)
def test_an_http_client_is_gated(gated: Gated, origin: Origin, client: str) -> None:
    """A read passes; a deletion is answered 403 with the reason, and the target never hears of it."""
    command = HTTP_CLIENTS[client]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    both = 'url=$1; shift; "$@" GET "$url"; echo; "$@" DELETE "$url"'
    ran = gated.run("sh", "-c", both, "sh", f"{origin.url}/echo", *command)
    assert ran.code == 0, ran.err
    assert "200" in ran.out
    assert "403" in ran.out
    assert DENIED in ran.out
    assert "claiim: 1 allowed, 1 denied" in ran.err
    assert gated.denial(ran).text("id") in ran.out
    assert [(seen.method, seen.header("proxy-authorization")) for seen in origin.seen] == [("GET", None)]


@needs("kubectl")
def test_kubectl_is_gated(gated: Gated, kubernetes_api: KubernetesApi) -> None:
    """`get pods` works; `delete deployment` prints the reason as Kubernetes would."""
    config = str(kubernetes_api.kubeconfig(gated.folder / "config"))
    ran = gated.run("sh", "-c", "kubectl get pods && kubectl delete deployment web", KUBECONFIG=config)
    assert ran.code == 1
    assert "web-1" in ran.out
    assert "Error from server (Forbidden): " in ran.err
    assert gated.denial(ran).text("action") == "infra:destroy"
    assert ran.err.count(DENIED) == 2
    assert kubernetes_api.replicas() == 1
    assert {seen.method for seen in kubernetes_api.seen} == {"GET"}


@needs("git")
def test_git_is_gated(gated: Gated, git_server: GitServer) -> None:
    """`ls-remote` works; `push` is refused with the reason before the server hears of it."""
    identity = [f"{part}{what}=a@acme.test" for part in ("GIT_AUTHOR_", "GIT_COMMITTER_") for what in ("NAME", "EMAIL")]
    script = (
        "git ls-remote $0 && git init -q -b main w && git -C w commit -q --allow-empty -m one && git -C w push $0 main"
    )
    ran = gated.run("sh", "-c", script, git_server.remote, **dict(pair.split("=") for pair in identity))
    assert ran.code != 0
    assert gated.denial(ran).text("action") == "repo:push"
    assert ran.err.count(DENIED) == 2, ran.err
    assert git_server.head() is None
    assert not [seen for seen in git_server.seen if "receive-pack" in seen.path]


@needs("terraform")
def test_terraform_is_gated(gated: Gated, terraform_state: TerraformState) -> None:
    """`apply` on one state works; on another the first request is refused."""
    for name in ("staging", "prod"):
        (gated.folder / name).mkdir()
        terraform_state.write_configuration(gated.folder / name, name)
    script = (
        "terraform -chdir=staging init -no-color && terraform -chdir=staging apply -auto-approve -no-color"
        " && terraform -chdir=prod init -no-color"
    )
    ran = gated.run("sh", "-c", script, CHECKPOINT_DISABLE="1")
    assert ran.code == 1
    assert "endpoint invalid auth" in ran.err  # terraform's words for any 403
    assert gated.denial(ran).text("target") == "prod"
    assert set(terraform_state.states) == {"/state/staging"}
    assert {seen.path.partition("?")[0] for seen in terraform_state.seen} == {"/state/staging"}


def test_aws_is_gated(gated: Gated, moto_server: MotoAws) -> None:
    """`run-instances` works; `terminate-instances` prints the reason and the instance lives on."""
    aws = find_aws()
    if aws is None:
        pytest.skip("aws is not installed")
    script = (
        'id=$("$0" ec2 run-instances --image-id ami-12c6146b --query "Instances[0].InstanceId" --output text)'
        ' && "$0" ec2 terminate-instances --instance-ids "$id"'
    )
    ran = gated.run("sh", "-c", script, aws, **moto_server.credentials())
    assert ran.code not in (0, 127)
    assert "TerminateInstances operation: " in ran.err
    assert gated.denial(ran).text("action") == "infra:destroy"
    assert ran.err.count(DENIED) == 2, ran.err
    assert [seen.body.split(b"&")[0] for seen in moto_server.seen] == [b"Action=RunInstances"]


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
    claiim = [sys.executable, "-m", "claiim_gate", "run", "-c", str(gated.live.folder / "claiim.yaml")]
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
