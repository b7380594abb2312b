"""Terraform with its HTTP state backend: one rule for each verb of the backend, the state's name in the action.

Terraform shows nothing of the body of a refusal (internal/backend/remote-state/http/client.go): the reason
is in the summary of `claiim run` and in the Chron.
"""

import json
from collections.abc import Callable

import pytest

from clients.conftest import Behind
from clients.tools import IN_DENY_LIST, NOT_ALLOWED, Gated, Ran, in_both_ways
from support.needed import needed
from support.targets import TerraformState

type Terraform = Callable[..., Ran]


@pytest.fixture
def gated(behind: Behind, terraform_state: TerraformState) -> Gated:
    return behind(terraform_state)


@pytest.fixture
def terraform(gated: Gated, terraform_state: TerraformState) -> Terraform:
    """Run terraform on the configuration whose state has the name given first."""
    tool = needed("terraform")

    def run(name: str, *arguments: str, agent: str = "deploy-bot") -> Ran:
        folder = gated.folder / name
        if not folder.exists():
            folder.mkdir()
            terraform_state.write_configuration(folder, name)
        return gated.run(tool, f"-chdir={folder}", *arguments, "-no-color", agent=agent, CHECKPOINT_DISABLE="1")

    return run


def test_a_state_is_kept_where_it_may_be(gated: Gated, terraform: Terraform, terraform_state: TerraformState) -> None:
    """init, apply and reading the state back work; every verb of the backend is a decision of its own."""
    assert terraform("staging", "init", "-input=false").code == 0
    applied = terraform("staging", "apply", "-auto-approve", "-input=false")
    assert (applied.code, "Apply complete!" in applied.out) == (0, True), applied.said
    listed = terraform("staging", "state", "list")
    assert (listed.code, listed.out) == (0, "terraform_data.site\n"), listed.said
    assert json.loads(terraform_state.states["/state/staging"])["outputs"]["site"]["value"] == "v1"
    assert terraform_state.locks == {}
    decisions = gated.decisions()
    assert {(one["method"], one["action"]) for one in decisions} == {
        ("GET", "state:read"),
        ("LOCK", "state:lock"),
        ("POST", "state:write:staging"),
        ("UNLOCK", "state:lock"),
    }
    assert {(one["outcome"], one["reason"]) for one in decisions} == {
        ("ALLOW", "skill:deploy-v2 -- action in allow list")
    }
    assert len(decisions) == len(terraform_state.seen)


@in_both_ways
def test_another_state_is_not_written(gated: Gated, terraform: Terraform, terraform_state: TerraformState) -> None:
    """The write is refused, terraform fails and gives its lock back; the server has no state."""
    assert terraform("prod", "init", "-input=false").code == 0
    applied = terraform("prod", "apply", "-auto-approve", "-input=false")
    assert applied.code == 1, applied.said
    assert "HTTP error: 403" in applied.err
    denied = gated.decisions(outcome="DENY")
    assert {(one["method"], one["action"], one["reason"]) for one in denied} == {
        ("POST", "state:write:prod", f"skill:deploy-v2 -- {IN_DENY_LIST}")
    }
    assert {gated.outcome_of(one)["result"] for one in denied} == {"blocked"}
    assert (terraform_state.states, terraform_state.locks) == ({}, {})
    assert "POST" not in {seen.method for seen in terraform_state.seen}
    assert (gated.folder / "prod" / "errored.tfstate").is_file(), "terraform keeps what it could not write"


def test_an_agent_without_the_right_does_not_begin(
    gated: Gated, terraform: Terraform, terraform_state: TerraformState
) -> None:
    """Reading the state is the first thing init does."""
    ran = terraform("staging", "init", "-input=false", agent="reader-bot")
    assert (ran.code, "endpoint invalid auth" in ran.err) == (1, True), ran.said
    denied = gated.only()
    assert (denied["action"], denied["reason"]) == ("state:read", f"skill:reader-v1 -- {NOT_ALLOWED}")
    assert terraform_state.connections == 0
