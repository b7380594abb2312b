"""What a pack says of an operation itself: rules may ask for it, and nothing in a request can say it instead."""

from collections.abc import Callable

import pytest

from mappings import Call, Mappings, PackError, Recognition, Request
from mappings.compile import compile_documents
from mappings.documents import read_document
from mappings.resolution import ATTRIBUTES

RequestOf = Callable[..., Request]


class _Pack:
    """A pack that answers every request with the same call."""

    name = "odd"
    family = "odd"
    hosts = ("odd.test",)
    reads_prefix = False

    def __init__(self, call: Call) -> None:
        self.call = call

    def needs_body(self, request: Request) -> bool:
        return False

    def recognise(self, request: Request) -> Recognition:
        return Recognition((self.call,))


def odd(call: Call, rules: str) -> Mappings:
    """Return mappings whose only pack always makes this call."""
    documents = [read_document(f"version: 1\nrules:\n{rules}", "site.yaml", error=PackError)]
    return Mappings(compile_documents(documents, [_Pack(call)]), documents)


RULES = """
- {id: any, match: {op: "odd:*"}, action: "x:any"}
- {id: read, match: {op: "odd:*", facts: {access: [read, list]}}, action: "x:read"}
- {id: runs, match: {op: "odd:*", facts: {executes: "true"}}, action: "x:run"}
- {id: leaks, match: {op: "odd:*", facts: {access: read, mints: "true"}}, action: "x:leak"}
- {id: strange, match: {op: "odd:*", facts: {known: "false", access: {exists: false}}}, action: "x:strange"}
"""

CALLS = {
    "nothing known": (Call("odd:a", {}), "x:any"),
    "a read": (Call("odd:a", {}, access="read"), "x:read"),
    "a list": (Call("odd:a", {}, access="list"), "x:read"),
    "a write": (Call("odd:a", {}, access="write"), "x:any"),
    "a read that runs something": (Call("odd:a", {}, access="read", executes=True), "x:read | x:run"),
    "a read that mints": (Call("odd:a", {}, access="read", mints=True), "x:leak"),
    "only the wire named it": (Call("odd:a", {}, known=False), "x:strange"),
    "captured access": (Call("odd:a", {"access": "read"}), "x:any"),
    "captured access beside the pack's": (Call("odd:a", {"access": "read"}, access="write"), "x:any"),
    "captured and not folded": (Call("odd:a", {"executes": "true"}), "x:any"),
}


@pytest.mark.parametrize(("call", "expected"), CALLS.values(), ids=CALLS)
def test_rules_ask_for_attributes(request_of: RequestOf, call: Call, expected: str) -> None:
    """A rule may depend on what the pack says of the operation, and on nothing that only looks like it."""
    resolution = odd(call, RULES).resolve(request_of("GET https://odd.test/"))
    assert " | ".join(sorted(each.action for each in resolution.operations)) == expected
    for operation in resolution.operations:
        said = {name: operation.attributes[name] for name in ATTRIBUTES if name in operation.attributes}
        assert said == call.attributes


NOT_RULES = {
    "not a write": '{op: "odd:a", not: {facts: {access: write}}}',
    "not any that changes": '{op: "odd:a", not: {facts: {access: [write, permissions, tagging]}}}',
    "not not a read": '{op: "odd:a", not: {not: {facts: {access: read}}}}',
    "a read": '{op: "odd:a", facts: {access: read}}',
    "a read by glob": '{op: "odd:a", facts: {access: "*"}}',
    "no write, by method": "{host: odd.test, method: GET, not: {facts: {access: write}}}",
}


@pytest.mark.parametrize("match", NOT_RULES.values(), ids=NOT_RULES)
def test_what_nobody_knows_is_no_read(request_of: RequestOf, match: str) -> None:
    """An operation without an access level satisfies no condition that a read would, in whatever words."""
    rules = f"- {{id: a, match: {match}, action: x:harmless}}\n"
    request = request_of("GET https://odd.test/")
    (unknown,) = odd(Call("odd:a", {}), rules).resolve(request).operations
    assert unknown.action == "odd:a"
    (known,) = odd(Call("odd:a", {}, access="read"), rules).resolve(request).operations
    assert known.action == "x:harmless"


def test_attributes_are_not_read_from_paths(request_of: RequestOf) -> None:
    """A trusted capture of such a name chooses no environment, and an attribute fills a template."""
    call = Call("odd:a", {"access": "production"}, trusted=frozenset({"access"}), access="write")
    mappings = odd(call, '- {id: a, match: {op: "odd:a"}, action: "x:${access}", target: "${known}"}\n')
    (operation,) = mappings.resolve(request_of("GET https://odd.test/")).operations
    assert (operation.action, operation.target, operation.environment) == ("x:write", "-", "")


def test_the_names_are_those_a_call_can_have() -> None:
    """Every attribute of a call is reserved."""
    every = Call("odd:a", {}, access="read", executes=True, mints=True, known=False)
    assert every.attributes.keys() == ATTRIBUTES


def test_explain_shows_rules_that_an_attribute_rules_out(request_of: RequestOf) -> None:
    """Who asks why is told of rules whose attributes do not fit, too."""
    mappings = odd(Call("odd:a", {}, access="write"), RULES)
    _, considered = mappings.explain(request_of("GET https://odd.test/"))
    assert {each.rule.id: each.verdict for each in considered} == {
        "any": "won",
        "read": "does not hold",
        "runs": "does not hold",
        "leaks": "does not hold",
        "strange": "does not hold",
    }


UNNAMED = {
    "named": ("GET https://api.shop.test/orders", b"", ""),
    "not recognised": ("GET https://api.shop.test/nothing", b"", "shop:unrecognised"),
    "bound to rules alone": ("GET https://site.test/nothing", b"", "http:unrecognised"),
    "unbound": ("GET https://evil.test/", b"", "http:unbound"),
    "two readings": ("POST https://site.test/x?_method=DELETE", b'{"a": 1}', "conflict"),
    "key twice": ("POST https://site.test/x", b'{"a": 1, "a": 2}', "conflict"),
    "unreadable": ("POST https://site.test/x", None, "http:unreadable"),
    "unreadable, bound to nothing": ("POST https://raw.test/x", None, "http:unreadable"),
    "too many": ("POST https://site.test/x", f'{{"a": 1, "ids": {list(range(201))}}}'.encode(), "http:too-many"),
}

SITE = """
bind: [{host: site.test, pack: http}]
rules:
  - {id: a, match: {host: [site.test, raw.test], method: POST, path: /x, json: {a: 1}}, each: "json:ids", action: x}
"""


@pytest.mark.parametrize(("line", "body", "expected"), UNNAMED.values(), ids=UNNAMED)
def test_what_is_not_named_has_a_name_for_that(
    mapped: Callable[..., Mappings], request_of: RequestOf, line: str, body: bytes | None, expected: str
) -> None:
    """Records can say what kind of unnamed a request is, in the form of an operation."""
    resolution = mapped(SITE).resolve(request_of(line, body, (("content-type", "application/json"),)))
    assert resolution.unnamed == expected
    assert bool(resolution.operations) is (expected == "")
