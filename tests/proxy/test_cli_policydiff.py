"""`claiim policy diff`: versions, files and folders, over every action that the catalogues know."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chron import Chron
from mappings.documents import read_document
from proxy.cli.main import main

type Run = Callable[..., Result]

V1 = "skill: deploy-v2\nallow: [deploy:staging, 'aws:ec2:*']\n"
V2 = "skill: deploy-v2\nversion: 2\nextends: [base-v1@1]\nallow: ['aws:ec2:describe*']\nuntil: '2027-01-01'\n"
BASE = "skill: base-v1\nallow: [health:check]\n"
POLICY = "policy: site\napplies_to: {orgs: [acme]}\ndeny: [infra:destroy]\n"
AGENTS = """\
version: 1
humans: [{id: alice@acme.test, org: acme, state: active}]
agents:
- {id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
- {id: second-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
- {id: base-bot, anchor: alice@acme.test, org: acme, state: active, skill: base-v1}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder with two versions, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("CLAIIM_"):
            monkeypatch.delenv(name)
    write("claiim.yaml", "version: 1\nmappings: []\n")
    write("agents.yaml", AGENTS)
    write("policies/v1.yaml", V1)
    write("policies/v2.yaml", V2)
    write("policies/base.yaml", BASE)
    return tmp_path


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)


def diff(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["policy", "diff", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_two_versions_are_compared_over_every_known_operation(site: Path) -> None:
    """Gained and lost, by the pattern that decides, with what an inherited text brings; machines get every action."""
    found = diff("deploy-v2@1", "deploy-v2@2")
    assert found.exit_code == 1
    lines = [line.split("actions:")[0].rstrip() for line in found.stdout.splitlines()]
    assert lines[:4] == [
        "skill:deploy-v2@1 -> skill:deploy-v2@2",
        "  until: none -> 2027-01-01",
        "  gained   deny -> allow",
        "    health:check",
    ]
    assert lines[4] == "  lost     allow -> deny"
    assert lines[5].startswith("    aws:ec2:* ")
    assert lines[6:] == ["    deploy:staging"]
    (compared,) = json.loads(diff("deploy-v2@1", "deploy-v2@2", "--json").stdout)["compared"]
    lost = {each["action"] for each in compared["lost"]}
    assert {"deploy:staging", "aws:ec2:terminateinstances", "aws:ec2:runinstances"} <= lost
    assert "aws:ec2:describeinstances" not in lost
    assert len(lost) > 300


def test_the_same_in_other_words_is_the_same(site: Path) -> None:
    """Exit 0, and nothing on stdout."""
    write("draft.yaml", "skill: deploy-v2\nversion: 9\nallow:\n- AWS:EC2:*\n- deploy:staging\n")
    found = diff("deploy-v2@1", "draft.yaml")
    assert (found.exit_code, found.stdout) == (0, "")
    assert json.loads(diff("deploy-v2@1", "draft.yaml", "--json").stdout) == {"same": True, "compared": []}


def test_a_version_that_only_the_chron_has_is_compared(site: Path) -> None:
    """Its file was deleted long ago."""
    with Chron.open(Path("state/chron.db"), low_water_bytes=0) as chron:
        digest = read_document(V1, "").digest
        chron.keep([("skill", "deploy-v2", "1", digest, V1)])
    Path("policies/v1.yaml").unlink()
    assert diff("deploy-v2@1", "deploy-v2").stdout.startswith("skill:deploy-v2@1 -> skill:deploy-v2@2\n")


def test_folders_are_compared_text_by_text_and_agent_by_agent(site: Path) -> None:
    """What a new policy takes from agents shows at the agents, those together for whom the same changes."""
    for name, text in {"v1": V1, "base": BASE}.items():
        write(f"old/{name}.yaml", text)
        write(f"new/{name}.yaml", text)
    write("old/site.yaml", POLICY)
    write("new/site.yaml", POLICY.replace("deny: [infra:destroy]", "version: 2\ndeny: [infra:destroy, 'deploy:*']"))
    found = diff("old", "new")
    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    assert lines[:2] == ["policy:site 1 -> 2", "  lost     no objection -> deny"]
    assert lines[2].startswith("    deploy:* ")
    assert lines[3:] == [
        "agent deploy-bot, second-bot",
        "  lost     allow -> deny",
        "    deploy:staging",
    ]


REFUSED = {
    "a version nobody has": (("deploy-v2@9", "deploy-v2"), 'skill "deploy-v2" has no version 9; known: 1, 2'),
    "a name nobody has": (("nothing", "deploy-v2"), 'text "nothing" does not exist; '),
    "a folder and a text": (("policies", "deploy-v2"), "a folder is compared with a folder; "),
    "a skill and a policy": (("deploy-v2", "site.yaml"), '"deploy-v2@2" is a skill and "site@1" is a policy; '),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_usage(site: Path, arguments: tuple[str, str], said: str) -> None:
    """Exit 2, never "the same"."""
    write("site.yaml", POLICY)
    found = diff(*arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(said)


def test_a_text_that_does_not_load_is_not_compared(site: Path) -> None:
    """Exit 78 with its faults, never "the same"."""
    write("draft.yaml", "skill: deploy-v2\nversion: 3\nextends: [gone@1]\nallow: [data:read]\n")
    found = diff("deploy-v2", "draft.yaml")
    assert found.exit_code == 78
    assert 'skill "gone" does not exist' in found.stderr
