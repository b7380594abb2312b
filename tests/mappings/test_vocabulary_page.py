"""The page of the vocabulary says what the gate does, and the vocabulary is all that shipped rules say."""

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mappings.catalogues import shipped
from mappings.inventory import catalogued, pack_of, written_rules
from mappings.loading import load_compiled
from mappings.vocabulary import VOCABULARY

ROOT = Path(__file__).parents[2]


@cache
def tool() -> ModuleType:
    """Return the generator, which lies outside the packages."""
    spec = importlib.util.spec_from_file_location("vocabulary_tool", ROOT / "tools" / "vocabulary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


def shipped_rules() -> Iterator[tuple[str, str]]:
    """Yield the id and action of every shipped rule."""
    _, documents = load_compiled([])
    for document in documents:
        for rule in written_rules(document):
            yield f"{pack_of(document)}:{rule.id}", rule.action


def test_the_page_is_current() -> None:
    """Whoever changes a rule, a word or a catalogue makes the page anew: tools/vocabulary.py."""
    text: str = tool().page()
    written = tool().PAGE.read_text("utf-8")
    assert written.splitlines() == text.splitlines(), "run tools/vocabulary.py"


def test_shipped_rules_speak_the_vocabulary() -> None:
    """A rule with a word of its own would be a door that no policy knows of."""
    assert {(rule, action) for rule, action in shipped_rules() if action not in VOCABULARY} == set()


@pytest.mark.parametrize("word", VOCABULARY)
def test_every_word_has_a_door(word: str) -> None:
    """A word that nothing leads to guards nothing: a policy that denies it would deny nothing."""
    found, _ = gathered()
    behind = found.get(word, {})
    assert any(each.always or each.sometimes or each.patterns for each in behind.values())


@cache
def gathered() -> tuple[Any, Any]:
    """Return what leads where, once for all words."""
    result: tuple[Any, Any] = tool().gathered()
    return result


@pytest.mark.parametrize("family", shipped())
def test_every_catalogue_is_listed_whole(family: str) -> None:
    """What is not listed would be missing on the page, and in what people look up."""
    header = shipped()[family].header
    listed = list(catalogued(shipped()[family]))
    # Of AWS, services that the wire cannot tell apart share the names of some operations.
    assert len(listed) == header.operations or (family == "aws" and len(listed) > 0.97 * header.operations)


def test_no_word_is_on_the_page_twice() -> None:
    """Links into the page lead to one place each."""
    anchors = [tool()._anchor(word) for word in VOCABULARY]
    assert len(set(anchors)) == len(anchors)
