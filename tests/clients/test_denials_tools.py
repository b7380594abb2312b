"""Command-line tools: what they print has our reason and the record in it, they fail, and they ask once."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from clients.denials import TOOLS, UNTRIED, Gates
from clients.tools import Ran, run_in
from support.needed import needed

ROOT = Path(__file__).parents[2]
MOST_TRIES = 7
"""Of what is no denial; kubectl looks six times for the API."""

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://kubernetes.test"}}]
users: [{name: bot, user: {token: kubernetes-token}}]
contexts: [{name: test, context: {cluster: test, user: bot}}]
current-context: test
"""
BACKEND = """
terraform {
  backend "http" {
    address = "https://state.test/state/prod"
  }
}
"""
CRATE = """
package = { name = "shop", version = "0.1.0", edition = "2021" }
dependencies = { serde = "1" }
lib = { path = "Cargo.toml" }
"""
OCTOKIT = """
const { Octokit } = await import('@octokit/rest');
await new Octokit({ auth: 'token' }).rest.repos.delete({ owner: 'acme', repo: 'shop' });
"""
OCTOKIT_GRAPHQL = """
const { graphql } = await import('@octokit/graphql');
const mutation = 'mutation { deleteRef(input: {refId: "r"}) { clientMutationId } }';
await graphql(mutation, { headers: { authorization: 'token' } });
"""
MUTATION = 'query=mutation { deleteRef(input: {refId: "r"}) { clientMutationId } }'
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}

COMMANDS: dict[str, list[str]] = {
    "kubectl get --raw": ["kubectl", "get", "--raw", "/api/v1/namespaces/default/pods"],
    "kubectl, discovery": ["kubectl", "delete", "deployment", "web"],
    "aws": ["aws", "lambda", "delete-function", "--function-name", "checkout"],
    "aws s3 cp": ["aws", "s3", "cp", "s3://shop/orders.csv", "orders.csv"],
    "gh api": ["gh", "api", "-X", "DELETE", "/repos/acme/shop"],
    "gh api graphql": ["gh", "api", "graphql", "-f", MUTATION],
    "gh pr list": ["gh", "pr", "list", "-R", "acme/shop"],
    "octokit": ["node", "--input-type=module", "-e", OCTOKIT],
    "octokit graphql": ["node", "--input-type=module", "-e", OCTOKIT_GRAPHQL],
    "git clone": ["git", "clone", "https://git.test/acme/shop.git"],
    "git lfs": ["git-lfs", "locks"],
    "docker": ["docker", "--tlsverify", "--tlscacert", "{bundle}", "-H", "tcp://docker.test:443", "rm", "web"],
    "gcloud": ["gcloud", "projects", "list", "--quiet"],
    "terraform, http backend": ["terraform", "init", "-input=false", "-no-color"],
    "npm": ["npm", "view", "left-pad", "--fetch-retries=1"],
    "pip, an index": [sys.executable, "-m", "pip", "download", "--no-deps", "--retries=0", "left-pad"],
    "cargo": ["cargo", "fetch"],
    "curl": ["curl", "-sS", "--fail-with-body", "https://shop.test/orders"],
    "curl --fail": ["curl", "-sS", "--fail", "https://shop.test/orders"],
    "wget": ["wget", "-nv", "--ca-certificate={bundle}", "https://shop.test/orders"],
    "skopeo": ["skopeo", "inspect", "docker://registry.test/shop/web:1"],
}
"""By the name of the row; the bundle is that of the case."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A home with all that a tool's user has in it."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "main.tf").write_text(BACKEND)
    (tmp_path / "Cargo.toml").write_text(CRATE)
    (tmp_path / ".lfsconfig").write_text('[lfs]\n\turl = "https://git.test/acme/shop.git/info/lfs"\n')
    return tmp_path


def users(work: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What a user has in the environment besides."""
    return {
        **environ,
        **AWS,
        "AWS_MAX_ATTEMPTS": "2",
        "KUBECONFIG": str(work / "kubeconfig"),
        "GH_TOKEN": "token",
        "CHECKPOINT_DISABLE": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "token",
        # Neither is to look for a newer version of itself.
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "npm_config_update_notifier": "false",
        "CARGO_HOME": str(work / "cargo"),
        "CARGO_NET_RETRY": "0",
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
    }


def run(work: Path, name: str, environ: Mapping[str, str]) -> Ran:
    """Run the command of a row."""
    tool, *arguments = COMMANDS[name]
    folder = work
    if tool == "node":
        folder = ROOT / ".clients"
        if not (folder / "node_modules").exists():
            pytest.skip('octokit is not here; "make clients" fetches it')
    if tool == "git-lfs":
        environment = {"PATH": os.environ["PATH"], "HOME": str(work)}
        subprocess.run([needed("git"), "init", "-q"], cwd=work, env=environment, check=True)
    command = [needed(tool), *(each.replace("{bundle}", environ["SSL_CERT_FILE"]) for each in arguments)]
    return run_in(folder, command, {**users(work, environ), "HOME": str(work)})


CASES = ("denied", "unrecorded", "wrong token")
ROWS = [(case, name) for name, row in TOOLS.items() for case in CASES if row.shows(case) != UNTRIED]


@pytest.mark.parametrize(("case", "name"), ROWS)
def test_a_tool_shows_what_the_page_says(gates: Gates, work: Path, case: str, name: str) -> None:
    """It fails, shows of the refusal what its row says, and comes back no more often than it may."""
    caller, before = TOOLS[name], gates.count(case)
    ran = run(work, name, gates.environments[case])
    assert ran.code != 0, ran.said
    asked = gates.count(case) - before
    if case == "denied":
        assert asked == caller.requests, [each["path"] for each in gates.records(case)[before:]]
    else:
        assert 1 <= asked <= MOST_TRIES, ran.said
    assert gates.shown(ran.said, case, before) == caller.shows(case), ran.said


def test_every_command_has_a_row() -> None:
    """And every row a command."""
    assert COMMANDS.keys() == TOOLS.keys()
