"""Readers of single protocols, and a whole request through every shipped pack and rule."""

import json
import re
from dataclasses import replace
from functools import cache
from urllib.parse import parse_qsl

from graphql.language import FieldNode, FragmentSpreadNode, OperationDefinitionNode, SelectionSetNode, ast, parse
from graphql.language.printer import print_ast

from mappings.actions import canonical_action
from mappings.canonical import CanonicalError, canonical_host, canonical_target
from mappings.documents import read_document
from mappings.forms import FORM
from mappings.loading import compile_mappings, load_mappings
from mappings.mapping import Mappings
from mappings.packs.git_push import Push, PushError, read_push
from mappings.packs.graphql import read_graphql
from mappings.packs.graphql_documents import (
    MAX_TOKENS,
    Operation,
    chosen,
    read_operations,
)
from mappings.request import Request
from mappings.resolution import Problem, Resolution
from support.fuzzing.bodies import post
from support.fuzzing.harness import Harness, refusal, text_of


def git(data: bytes) -> str:
    """The whole input is the body of a push."""
    try:
        push = read_push(data)
    except PushError as error:
        return refusal(error)
    assert [(command.old, command.new, command.ref) for command in push.commands] == _commands(data)
    assert len(push.options) <= len(data) // 4
    if push.commands:
        assert read_push(_push(push)) == push
        # What stands behind the head, and what is not there yet of it, changes nothing.
        assert read_push(data + b"PACK\0\0\0\2", complete=False) == push
    for end in {len(data) // 2, len(data) - 1, len(data) - 4} - {-1, -2, -3, -4}:
        try:
            cut = read_push(data[:end], complete=False)
        except PushError:
            continue
        assert cut == push
    return "read"


def _commands(body: bytes) -> list[tuple[str, str, str]]:
    """The refs of a push, cut out plainly: of a body that the strict reader took."""
    found, at = [], 0
    while length := int(body[at : at + 4], 16):
        line = body[at + 4 : at + length].split(b"\0")[0].removesuffix(b"\n")
        if not line.startswith(b"shallow "):
            old, new, ref = line.split(b" ", 2)
            found.append((old.decode(), new.decode(), ref.decode()))
        at += length
    return found


def _push(push: Push) -> bytes:
    lines = [f"{each.old} {each.new} {each.ref}".encode() for each in push.commands]
    if push.options:
        lines[0] += b"\0 push-options"
    head = b"".join(b"%04x%s" % (len(line) + 4, line) for line in lines) + b"0000"
    if not push.options:
        return head
    options = [option.encode() for option in push.options]
    return head + b"".join(b"%04x%s" % (len(option) + 4, option) for option in options) + b"0000"


def graphql(data: bytes) -> str:
    """The first line is an operation's name, the rest a document."""
    first, _, rest = data.partition(b"\n")
    name, document = text_of(first), text_of(rest)
    body = json.dumps({"query": document, **({"operationName": name} if name else {})}).encode()
    found = read_graphql(post(body, ("content-type", "application/json")))
    if isinstance(found, Problem):
        assert "\n" not in found.message
        return found.code
    assert found
    operations = read_operations(document)
    one = chosen(operations, name)
    assert sum(map(_values, (each.fields for each in operations))) <= MAX_TOKENS
    tree = parse(document, no_location=True)
    # Aliases, fragments and their nesting undone by hand: the fields that a server runs.
    assert {field.name for field in found} == _root_fields(tree, one)
    # No limit is near: they are of many thousands of characters.
    assert read_operations(print_ast(tree)) == operations
    return "read"


def _values(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_values, value.values()))
    return 1 + sum(map(_values, value)) if isinstance(value, tuple) else 1


def _root_fields(tree: ast.DocumentNode, operation: Operation) -> set[str]:
    fragments = {node.name.value: node for node in tree.definitions if isinstance(node, ast.FragmentDefinitionNode)}
    (definition,) = (
        node
        for node in tree.definitions
        if isinstance(node, OperationDefinitionNode) and (node.name.value if node.name else "") == operation.name
    )
    found: set[str] = set()
    seen: set[str] = set()

    def gather(selections: SelectionSetNode) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                found.add(node.name.value)
            elif isinstance(node, FragmentSpreadNode):
                if node.name.value not in seen:
                    seen.add(node.name.value)
                    gather(fragments[node.name.value].selection_set)
            else:
                gather(node.selection_set)

    gather(definition.selection_set)
    return found


# --- a whole request ---

_SITE = """
version: 1
bind:
  - {host: k8s.test, pack: kubernetes}
  - {host: git.test, pack: git}
  - {host: graph.test, pack: graphql}
  - {host: rpc.test, pack: [mcp, jsonrpc]}
  - {host: cargo.test, pack: registry}
  - {host: vault.test, pack: vault}
  - {host: docker.test, pack: docker}
  - {host: "*.test", pack: http}
env:
  - {value: production, when: {namespace: "prod*"}}
rules:
  - {id: a, match: {host: api.test, path: "/{x+}/b/{y+}"}, action: "x:${x}", target: "${y}"}
  - {id: b, match: {host: api.test, method: DELETE, path: "/a/{x}"}, action: "x:delete"}
  - {id: c, match: {host: api.test, json: {a.b: true}}, action: "x:c", each: "json:a.c"}
  - {id: d, match: {host: api.test, method: [GET, POST], path: "/a/{x}"}, action: "x:touch"}
"""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


def request(data: bytes) -> str:
    """A request as text: host, method and target, headers, a blank line, body."""
    head, _, body = data.partition(b"\n\n")
    lines = head.decode("latin-1").split("\n")
    if len(lines) < 2:
        return "no request"
    method, _, raw = lines[1].partition(" ")
    try:
        host, target = canonical_host(lines[0]), canonical_target(raw)
    except CanonicalError:
        return "no canonical request"
    fields = (line.partition(":") for line in lines[2:])
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in fields)
    asked = Request(method.upper(), "https", host, 443, target.path, target.query, headers, body)
    mappings = _mappings(host.endswith(".test"))
    resolution = mappings.resolve(asked)
    _sound(resolution)
    assert mappings.needs_body(asked) in (True, False)
    assert mappings.explain(asked)[0] == resolution
    for other in _overriding(asked):
        if resolution.problem is None:
            assert other in resolution.methods  # so no policy is told that it knows the method
            assert _meant(mappings.resolve(replace(asked, method=other))) == _meant(resolution)
    return resolution.problem.code if resolution.problem else "resolved"


def _meant(resolution: Resolution) -> set[tuple[str, ...]]:
    """What a decision can hang on; an operation that only the wire named is called by its method."""
    known = ("access", "executes", "mints", "known")
    return {
        (each.action, each.target, each.environment, *(each.attributes.get(name, "") for name in known))
        for each in resolution.operations
    }


@cache
def _mappings(of_site: bool) -> Mappings:
    return compile_mappings([read_document(_SITE, "site.yaml")]) if of_site else load_mappings([])


def _sound(resolution: Resolution) -> None:
    assert bool(resolution.operations) is (resolution.problem is None)
    assert len(resolution.operations) <= 200
    for operation in resolution.operations:
        assert canonical_action(operation.action) == operation.action
        assert operation.target.isprintable()
        assert operation.target
        assert re.fullmatch(r"[a-z0-9._-]*", operation.environment)
    if resolution.problem is not None:
        assert resolution.problem.code.startswith("mapping.")
        assert resolution.problem.message.isprintable()
        # The net under resolve is for bugs nobody knows; a request that falls into it shows one.
        assert "could not" not in resolution.problem.message


def _overriding(asked: Request) -> set[str]:
    """The methods that a framework would run instead, read with the standard library as frameworks do."""
    named = [value for name, value in asked.headers if name.replace("_", "-") == "x-http-method-override"]
    named += [value for name, value in asked.query if name == "_method"]
    kinds = {value.partition(";")[0].strip().lower() for value in asked.header_values("content-type")}
    if kinds == {FORM} and asked.method == "POST":
        try:
            read = parse_qsl((asked.body or b"").decode("latin-1"), max_num_fields=5000)
        except ValueError:
            read = []
        named += [value for name, value in read if name == "_method"]
    return {value.upper() for value in named} & _METHODS - {asked.method}


_HOSTS = (b"api.github.com", b"api.test", b"k8s.test", b"git.test", b"graph.test", b"rpc.test", b"vault.test")
HARNESSES = (
    Harness(
        "git-push",
        git,
        (b"0000", b"00", b"refs/heads/", b"\0", b"push-options", b" ", b"a" * 40, b"0" * 40, b"shallow ", b"push-cert"),
        1024,
    ),
    Harness(
        "graphql",
        graphql,
        (
            b'"""',
            b"\\u{",
            *b"query|mutation|fragment | on |...|{|}|(|)|$a|:|@include|subscription|[|]|!|=|#|true|null".split(b"|"),
        ),
        1024,
    ),
    Harness(
        "request",
        request,
        (
            *_HOSTS,
            b"\nPOST /",
            b"\nGET /",
            b"\nDELETE /",
            b"\nContent-Type: application/json\n",
            b"\nContent-Type: application/x-www-form-urlencoded\n",
            b"\nX-HTTP-Method-Override: DELETE",
            b"\n\n",
            b"?_method=DELETE",
            b"/api/v1/namespaces/prod/pods",
            b"/repos/a/b/pulls/1/merge",
            b"%2F",
            b".json",
        ),
        1024,
    ),
)
