"""The kept text of a registry says no name of a human, and means the same otherwise."""

import hashlib

import pytest

from mappings.documents import read_document
from policies import compile_policies
from policies.changes import agents_text, changes, registered
from policies.recompiling import Entry, recompile

ENTRY = "version: 1\nhumans:\n- id: hum_1\n  name: {}\n  org: acme\n  state: active\nagents: []\n"
FORMS = {
    "plain": ("Alice Example", 5),
    "plain with a comment behind it": ("Alice Example # who is she", 5),
    "single quotes": ("'Alice Example'", 5),
    "double quotes with escapes": (r'"Alice \"Example\""', 5),
    "plain over two lines": ("Alice\n    Example", 6),
    "folded": (">-\n    Alice\n    Example", 7),
    "literal": ("|\n    Alice\n    Example", 7),
}


@pytest.mark.parametrize(("written", "line"), FORMS.values(), ids=FORMS)
def test_a_name_is_not_kept(written: str, line: int) -> None:
    """However it is written the name is taken out; lines stay where they are, and the rest says the same."""
    policies = compile_policies(read_document(ENTRY.format(written), "agents.yaml"), [])
    kept = agents_text(policies).text
    assert "Alice" in policies.humans["hum_1"].name
    assert "Alice" not in kept
    assert "Example" not in kept
    assert kept.splitlines()[line - 1] == "  org: acme"
    again = registered(kept)
    assert again is not None
    assert again.humans["hum_1"].name == ""
    assert changes(policies, again) == []
    assert agents_text(again).digest == agents_text(policies).digest


def test_a_name_in_flow_style_and_several() -> None:
    """In one line with others, each name goes and nothing else."""
    text = "version: 1\nhumans: [{id: a, name: Al, org: o, state: active}, {name: al, id: al, org: o, state: active}]\n"
    policies = compile_policies(read_document(text + "agents: []\n", "agents.yaml"), [])
    assert (
        agents_text(policies).text
        == text.replace("name: Al", "name: ''").replace("name: al", "name: ''") + "agents: []\n"
    )


def test_a_rename_is_no_change_of_what_is_kept() -> None:
    """Who is called otherwise is the same: the kept text and its digest stay."""
    first, second = (
        agents_text(compile_policies(read_document(ENTRY.format(name), "agents.yaml"), [])) for name in ("Al", "Bo")
    )
    assert first.digest == second.digest


def test_a_log_that_kept_names_is_still_decided_again() -> None:
    """What an older version kept is compiled as it is: its digest is the one that its decisions name."""
    text = ENTRY.format("Alice Example")
    digest = hashlib.sha256(text.encode()).hexdigest()
    entry = Entry("agents", "agents", 0, digest, "agents.yaml", usable=True, in_force=False)
    again = recompile([entry], {digest: text})
    assert (agents_text(again).text, agents_text(again).digest) == (text, digest)
