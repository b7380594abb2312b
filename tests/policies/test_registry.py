"""The registry: every change whole or not at all, comments and mode kept, no token ever written."""

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

import policies.registryfile
from policies import Mode, PolicyError, State, credential, load_policies
from policies.organisations import add_grant, add_organisations, remove_grants
from policies.registry import (
    NEVER,
    add_agent,
    add_human,
    new_token,
    set_identity,
    set_state,
    set_token,
    transfer_agent,
)
from policies.values import Token

COMMENTED = """\
# top
version: 1

# people
humans:
- id: alice@acme.test  # the boss
  name: 'Alice'
  org: acme
  state: active

# the robots
# live here
agents:
# the first
- id: deploy-bot
  anchor: alice@acme.test
  org: acme   # ours
  state: active
  # pinned
  skill: deploy-v2@1
  tokens: []  # none yet
# the end
"""
DIGEST = credential("x", "t").token_sha256


@pytest.fixture
def registry(tmp_path: Path, skill_text: str) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/deploy-v2.yaml").write_text(skill_text)
    path = tmp_path / "agents.yaml"
    path.write_text(COMMENTED)
    return path


def add(path: Path, agent: str = "new-bot", **changes: object) -> None:
    given = {
        "anchor": "alice@acme.test",
        "org": "",
        "skill": "deploy-v2",
        "mode": Mode.ENFORCE,
        "token_sha256": DIGEST,
        "created": "2026-01-02T03:04:05Z",
    }
    add_agent(path, [path.parent / "policies"], agent=agent, **(given | changes))


def folder_of(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_add_keeps_what_was_written(registry: Path) -> None:
    """A new agent is appended; every line that was there is still there, in order."""
    add(registry)
    lines = registry.read_text().splitlines()
    kept = iter(lines)
    assert all(line in kept for line in COMMENTED.splitlines() if line)
    loaded = load_policies(registry, [registry.parent / "policies"])
    added = loaded.agents["new-bot"]
    assert (added.state, added.anchor, added.org) == (State.ACTIVE, "alice@acme.test", "acme")
    assert (added.pin, added.mode, added.created) == ("deploy-v2", Mode.ENFORCE, "2026-01-02T03:04:05Z")
    assert loaded.agent_of_token(DIGEST) == "new-bot"


def test_add_with_a_new_human(registry: Path) -> None:
    """A person is added among the humans, above the comment that begins the next part."""
    add(registry, anchor="bob@acme.test", org="acme", new_anchor="Bob: the # builder")
    loaded = load_policies(registry, [registry.parent / "policies"])
    assert loaded.humans["bob@acme.test"].name == "Bob: the # builder"
    text = registry.read_text()
    assert text.index("bob@acme.test") < text.index("# the robots") < text.index("agents:")


STYLES = {
    "flow entries": "version: 1\nhumans:\n- {id: alice@acme.test, org: acme, state: active}  # boss\nagents: []\n",
    "indented": "version: 1\nhumans:\n  - id: alice@acme.test\n    org: acme\n    state: active\nagents: []\n# end\n",
    "no agents key": "version: 1\nhumans:\n- {id: alice@acme.test, org: acme, state: active}\n",
    "windows": "\ufeffversion: 1\r\nhumans:\r\n- {id: alice@acme.test, org: acme, state: active}\r\nagents: []\r\n",
    "no last newline": "version: 1\nhumans: [{id: alice@acme.test, org: acme, state: active}]",
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("name", ["no", "123", "1e5", "null", "on"])
def test_add_in_any_style(registry: Path, text: str, name: str) -> None:
    """However the file is written and whatever the agent is called, the gate reads what was meant."""
    registry.write_text(text, newline="")
    add(registry, name)
    add(registry, "b", anchor=f"{name}@acme.test", org="acme", new_anchor=name, token_sha256="0" * 64)
    loaded = load_policies(registry, [registry.parent / "policies"])
    assert set(loaded.agents) == {name, "b"}
    assert loaded.humans[f"{name}@acme.test"].name == name
    assert registry.read_text().count("# ") == text.count("# ")


def test_states(registry: Path) -> None:
    """Suspended, resumed, revoked; revoking forgets the tokens and is final."""
    rules = [registry.parent / "policies"]
    set_token(registry, rules, "deploy-bot", DIGEST)
    assert set_state(registry, rules, "deploy-bot", State.SUSPENDED).agents["deploy-bot"].state is State.SUSPENDED
    assert set_state(registry, rules, "deploy-bot", State.ACTIVE).agents["deploy-bot"].state is State.ACTIVE
    revoked = set_state(registry, rules, "deploy-bot", State.REVOKED).agents["deploy-bot"]
    assert (revoked.state, revoked.tokens) == (State.REVOKED, ())
    for change in (
        lambda: set_state(registry, rules, "deploy-bot", State.ACTIVE),
        lambda: set_token(registry, rules, "deploy-bot", DIGEST),
    ):
        with pytest.raises(PolicyError, match=r'agents.yaml:18:10: agent "deploy-bot" is revoked, which is final'):
            change()
    before, after = (
        [" ".join(line.split()) for line in text.splitlines()] for text in (COMMENTED, registry.read_text())
    )
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [
        ("state: active", "state: revoked")
    ]


def test_rotation(registry: Path) -> None:
    """A new token ends the old ones, or all but the newest of them."""
    rules = [registry.parent / "policies"]
    for number in range(3):
        kept = set_token(registry, rules, "deploy-bot", f"{number:064x}", keep_newest_old=True)
    assert [token.sha256 for token in kept.agents["deploy-bot"].tokens] == [f"{2:064x}", f"{1:064x}"]
    replaced = set_token(registry, rules, "deploy-bot", DIGEST)
    assert [token.sha256 for token in replaced.agents["deploy-bot"].tokens] == [DIGEST]
    assert "# the end" in registry.read_text()


def test_tokens() -> None:
    """A token has 256 bits, a prefix that scanners know, and is not made twice."""
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(token.startswith("clm_") and len(token) == 4 + 43 for token in tokens)


REFUSED = {
    "agent exists": ({"agent": "deploy-bot"}, 'agents.yaml:15:7: agent "deploy-bot" exists already'),
    "unknown human": (
        {"anchor": "bob@acme.test"},
        'agents.yaml:6:1: anchor "bob@acme.test" is not among the humans; give --new-anchor "NAME" to add',
    ),
    "unknown skill": ({"skill": "deploy-v3"}, 'skill "deploy-v3" does not exist; did you mean "deploy-v2"'),
    "bad name": ({"agent": "Deploy Bot"}, '"Deploy Bot" is not a name; use up to 64 of a-z'),
    "injected lines": ({"agent": "a\n- id: b"}, "is not a name; use up to 64 of a-z"),
    "not a digest": ({"token_sha256": "clm_x"}, "a token stands here as the SHA-256"),
}


@pytest.mark.parametrize(("changes", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused_changes_change_nothing(registry: Path, changes: dict[str, str], expected: str) -> None:
    """A change that the gate would not load is not written, and leaves nothing beside the file."""
    with pytest.raises(PolicyError) as refused:
        add(registry, **changes)
    assert expected in str(refused.value)
    assert registry.read_text() == COMMENTED
    assert folder_of(registry) == [".agents.yaml.lock", "agents.yaml", "policies"]


@pytest.mark.parametrize("text", ["version: 1\nagents: [\n", "- a\n", "version: 1\nagents: {}\n", "a: *b\n", ""])
def test_broken_files_stay_as_they_are(registry: Path, text: str) -> None:
    """A registry that cannot be read is not rewritten."""
    registry.write_text(text)
    with pytest.raises(PolicyError, match=r"agents\.yaml:\d+:\d+: "):
        add(registry)
    assert registry.read_text() == text


def test_unknown_agent(registry: Path) -> None:
    """A name that is not there is named, with the nearest that is."""
    with pytest.raises(PolicyError, match='agent "deploy-bo" does not exist; did you mean "deploy-bot"'):
        set_state(registry, [], "deploy-bo", State.SUSPENDED)


def test_file_mode(registry: Path) -> None:
    """The mode of an existing file stays; a new file is for its owner only."""
    registry.chmod(0o640)
    add(registry)
    assert stat.S_IMODE(registry.stat().st_mode) == 0o640
    registry.unlink()
    add(registry, anchor="bob@acme.test", org="acme", new_anchor="Bob")
    assert stat.S_IMODE(registry.stat().st_mode) == 0o600
    assert "bob@acme.test" in load_policies(registry, [registry.parent / "policies"]).humans


def test_links_stay_links(registry: Path, tmp_path: Path) -> None:
    """A link to the registry keeps pointing to it, and the registry itself is changed."""
    link = tmp_path / "elsewhere.yaml"
    link.symlink_to(registry)
    add(link)
    assert link.is_symlink()
    assert "new-bot" in registry.read_text()


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_full_disk_loses_nothing(registry: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """When the disk refuses, the old registry stands and no half file stays behind."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policies.registryfile.os, step, full)
    with pytest.raises(PolicyError, match="cannot be changed: no space left on device; nothing was written"):
        add(registry)
    assert registry.read_text() == COMMENTED
    assert folder_of(registry) == [".agents.yaml.lock", "agents.yaml", "policies"]


def test_changes_at_the_same_time(registry: Path) -> None:
    """Writers wait for each other; none undoes another's change."""
    names = [f"bot-{number}" for number in range(6)]
    writers = [
        threading.Thread(target=add, args=(registry, name), kwargs={"token_sha256": f"{number:064x}"})
        for number, name in enumerate(names)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    loaded = load_policies(registry, [registry.parent / "policies"])
    assert set(loaded.agents) == {"deploy-bot", *names}
    assert folder_of(registry) == [".agents.yaml.lock", "agents.yaml", "policies"]


# --- humans, organisations and more than one proof -----------------------------------------------------

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = datetime(2026, 3, 5, tzinfo=UTC)


def commented(text: str) -> list[str]:
    """The comments of a file, in order."""
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


def rules_of(registry: Path) -> list[Path]:
    return [registry.parent / "policies"]


def test_a_human_with_a_token(registry: Path) -> None:
    """A token of a human proves that human and nobody else, until it ends; revoking forgets it."""
    token = Token(DIGEST, expires=LATER, created="2026-01-02T03:04:05Z")
    added = add_human(
        registry, rules_of(registry), human="bob@acme.test", name="Bob", org="acme", token=token, expires=LATER
    )
    assert added.humans["bob@acme.test"].tokens == (token,)
    bob = added.identify_human(DIGEST, AT)
    assert bob is not None
    assert (bob.id, bob.expires) == ("bob@acme.test", LATER)
    assert added.identify_human(DIGEST, LATER) is None
    assert added.agent_of_token(DIGEST) is None
    text = registry.read_text()
    assert text.index("bob@acme.test") < text.index("# the robots") < text.index("agents:")
    assert commented(registry.read_text()) == commented(COMMENTED)
    revoked = set_state(registry, rules_of(registry), "bob@acme.test", State.REVOKED, kind="humans")
    assert (revoked.humans["bob@acme.test"].state, revoked.humans["bob@acme.test"].tokens) == (State.REVOKED, ())
    with pytest.raises(PolicyError, match=r'human "bob@acme.test" is revoked, which is final; give their agents to'):
        set_token(registry, rules_of(registry), "bob@acme.test", DIGEST, kind="humans")


def test_a_rotation_with_an_overlap(registry: Path) -> None:
    """The old token gets an end, never a later one than it had, and goes at the rotation after that."""
    rules = rules_of(registry)
    set_token(registry, rules, "deploy-bot", "0" * 64)
    kept = set_token(registry, rules, "deploy-bot", Token("1" * 64, created="x"), old_until=LATER)
    assert kept.agents["deploy-bot"].tokens == (Token("1" * 64, created="x"), Token("0" * 64, LATER))
    again = set_token(registry, rules, "deploy-bot", Token("2" * 64, expires=AT), old_until=LATER)
    assert again.agents["deploy-bot"].tokens == (Token("2" * 64, AT), Token("1" * 64, LATER, "x"))
    last = set_token(registry, rules, "deploy-bot", "3" * 64, old_until=LATER)
    assert last.agents["deploy-bot"].tokens == (Token("3" * 64), Token("2" * 64, AT))
    assert "# the end" in registry.read_text()


def test_tokens_written_by_hand(registry: Path) -> None:
    """A list of mappings over several lines is understood, and what follows it stays."""
    block = f"  tokens:\n  - sha256: '{'0' * 64}'  # old\n    expires: '2026-03-04'\n"
    registry.write_text(COMMENTED.replace("  tokens: []  # none yet\n", block))
    kept = set_token(registry, rules_of(registry), "deploy-bot", DIGEST, keep_newest_old=True)
    assert [token.sha256 for token in kept.agents["deploy-bot"].tokens] == [DIGEST, "0" * 64]
    assert registry.read_text().endswith("# the end\n")


def test_an_agent_with_all_that_it_can_have(registry: Path) -> None:
    """An end, labels and identities are written as the gate reads them; an agent may have no token at all."""
    identity = "spiffe://acme.test/ci/deploy"
    add(registry, expires=LATER, labels={"team": "web", "on": "yes"}, identities=[identity], token_sha256="")
    added = load_policies(registry, rules_of(registry)).agents["new-bot"]
    assert (added.expires, dict(added.labels)) == (LATER, {"team": "web", "on": "yes"})
    assert (added.identities, added.tokens) == ((identity,), ())
    assert (added.state_at(AT), added.state_at(LATER)) == (State.ACTIVE, State.EXPIRED)
    resumed = set_state(registry, rules_of(registry), "new-bot", State.ACTIVE, expires=NEVER)
    assert resumed.agents["new-bot"].expires is None
    ended = set_state(registry, rules_of(registry), "new-bot", State.ACTIVE, expires=AT)
    assert ended.agents["new-bot"].state_at(AT) is State.EXPIRED


def test_a_field_that_goes_leaves_the_comment_behind_it(registry: Path) -> None:
    """Also where it was the last of its entry."""
    set_state(registry, rules_of(registry), "deploy-bot", State.ACTIVE, expires=LATER)
    assert registry.read_text().endswith("# the end\n")
    set_state(registry, rules_of(registry), "deploy-bot", State.ACTIVE, expires=NEVER)
    assert registry.read_text().endswith("# the end\n")
    assert "expires" not in registry.read_text()


def test_identities(registry: Path) -> None:
    """They come and go one by one; one that is there is not added twice, one that is not there not removed."""
    rules, one, two = rules_of(registry), f"cert-sha256:{'a' * 64}", "jwt:https://idp.test#ci"
    set_identity(registry, rules, "deploy-bot", one, present=True)
    added = set_identity(registry, rules, "deploy-bot", two, present=True)
    assert added.agents["deploy-bot"].identities == (one, two)
    assert added.agent_of_identity([two]) == "deploy-bot"
    assert set_identity(registry, rules, "deploy-bot", one, present=False).agents["deploy-bot"].identities == (two,)
    with pytest.raises(PolicyError, match=r"deploy-bot\" has the identity .*; nothing to add"):
        set_identity(registry, rules, "deploy-bot", two, present=True)
    with pytest.raises(PolicyError, match=r"does not have the identity .*; \"claiim agent show\" lists them"):
        set_identity(registry, rules, "deploy-bot", one, present=False)
    with pytest.raises(PolicyError, match='"whoever" is not an identity; write "cert-sha256:'):
        set_identity(registry, rules, "deploy-bot", "whoever", present=True)
    assert "# the end" in registry.read_text()


def test_a_transfer(registry: Path) -> None:
    """Another human answers from then on, who is active and of the agent's organisation, or of one it may act in."""
    rules = rules_of(registry)
    add_human(registry, rules, human="bob@acme.test", name="", org="acme")
    assert transfer_agent(registry, rules, "deploy-bot", "bob@acme.test").agents["deploy-bot"].anchor == "bob@acme.test"
    before = registry.read_text()
    with pytest.raises(PolicyError, match=r'human "alise@acme.test" does not exist; did you mean "alice@acme.test"'):
        transfer_agent(registry, rules, "deploy-bot", "alise@acme.test")
    assert registry.read_text() == before
    set_state(registry, rules, "alice@acme.test", State.SUSPENDED, kind="humans")
    with pytest.raises(PolicyError, match=r'human "alice@acme.test" is suspended; choose somebody who can answer'):
        transfer_agent(registry, rules, "deploy-bot", "alice@acme.test")
    add_human(registry, rules, human="gina@globex.test", name="", org="globex")
    with pytest.raises(
        PolicyError, match='is of organisation "globex", the agent of "acme"; "claiim org grant acme gl'
    ):
        transfer_agent(registry, rules, "deploy-bot", "gina@globex.test")
    add_grant(registry, rules, "acme", "globex")
    moved = transfer_agent(registry, rules, "deploy-bot", "gina@globex.test")
    assert moved.agents["deploy-bot"].anchor == "gina@globex.test"


def test_organisations_and_grants(registry: Path) -> None:
    """The first that is written down must come with all that are named; grants come and go."""
    rules = rules_of(registry)
    add_human(registry, rules, human="gina@globex.test", name="", org="globex")
    with pytest.raises(PolicyError, match='organisation "globex" is not among the organisations'):
        add_organisations(registry, rules, ["acme"])
    both = add_organisations(registry, rules, ["acme", "globex"], owns=["acme/*"])
    assert both.organisations["acme"].owns == ("acme/*",)
    with pytest.raises(PolicyError, match='organisation "acme" exists already'):
        add_organisations(registry, rules, ["acme"])
    with pytest.raises(PolicyError, match='organisation "globx" does not exist; did you mean "globex"'):
        add_grant(registry, rules, "acme", "globx")
    add_grant(registry, rules, "acme", "globex", agents=["deploy-*"], actions=["deploy:*"], until=LATER)
    granted = add_grant(registry, rules, "globex", "acme")
    agent = granted.agents["deploy-bot"]
    assert granted.boundaries.may_cross(agent, "globex", "deploy:staging", AT)
    assert not granted.boundaries.may_cross(agent, "globex", "infra:destroy", AT)
    assert not granted.boundaries.may_cross(agent, "globex", "deploy:staging", LATER)
    left = remove_grants(registry, rules, "acme", "globex").boundaries.grants
    assert [(grant.of, grant.into) for grant in left] == [("globex", "acme")]
    with pytest.raises(PolicyError, match='"acme" has no grant into "globex"'):
        remove_grants(registry, rules, "acme", "globex")
    assert remove_grants(registry, rules, "globex", "acme").boundaries.grants == ()
    suspended = set_state(registry, rules, "acme", State.SUSPENDED, kind="organisations")
    assert suspended.organisations["acme"].state is State.SUSPENDED
    assert commented(registry.read_text()) == commented(COMMENTED)


GRANTS = """\
version: 1
cross_grants:
# first
- {of: a, into: b}
# second
- of: b
  into: a  # back
# third
- {of: c, into: b}
# people
humans: []
agents: []
"""


@pytest.mark.parametrize(("of", "into"), [("a", "b"), ("b", "a"), ("c", "b")])
def test_a_grant_that_goes_leaves_the_comments(registry: Path, of: str, into: str) -> None:
    """The first, the middle or the last: what stood between the lines still does, and the file loads."""
    registry.write_text(GRANTS)
    left = remove_grants(registry, rules_of(registry), of, into).boundaries.grants
    assert len(left) == 2
    for comment in ("# first", "# second", "# third", "# people"):
        assert comment in registry.read_text()
    assert registry.read_text().index("# people") < registry.read_text().index("humans:")


def test_the_last_grant_that_goes_leaves_the_comments(registry: Path) -> None:
    """An empty list is left, and what stood behind it."""
    registry.write_text(GRANTS)
    for of, into in (("a", "b"), ("b", "a"), ("c", "b")):
        left = remove_grants(registry, rules_of(registry), of, into)
    assert left.boundaries.grants == ()
    text = registry.read_text()
    assert text.index("# first") < text.index("# people") < text.index("humans:")


@pytest.mark.parametrize("identity", ["listener:builder", "address:10.77.0.2", "address:fd00::2"])
def test_where_an_agent_comes_from_may_be_an_identity(registry: Path, identity: str) -> None:
    """A listener or an address belongs to one agent, as every identity does."""
    added = set_identity(registry, rules_of(registry), "deploy-bot", identity, present=True)
    assert added.agent_of_identity([identity]) == "deploy-bot"


@pytest.mark.parametrize(
    ("identity", "fault"),
    [
        ("address:10.77.0.0/24", "is not an identity"),
        ("address:10.77.0.02", "names no IP address"),
        ("address:fd00:0::2", 'is another spelling of "address:fd00::2"'),
        ("listener:", "is not an identity"),
    ],
)
def test_an_address_is_written_in_one_way(registry: Path, identity: str, fault: str) -> None:
    """A spelling that no connection is named by would prove nobody, without a word."""
    with pytest.raises(PolicyError, match=fault):
        set_identity(registry, rules_of(registry), "deploy-bot", identity, present=True)
