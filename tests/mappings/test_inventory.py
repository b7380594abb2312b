"""What tools say of rules is what rules do: the doors of an operation hold whatever a request of it turns into."""

import gzip
import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from mappings import read_document
from mappings.actions import pattern_regex
from mappings.catalogues import shipped
from mappings.compile import compile_documents
from mappings.compiled import Compiled
from mappings.inventory import Known, doors, fitting, keeps_its_name, known_operations
from mappings.loading import load_compiled

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "mappings" / "catalogues" / "samples"

sys.path.insert(0, str(ROOT / "tools" / "selftest"))
from case import case_of, mappings_of  # noqa: E402

PACK = """
pack: shop
operations:
  orders/create: POST /orders
  orders/delete: DELETE /orders/{order}
  orders/list: GET /orders
"""


def compiled(*rules: str) -> Compiled:
    """Compile the pack "shop" and an operator's rules."""
    site = f"version: 1\nrules: [{', '.join(rules)}]\n"
    return compile_documents([read_document(PACK, "pack:shop"), read_document(site, "site.yaml")], [])


WRITE = {"access": "write"}
ONE_RULE: dict[str, tuple[str, Known, bool | None]] = {
    "by name": ('{id: a, match: {op: "shop:orders/list"}, action: "x:y"}', Known("shop:orders/list"), True),
    "in other case": ('{id: a, match: {op: "shop:ORDERS/list"}, action: "x:y"}', Known("shop:orders/list"), True),
    "by glob": ('{id: a, match: {op: "shop:*"}, action: "x:y"}', Known("shop:orders/list"), True),
    "another name": ('{id: a, match: {op: "shop:orders/list"}, action: "x:y"}', Known("shop:orders/create"), None),
    "for some requests": (
        '{id: a, match: {op: "shop:*", query: {dry: "1"}}, action: "x:y"}',
        Known("shop:orders/list"),
        False,
    ),
    "on some host": ('{id: a, match: {op: "shop:*", host: a.test}, action: "x:y"}', Known("shop:orders/list"), False),
    "by access": (
        '{id: a, match: {op: "shop:*", facts: {access: write}}, action: "x:y"}',
        Known("shop:orders/create", WRITE),
        True,
    ),
    "by another access": (
        '{id: a, match: {op: "shop:*", facts: {access: read}}, action: "x:y"}',
        Known("shop:orders/create", WRITE),
        None,
    ),
    "by access, and none is known": (
        '{id: a, match: {op: "shop:*", facts: {access: write}}, action: "x:y"}',
        Known("shop:orders/create"),
        False,
    ),
    "but for a name": (
        '{id: a, match: {op: "shop:*", not: {op: "shop:orders/list"}}, action: "x:y"}',
        Known("shop:orders/list", WRITE),
        None,
    ),
    "but for another name": (
        '{id: a, match: {op: "shop:*", not: {op: "shop:orders/list"}}, action: "x:y"}',
        Known("shop:orders/create", WRITE),
        True,
    ),
    "but for some requests": (
        '{id: a, match: {op: "shop:*", not: {query: {dry: "1"}}}, action: "x:y"}',
        Known("shop:orders/create", WRITE),
        False,
    ),
    "by its method": (
        '{id: a, match: {op: "shop:*", method: DELETE}, action: "x:y"}',
        Known("shop:orders/delete", WRITE, frozenset({"DELETE"})),
        True,
    ),
    "by another method": (
        '{id: a, match: {op: "shop:*", method: DELETE}, action: "x:y"}',
        Known("shop:orders/create", WRITE, frozenset({"POST"})),
        None,
    ),
    "by one of its methods": (
        '{id: a, match: {op: "shop:*", method: DELETE}, action: "x:y"}',
        Known("shop:orders/delete", WRITE, frozenset({"DELETE", "POST"})),
        False,
    ),
    "by a method, and none is known": (
        '{id: a, match: {op: "shop:*", method: DELETE}, action: "x:y"}',
        Known("shop:orders/delete", WRITE),
        False,
    ),
}


@pytest.mark.parametrize(("rule", "operation", "always"), ONE_RULE.values(), ids=ONE_RULE)
def test_whether_a_rule_speaks(rule: str, operation: Known, always: bool | None) -> None:
    """For every request of the operation, for some (False), or for none (None)."""
    found = doors(compiled(rule), operation)
    assert [door.always for door in found] == ([] if always is None else [always])
    assert keeps_its_name(found) is (always is not True)


def test_what_always_holds_hides_what_is_less_specific() -> None:
    """And what holds for some requests hides nothing."""
    rules = (
        '{id: glob, match: {op: "shop:*"}, action: "x:glob"}',
        '{id: exact, match: {op: "shop:orders/create"}, action: "x:exact"}',
        '{id: dry, match: {op: "shop:*", query: {dry: "1"}}, action: "x:dry"}',
    )
    found = doors(compiled(*rules), Known("shop:orders/create"))
    assert [(door.action, door.always) for door in found] == [("x:dry", False), ("x:exact", True)]
    found = doors(compiled(*rules), Known("shop:orders/list"))
    assert [(door.action, door.always) for door in found] == [("x:dry", False), ("x:glob", True)]


FITTING = {
    "the same": ("infra:destroy", {"infra:destroy"}),
    "an environment": ("deploy:staging", {"deploy:${env}"}),
    "the longer one": ("deploy:rollback-staging", {"deploy:rollback-${env}"}),
    "unknown": ("deploy:unknown", {"deploy:${env}"}),
    "a segment more": ("deploy:eu:staging", set()),
    "no segment": ("deploy", set()),
    "nothing": ("", set()),
    "an expression": (".*:.*", set()),
}


@pytest.mark.parametrize(("word", "actions"), FITTING.values(), ids=FITTING)
def test_which_actions_a_word_means(word: str, actions: set[str]) -> None:
    """A word is text: what looks like an expression in it means nothing."""
    known = ["infra:destroy", "deploy:${env}", "deploy:rollback-${env}"]
    assert fitting(word, known) == actions


def test_a_pack_that_lists_nothing() -> None:
    """Told from one that lists no operation."""
    packs = compiled().packs
    assert known_operations(packs["shop"]) == tuple(
        Known(f"shop:orders/{name}") for name in ("create", "delete", "list")
    )
    assert known_operations(load_compiled([])[0].packs["kubernetes"]) is None


@cache
def listed(family: str) -> dict[str, Known]:
    """Return the operations of a shipped family by name."""
    found = known_operations(load_compiled([])[0].packs[family], shipped().get(family))
    return {each.name: each for each in found or ()}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.gz")), ids=lambda path: path.name.partition(".")[0])
def test_requests_go_through_the_doors(path: Path) -> None:
    """Whatever action a real request gets is that of a door of its operation, or its own name where it keeps it."""
    head, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    shown, _ = load_compiled([])
    mappings = mappings_of(json.loads(head)["site"])
    through = 0
    for line in lines:
        for operation in mappings.resolve(case_of(line).request()).operations:
            known = listed(operation.name.partition(":")[0]).get(operation.name)
            if known is None:
                continue
            through += 1
            found = doors(shown, known)
            if operation.rule is None:
                assert keeps_its_name(found), operation
            else:
                actions = [door.action for door in found if door.rule.ref == operation.rule]
                assert len(actions) == 1, operation
                assert re.fullmatch(pattern_regex(re.sub(r"\$\{[^{}]*\}", "*", actions[0])), operation.action)
    assert through or path.name.partition(".")[0] not in shipped()
