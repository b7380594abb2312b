"""`claiim can` and `claiim explain` with the circumstances of a question: answers, exit codes, what would turn them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

AGENTS = """\
version: 1
humans: [{id: alice@acme.test, org: acme, state: active}]
agents:
- {id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
"""

SKILL = """\
skill: deploy-v2
allow:
- "deploy:*"
- {action: infra:plan, when: {environment: [staging], client: 10.0.0.0/8, access: [read]}}
- {action: infra:apply, when: {time: {from: "09:00", to: "17:00", zone: UTC}}}
- odd:word
deny: [deploy:production]
approve: [infra:destroy]
require: [{action: deploy:staging, header: x-ticket, like: "OPS-*", why: every change has one}]
limits: [{id: calm, action: odd:word, most: 3, per: day}]
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder with one skill, as the working directory."""
    for name in ("policies", "mappings"):
        (tmp_path / name).mkdir()
    (tmp_path / "claiim.yaml").write_text("version: 1\n")
    (tmp_path / "agents.yaml").write_text(AGENTS)
    (tmp_path / "policies/deploy-v2.yaml").write_text(SKILL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claiim(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


ANSWERS = {
    "no": ("deploy:production", [], 1, "no   skill:deploy-v2 -- action in deny list"),
    "ask": ("infra:destroy", [], 8, "ask  skill:deploy-v2 -- action needs approval"),
    "no header": ("deploy:staging", [], 1, 'no   skill:deploy-v2 -- header "x-ticket" is missing'),
    "header": ("deploy:staging", ["--header", "X-Ticket=OPS-1"], 0, "yes  skill:deploy-v2 -- action in allow list"),
    "not told": ("infra:plan", [], 1, "no   skill:deploy-v2 -- action not in allow list"),
    "all told": (
        "infra:plan",
        ["--environment", "staging", "--client", "10.1.2.3", "--attribute", "access=read"],
        0,
        "yes  skill:deploy-v2 -- action in allow list",
    ),
    "at night": (
        "infra:apply",
        ["--at", "2026-01-02T03:00:00Z"],
        1,
        "no   skill:deploy-v2 -- action not in allow list",
    ),
    "in the day": ("infra:apply", ["--at", "2026-01-02T12:00:00Z"], 0, "yes  skill:deploy-v2 -- action in allow list"),
    "unused": ("odd:word", [], 0, "yes  skill:deploy-v2 -- action in allow list"),
    "used up": (
        "odd:word",
        ["--uses", "3"],
        1,
        "no   skill:deploy-v2 -- limit of 3 per day reached for deploy-bot",
    ),
    "used up by name": (
        "odd:word",
        ["--uses", "skill:deploy-v2/calm=3"],
        1,
        "no   skill:deploy-v2 -- limit of 3 per day reached for deploy-bot",
    ),
    "another limit": ("odd:word", ["--uses", "skill:other=3"], 0, "yes  skill:deploy-v2 -- action in allow list"),
}


@pytest.mark.parametrize(("action", "options", "code", "said"), ANSWERS.values(), ids=ANSWERS)
def test_answers(action: str, options: list[str], code: int, said: str) -> None:
    """Yes, no and ask are words and exit codes; explain ends with the same code and the same reason."""
    done = claiim("can", action, "--as", "deploy-bot", *options)
    assert (done.exit_code, done.stdout.strip()) == (code, said)
    quiet = claiim("can", action, "--as", "deploy-bot", "-q", *options)
    assert (quiet.exit_code, quiet.stdout) == (code, "")
    explained = claiim("explain", "--agent", "deploy-bot", "--action", action, "--json", *options)
    assert (explained.exit_code, json.loads(explained.stdout)["reason"]) == (code, said[5:])


def test_nobody_can_do_nothing() -> None:
    """An agent that does not exist is a no."""
    done = claiim("can", "deploy:staging", "--as", "ghost")
    assert (done.exit_code, done.stdout.strip()) == (1, "no   agent:ghost -- unknown")
    assert claiim("can", "--list", "--as", "ghost").exit_code == 1


def test_list() -> None:
    """What is known by name and may be done, or asked for, is listed; nothing that is denied is."""
    done = claiim("can", "--list", "--as", "deploy-bot", "--header", "x-ticket=OPS-1", "--json")
    assert done.exit_code == 0
    rows = {row["action"]: row["answer"] for row in json.loads(done.stdout)}
    assert rows["deploy:staging"] == rows["deploy:plan"] == rows["odd:word"] == "yes"
    assert rows["infra:destroy"] == "ask"
    assert not {"deploy:production", "infra:plan", "pr:merge"} & set(rows)
    table = claiim("can", "--list", "--as", "deploy-bot")
    assert table.stdout.splitlines()[0].split() == ["action", "answer", "reason", "rule"]
    assert table.stderr == "wildcards may permit more than is known here by name\n"


USAGE = {
    "neither": (["--as", "deploy-bot"], "name one action, or give --list"),
    "both": (["x", "--list", "--as", "deploy-bot"], "--list takes no action"),
    "a pattern": (["deploy:*", "--as", "deploy-bot"], "is a pattern, not an action"),
    "no time": (["x", "--as", "deploy-bot", "--at", "noon"], '"noon" is not a time'),
    "no header": (["x", "--as", "deploy-bot", "--header", "ticket"], "write NAME=VALUE"),
    "no attribute": (["x", "--as", "deploy-bot", "--attribute", "colour=red"], "nothing that rules ask about"),
    "no number": (["x", "--as", "deploy-bot", "--uses", "many"], "is no number of uses"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage(arguments: list[str], message: str) -> None:
    """What cannot be meant is said in words, with exit code 2."""
    done = claiim("can", *arguments)
    assert (done.exit_code, message in " ".join(done.stderr.split())) == (2, True)


def test_explain_says_what_would_turn_it(site: Path) -> None:
    """Notes stand below their stage; one change is a line, several are numbered."""
    one = claiim("explain", "--agent", "deploy-bot", "--action", "deploy:staging").stdout
    assert 'to make it ALLOW: send header x-ticket like "OPS-*"' in one
    several = claiim("explain", "--agent", "deploy-bot", "--action", "infra:plan", "--client", "192.0.2.1").stdout
    place = f"{site}/policies/deploy-v2.yaml"
    assert f"would be met but for {place}:4:3 (when client 10.0.0.0/8; when environment staging; when access read)" in (
        several
    )
    assert (
        f'to make it ALLOW: add "infra:plan" to allow of skill deploy-v2 ({place}:2:1) and raise its version' in several
    )
    turned = claiim(
        "explain", "--agent", "deploy-bot", "--action", "infra:apply", "--at", "2026-01-02T03:00:00Z"
    ).stdout
    assert "to make it ALLOW: be asked within 09:00-17:00 UTC, next at 2026-01-02T09:00:00+00:00" in turned


def test_a_target_that_is_missing_is_asked_for(site: Path) -> None:
    """Where organisations own targets, a question without one says which option would tell it."""
    owners = "organisations: [{id: acme}, {id: globex, owns: ['globex/**']}]\n"
    (site / "agents.yaml").write_text(AGENTS + owners)
    for command in (["can", "deploy:eu", "--as"], ["explain", "--action", "deploy:eu", "--agent"]):
        asked = claiim(*command, "deploy-bot")
        assert asked.exit_code == 1
        assert "org:acme -- whose target this is cannot be told" in asked.stdout
        assert asked.stderr == "no target was given, and organisations own some; give --target\n"
        told = claiim(*command, "deploy-bot", "--target", "acme/web")
        assert (told.exit_code, told.stderr) == (0, "")
