"""Which text decided: found by the digest of the rules alone, whatever else is kept under the same name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chron import Chron, RuleTexts, TextLine, rules_made_of, show

OLD, NEW = "skill: s\nversion: 1\nallow:\n- a:b\n", "skill: s\nversion: 1\nallow:\n- c:d\n"
POLICY, SITE, OTHER_SITE = "policy: p\nversion: 2\ndeny:\n- e:f\n", "rules:\n- one\n", "rules:\n- two\n"
AGENTS = {"kind": "agents", "id": "agents", "version": 0, "digest": "a1", "usable": True, "in_force": False}


def manifest(skill: str, mapping: str, **more: Any) -> str:
    """A manifest of one skill, one policy, a registry and a mapping file, by the digests of the two that change."""
    common = {"usable": True, "in_force": True}
    texts = [
        {"kind": "policy", "id": "p", "version": 2, "digest": "p2", **common},
        {"kind": "skill", "id": "s", "version": 1, "digest": skill, **common},
        AGENTS,
    ]
    return json.dumps({"version": 1, "mappings": [["site:1.yaml", mapping]], "texts": texts, **more})


MANIFESTS = {"m-old": manifest("d-old", "x-old"), "m-new": manifest("d-new", "x-new")}
RULES = {name.removeprefix("m-"): rules_made_of(text) for name, text in MANIFESTS.items()}
KEPT = [
    ("skill", "s", "1", "d-old", OLD),
    ("mapping", "site:1.yaml", "", "x-old", SITE),
    ("policy", "p", "2", "p2", POLICY),
    ("skill", "s", "1", "d-new", NEW),
    ("mapping", "site:1.yaml", "", "x-new", OTHER_SITE),
    ("mapping", "other.yaml", "", "x-new", OTHER_SITE),
    *(("rules", "rules", "", name, text) for name, text in MANIFESTS.items()),
]
DECISION = {
    "code": "skill.denied",
    "rule": "policies/s.yaml:4:3",
    "skill": "s",
    "skill_version": 1,
    "mapping_rule": "one",
    "mapping_place": "site:1.yaml:2:3",
}


def decided(chron: Chron, **fields: Any) -> list[TextLine]:
    """The texts that a decision is shown with."""
    shown = show(chron.path, chron.write("decision", {**DECISION, **fields}).id)
    assert shown is not None
    return list(shown.texts)


LOADS: dict[str, Callable[[Chron], object]] = {
    "no record of a load, as in a segment": lambda chron: None,
    "a record of each load": lambda chron: [
        chron.write("policy", {"event": "loaded", "rules_digest": RULES[which], "manifest": f"m-{which}"})
        for which in RULES
    ],
    "a record of a load that names another list": lambda chron: [
        chron.write("policy", {"event": "loaded", "rules_digest": RULES[which], "manifest": f"m-{other}"})
        for which, other in (("old", "new"), ("new", "old"))
    ],
    "a list that was not kept": lambda chron: chron.write(
        "policy", {"event": "loaded", "rules_digest": RULES["old"], "manifest": "none"}
    ),
}


@pytest.mark.parametrize("loads", LOADS.values(), ids=LOADS)
def test_of_two_texts_under_one_name_that_of_the_decision_is_shown(
    open_chron: Callable[..., Chron], loads: Callable[[Chron], object]
) -> None:
    """The same skill in the same version and the same mapping file, kept twice: never the other one."""
    chron = open_chron()
    chron.keep(KEPT)
    loads(chron)
    for which, skill, mapping in (("old", "- a:b", "- one"), ("new", "- c:d", "- two")):
        texts = decided(chron, rules_digest=RULES[which])
        found = [(text.kind, text.id, text.version, text.digest, dict(text.lines)[text.line]) for text in texts]
        assert found == [
            ("skill", "s", "1", f"d-{which}", skill),
            ("mapping", "site:1.yaml", "", f"x-{which}", mapping),
        ]


def test_the_policy_decides_where_the_skill_did_not(open_chron: Callable[..., Chron]) -> None:
    """The deciding line is the policy's, and the skill stands beside it whole."""
    chron = open_chron()
    chron.keep(KEPT)
    policy = {"code": "policy.denied", "rule": "p.yaml:4:1", "policy": "p", "policy_version": 2}
    texts = decided(chron, **policy, rules_digest=RULES["new"])
    assert [(text.kind, text.version, text.line) for text in texts] == [
        ("policy", "2", 4),
        ("skill", "1", 0),
        ("mapping", "", 2),
    ]


def test_rules_that_no_list_makes_have_no_texts(open_chron: Callable[..., Chron]) -> None:
    """Nothing is guessed by the name: neither for rules nobody knows, nor in another version than they had."""
    chron = open_chron()
    chron.keep([*KEPT, ("rules", "rules", "", "broken", "{"), ("rules", "rules", "", "other", "[1]")])
    assert decided(chron, rules_digest="0" * 64) == []
    assert [text.kind for text in decided(chron, rules_digest=RULES["old"], skill_version=2)] == ["mapping"]
    assert [text.kind for text in decided(chron, rules_digest=RULES["old"], mapping_place="none.yaml:1:1")] == ["skill"]
    texts = RuleTexts(chron.path)
    assert texts.of("") == texts.of("0" * 64) == {}
    assert texts.digest({"skill": "s", "skill_version": 1}, "skill") == ""


def test_a_record_until_0_1_0_says_its_texts_itself(open_chron: Callable[..., Chron]) -> None:
    """Which had the digest of each beside that of the rules: no list is needed."""
    chron = open_chron()
    chron.keep([text for text in KEPT if text[0] != "rules"])
    texts = decided(chron, skill_digest="d-old", mapping_digest="x-new", rules_digest="unknown")
    assert [(text.kind, text.id, text.digest) for text in texts] == [
        ("skill", "s", "d-old"),
        ("mapping", "site:1.yaml", "x-new"),
    ]


def test_all_texts_of_rules_by_their_digest(open_chron: Callable[..., Chron]) -> None:
    """By kind, name and version, as they are kept."""
    chron = open_chron()
    chron.keep(KEPT)
    texts = RuleTexts(chron.path)
    assert texts.of(RULES["old"]) == {
        ("policy", "p", "2"): "p2",
        ("skill", "s", "1"): "d-old",
        ("agents", "agents", ""): "a1",
        ("mapping", "site:1.yaml", ""): "x-old",
    }
    said = {**DECISION, "rules_digest": RULES["old"]}
    assert [texts.digest(said, kind) for kind in ("policy", "skill", "mapping")] == ["", "d-old", "x-old"]
    assert texts.digest({**said, "skill_digest": "own"}, "skill") == "own"


CHANGED: dict[str, Any] = {
    "a digest": lambda said: said["texts"][1].update(digest="d-new"),
    "a version": lambda said: said["texts"][0].update(version=3),
    "what is in force": lambda said: said["texts"][0].update(in_force=False),
    "what was never activated": lambda said: said["texts"][1].update(usable=False),
    "a text less": lambda said: said["texts"].pop(0),
    "the digest of a mapping": lambda said: said.update(mappings=[["site:1.yaml", "x-new"]]),
    "the name of a mapping": lambda said: said.update(mappings=[["other.yaml", "x-old"]]),
    "what took away": lambda said: said.update(narrowed_by=[AGENTS]),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_every_part_of_a_list_is_part_of_the_rules(change: Callable[[Any], object]) -> None:
    """A list that says anything else makes other rules."""
    said = json.loads(MANIFESTS["m-old"])
    change(said)
    assert rules_made_of(json.dumps(said)) not in ("", RULES["old"])


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "{}", '{"mappings": 3, "texts": []}', '{"mappings": [[1]]}'])
def test_what_is_no_list_makes_no_rules(text: str) -> None:
    """Whatever somebody put in its place."""
    assert rules_made_of(text) == ""
