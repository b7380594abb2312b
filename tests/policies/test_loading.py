"""Loading: what is refused, where, and with which words; and which files are read at all."""

from pathlib import Path

import pytest

from mappings.documents import read_document
from policies import Outcome, PolicyError, compile_policies, load_policies

AGENTS = """\
version: 1
humans:
- {id: alice@acme.test, org: acme, state: active}
agents:
- {id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}
"""
SKILL = "skill: deploy-v2\nallow: [deploy:staging]\n"
HASH = "ab" * 32

RULES = {
    "unknown key": ("skill: a\nalow: [x]\n", ['r.yaml:2:1: unknown key "alow"; did you mean "allow"']),
    "bad pattern": (
        "skill: a\ndeny:\n- ok\n- a::b\n",
        ['r.yaml:4:3: action "a::b" has an empty segment; write it out or remove a ":"'],
    ),
    "regular expression": (
        "skill: a\ndeny: ['deploy:(a|b)']\n",
        ['r.yaml:2:8: character "(" cannot stand in an action; use letters, digits or ._/@+-'],
    ),
    "double star inside a segment": (
        "skill: a\nallow: ['a**']\n",
        ['r.yaml:2:9: "**" stands for whole segments; write ":**" or a single "*" in "a**"'],
    ),
    "star unquoted": (
        "skill: a\nallow:\n- *:read\n",
        ["r.yaml:3:4: "],
    ),
    "capital name": (
        "skill: Deploy\n",
        ['r.yaml:1:8: "Deploy" is not a name; use up to 64 of a-z, 0-9 and ._- and begin with a letter or digit'],
    ),
    "version zero": ("skill: a\nversion: 0\n", ["r.yaml:2:10: input should be greater than or equal to 1, found 0"]),
    "version as text": ('skill: a\nversion: "1"\n', ['r.yaml:2:10: expected a whole number, found "1"']),
    "empty allow": ("policy: a\nallow:\n", ["r.yaml:2:7: expected a list, found nothing"]),
    "allow is one action": ("skill: a\nallow: x\n", ['r.yaml:2:8: expected a list, found "x"']),
    "policy that forbids nothing": (
        "policy: a\n",
        ['r.yaml:1:1: policy "a" forbids nothing; give it "deny" or "allow"'],
    ),
    "applies to nobody": (
        "policy: a\ndeny: [x]\napplies_to: {agents: []}\n",
        ["r.yaml:3:22: an empty list applies to nobody; name some, or remove the key to apply to all"],
    ),
    "glob": (
        "policy: a\ndeny: [x]\napplies_to: {agents: ['[ab]']}\n",
        ['r.yaml:3:23: "[ab]" is not a name or a name with "*"; write for example "deploy-*"'],
    ),
    "mode": ("policy: a\ndeny: [x]\nmode: off1\n", ['r.yaml:3:7: "off1" is not one of "enforce" or "observe"']),
    "mode of a skill": (
        "skill: a\nmode: observe\n",
        ['r.yaml:2:1: unknown key "mode"; known here: version, description, extends, until'],
    ),
    "both": ("skill: a\npolicy: b\n", ['r.yaml:2:1: unknown key "policy"; known here: ']),
    "neither": (
        "skil: a\nallow: [x]\n",
        ['r.yaml:1:1: found "skil", expected "skill: NAME" or "policy: NAME" to begin the file'],
    ),
    "agents among the rules": (
        "version: 1\nagents: []\n",
        ['r.yaml:1:1: expected "skill: NAME" or "policy: NAME" to begin the file'],
    ),
    "empty": ("", ['r.yaml:1:1: expected "skill: NAME" or "policy: NAME" to begin the file']),
    "a list": ("- skill: a\n", ['r.yaml:1:1: expected "skill: NAME" or "policy: NAME" to begin the file']),
    "duplicate key": ("skill: a\ndeny: [x]\ndeny: [z]\n", ['r.yaml:3:1: key "deny" stands twice']),
    "several": (
        "skill: a\nallow: [a b]\ndeny: [c d]\nx: 1\n",
        ["r.yaml:2:9: character", "r.yaml:3:8: character", 'r.yaml:4:1: unknown key "x"'],
    ),
}


@pytest.mark.parametrize(("text", "expected"), RULES.values(), ids=RULES)
def test_faults_in_rules(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Each fault in a skill or policy is named at its place, and nothing else is."""
    (tmp_path / "agents.yaml").write_text("version: 1\n")
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(PolicyError) as refused:
        load_policies(tmp_path / "agents.yaml", [tmp_path / "r.yaml"])
    found = [line.replace(f"{tmp_path}/", "") for line in str(refused.value).splitlines()]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def changed(old: str, new: str) -> str:
    assert old in AGENTS
    return AGENTS.replace(old, new)


SECOND = "- {id: x, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2%s}\n"
REGISTRIES = {
    "version": (changed("version: 1", "version: 2"), ["agents.yaml:1:10: 2 is not one of 1"]),
    "no version": (changed("version: 1\n", ""), ['agents.yaml:1:1: key "version" is missing']),
    "unknown key": (
        changed("anchor:", "ancor:"),
        ['agents.yaml:5:3: key "anchor" is missing', 'agents.yaml:5:20: unknown key "ancor"; did you mean "anchor"'],
    ),
    "no state": (changed("state: active, skill", "skill"), ['agents.yaml:5:3: key "state" is missing']),
    "state": (
        changed("state: active, skill", "state: on1, skill"),
        ['agents.yaml:5:63: "on1" is not one of "revoked", "expired", "suspended", "pending" or "active"'],
    ),
    "unknown anchor": (
        changed("anchor: alice@acme.test", "anchor: carol@other.test"),
        ['agents.yaml:5:28: anchor "carol@other.test" is not among the humans; add it under "humans"'],
    ),
    "duplicate agent": (
        AGENTS + AGENTS.splitlines()[-1] + "\n",
        ['agents.yaml:6:8: agent "deploy-bot" stands twice (first on line 5); keep one'],
    ),
    "duplicate human": (
        changed("agents:", "- {id: alice@acme.test, org: other, state: active}\nagents:"),
        ['agents.yaml:4:8: human "alice@acme.test" stands twice (first on line 3); keep one'],
    ),
    "missing skill": (
        changed("deploy-v2", "deploy-v3"),
        ['agents.yaml:5:78: skill "deploy-v3" does not exist; did you mean "deploy-v2"'],
    ),
    "missing skill, nothing like it": (
        changed("deploy-v2", "zzz"),
        ['agents.yaml:5:78: skill "zzz" does not exist; write one that does'],
    ),
    "missing version": (
        changed("deploy-v2", "deploy-v2@7"),
        ['agents.yaml:5:78: skill "deploy-v2" has no version 7; versions here: 1'],
    ),
    "bad pin": (
        changed("deploy-v2", "deploy-v2@one"),
        ['agents.yaml:5:78: "deploy-v2@one" does not name a skill; write "deploy-v2" or "deploy-v2@1"'],
    ),
    "agent's name": (
        changed("id: deploy-bot", 'id: "deploy:bot"'),
        ['agents.yaml:5:8: "deploy:bot" is not a name; use up to 64 of a-z, 0-9 and ._- and begin with'],
    ),
    "person's name": (
        changed("alice@acme.test, org: acme, state: active}\n", "Alice, org: acme, state: active}\n"),
        ['agents.yaml:3:8: "Alice" does not name a person; use lower case, for example "alice@acme.test"'],
    ),
    "token of two agents": (
        changed("skill: deploy-v2", f"skill: deploy-v2, tokens: ['{HASH}']") + SECOND % f", tokens: ['{HASH}']",
        ['agents.yaml:6:89: this token of agent "x" is also one of agent "deploy-bot"; run "claiim agent rotate"'],
    ),
    "too many tokens": (
        changed("skill: deploy-v2", f"skill: deploy-v2, tokens: {[f'{n:064x}' for n in range(5)]}"),
        ["agents.yaml:5:97: at most 4 tokens; remove the old ones"],
    ),
    "date": (changed("skill: deploy-v2", "created: 2026-01-02"), ["agents.yaml:5:80: 2026-01-02 would be read as"]),
}


@pytest.mark.parametrize(("text", "expected"), REGISTRIES.values(), ids=REGISTRIES)
def test_faults_in_agents(text: str, expected: list[str]) -> None:
    """Each fault in the registry is named at its place, and nothing else is."""
    with pytest.raises(PolicyError) as refused:
        compile_policies(
            read_document(text, "agents.yaml", error=PolicyError), [read_document(SKILL, "policies/a.yaml")]
        )
    found = str(refused.value).splitlines()
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


SECRET = "clm_Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm8"


@pytest.mark.parametrize("tokens", [SECRET, f"[{SECRET}]", f"{{a: {SECRET}}}", f"[{HASH.upper()}]", "[12]"])
def test_a_token_is_never_repeated(tokens: str) -> None:
    """A token written where its digest belongs is refused without being shown."""
    text = changed("skill: deploy-v2", f"tokens: {tokens}")
    with pytest.raises(PolicyError) as refused:
        compile_policies(read_document(text, "agents.yaml"), [])
    assert SECRET not in str(refused.value)
    assert str(refused.value).startswith("agents.yaml:5:")
    assert "token" in str(refused.value)


def test_duplicate_skill() -> None:
    """Two texts for one version are two answers to one question."""
    rules = [read_document(SKILL, "a.yaml"), read_document(SKILL + "deny: [x]\n", "b.yaml")]
    with pytest.raises(PolicyError) as refused:
        compile_policies(read_document(AGENTS, "agents.yaml"), rules)
    assert str(refused.value) == (
        'b.yaml:1:8: skill "deploy-v2" version 1 is already defined at a.yaml:1:8; give it another version'
    )


@pytest.mark.parametrize("broken", ["skill: deploy-v2\nalow: []\n", "skill: [\n", "skil: deploy-v2\n"])
def test_a_broken_skill_is_not_a_missing_one(tmp_path: Path, broken: str) -> None:
    """One mistake is one fault: the agents that use a skill that cannot be read are not blamed."""
    (tmp_path / "agents.yaml").write_text(AGENTS)
    (tmp_path / "a.yaml").write_text(broken)
    with pytest.raises(PolicyError) as refused:
        load_policies(tmp_path / "agents.yaml", [tmp_path / "a.yaml"])
    assert [fault.place.file for fault in refused.value.faults] == [str(tmp_path / "a.yaml")]


def test_folders(tmp_path: Path, ask) -> None:
    """In a folder every *.yaml counts, also deeper; hidden names and the agents file itself do not."""
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "agents.yaml").write_text(AGENTS)
    (tmp_path / "deep/er/skill.yaml").write_text(SKILL)
    (tmp_path / "deep/deny.yaml").write_text("policy: p\ndeny: [deploy:staging]\n")
    (tmp_path / ".hidden/x.yaml").write_text("broken: [\n")
    (tmp_path / ".draft.yaml").write_text("broken: [\n")
    (tmp_path / "README.md").write_text("no rules\n")
    policies = load_policies(tmp_path / "agents.yaml", [tmp_path, tmp_path / "deep"])
    assert [text.id for text in policies.texts] == ["p", "deploy-v2", "agents"]


def unreadable(folder: Path) -> Path:
    (folder / "a.yaml").write_bytes(b"skill: \xff\n")
    return folder / "a.yaml"


def yml(folder: Path) -> Path:
    (folder / "rules").mkdir()
    (folder / "rules/no-prod.yml").write_text("policy: p\ndeny: [x]\n")
    return folder / "rules"


def a_folder(folder: Path) -> Path:
    (folder / "rules/a.yaml").mkdir(parents=True)
    return folder / "rules"


def linked(folder: Path) -> Path:
    (folder / "rules").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "rules/common").symlink_to(folder / "elsewhere")
    return folder / "rules"


FILES = {
    "link to a folder": (linked, "rules/common:1:1: is a link to a folder, which is not followed; name that folder"),
    "missing": (lambda folder: folder / "none.yaml", "none.yaml:1:1: cannot be read: no such file or directory"),
    "not UTF-8": (unreadable, "a.yaml:1:1: is not UTF-8 text; save it as UTF-8"),
    "yml": (yml, 'rules/no-prod.yml:1:1: only "*.yaml" is read; rename it to "no-prod.yaml"'),
    "folder named like a file": (a_folder, "rules/a.yaml:1:1: cannot be read: is a directory"),
}


@pytest.mark.parametrize(("make", "expected"), FILES.values(), ids=FILES)
def test_files_that_cannot_be_read(tmp_path: Path, make, expected: str) -> None:
    """A rule file that cannot be read is a fault, never skipped: it may hold a deny."""
    (tmp_path / "agents.yaml").write_text("version: 1\n")
    with pytest.raises(PolicyError) as refused:
        load_policies(tmp_path / "agents.yaml", [make(tmp_path)])
    assert str(refused.value).replace(f"{tmp_path}/", "").startswith(expected)


def test_no_agents_file(tmp_path: Path) -> None:
    """A missing registry says how to get one, and does not hide faults in the rules."""
    (tmp_path / "a.yaml").write_text("skill: [\n")
    with pytest.raises(PolicyError) as refused:
        load_policies(tmp_path / "agents.yaml", [tmp_path / "a.yaml"])
    lines = str(refused.value).replace(f"{tmp_path}/", "").splitlines()
    assert lines[0].startswith("a.yaml:")
    assert lines[1] == (
        'agents.yaml:1:1: cannot be read: no such file or directory; create it with "claiim agent add" or "claiim init"'
    )


def test_digest() -> None:
    """The digest of a set changes with every rule and every agent's state, not with a token or the order of files."""

    def digest(agents: str, *rules: str) -> str:
        read = [read_document(text, f"{number}.yaml") for number, text in enumerate(rules)]
        return compile_policies(read_document(agents, "agents.yaml"), read).digest

    policy, tokens = "policy: p\ndeny: [x]\n", changed("skill: deploy-v2", "skill: deploy-v2, tokens: ['%s']")
    first = digest(tokens % ("a" * 64), SKILL, policy)
    assert digest(tokens % ("b" * 64), policy, SKILL) == first
    others = {
        digest(tokens % ("a" * 64), SKILL),
        digest(tokens % ("a" * 64), SKILL, policy + "# x\n"),
        digest((tokens % ("a" * 64)).replace("state: active, skill", "state: suspended, skill"), SKILL, policy),
    }
    assert len(others | {first}) == 4


def test_examples_load_as_they_stand(ask) -> None:
    """What is shipped loads, and denies the example agent until it has a token."""
    examples = Path(__file__).parents[2] / "policies/examples"
    policies = load_policies(examples / "agents.yaml", [examples])
    assert sorted(text.id for text in policies.texts) == ["agents", "deploy-v2", "no-prod-v1"]
    assert policies.decide(ask("deploy:staging")).code == "agent.wrong-token"
    given = policies.with_tokens({"deploy-bot": ask("").credential.token_sha256})
    assert given.decide(ask("deploy:staging")).outcome is Outcome.ALLOW
    production = given.decide(ask("deploy:production"))
    assert production.outcome.value == "DENY"
    assert production.reason == "policy:no-prod-v1 -- action not in allow list"


def test_files_of_tests_are_no_texts(tmp_path: Path, agents_text, skill_text: str) -> None:
    """`*.test.yaml` in a folder is not loaded, whatever is wrong in it; one that holds a policy is a fault."""
    (tmp_path / "agents.yaml").write_text(agents_text())
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "deploy-v2.yaml").write_text(skill_text)
    (folder / "deploy-v2.test.yaml").write_text("version: 1\ncases: [\n")
    assert {text.id for text in load_policies(tmp_path / "agents.yaml", [folder]).texts} == {"deploy-v2", "agents"}
    (folder / "no-prod.test.yaml").write_text("policy: no-prod\ndeny: ['deploy:production']\n")
    with pytest.raises(PolicyError) as caught:
        load_policies(tmp_path / "agents.yaml", [folder])
    assert str(caught.value) == (
        f"{folder}/no-prod.test.yaml:1:1: holds a policy and is called a file of tests; "
        'take the ".test" out of its name'
    )


def test_the_registry_of_the_documentation_loads(skill_text: str) -> None:
    """What docs/configuration.md shows of agents.yaml is one that the gate obeys."""
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    block = page.partition("## agents.yaml")[2].partition("```yaml\n")[2].partition("```")[0]
    policies = compile_policies(read_document(block, "agents.yaml"), [read_document(skill_text, "s.yaml")])
    assert list(policies.organisations) == ["acme", "globex"]
    assert policies.agents["deploy-bot"].anchor in policies.humans
