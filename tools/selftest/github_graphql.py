"""Every root field of GitHub's GraphQL schema, asked for in the ways that clients write it.

plain       mutation($i: T!) {field(input: $i) {...}}          hidden      under an alias, in a fragment of a fragment
literal     arguments written out, by GET for queries          chosen      beside another operation, by operationName
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from case import Case
from fetch import package

SAMPLE_EVERY = 11

URL = "https://api.github.com/graphql"
JSON = (("content-type", "application/json"),)


def cases() -> Iterator[Case]:
    """Yield four requests for each root field."""
    path = package("npm:@octokit/graphql-schema").folder / "package" / "schema.json"
    schema = json.loads(path.read_bytes())["__schema"]
    types = {each["name"]: each for each in schema["types"]}
    for kind, place in (("query", "queryType"), ("mutation", "mutationType")):
        for field in types[schema[place]["name"]]["fields"]:
            yield from _ways(kind, schema[place]["name"], field, types)


def _ways(kind: str, root: str, field: Any, types: Any) -> Iterator[Case]:
    wanted = frozenset({f"github:graphql.{field['name']}"})
    needed = [each for each in field["args"] if each["type"]["kind"] == "NON_NULL"]
    below = "{__typename}" if _named(field["type"], types)["kind"] not in ("SCALAR", "ENUM") else ""
    declared = ",".join(f"${each['name']}:{_written(each['type'])}" for each in needed)
    passed = ",".join(f"{each['name']}:${each['name']}" for each in needed)
    written = ",".join(f"{each['name']}:{_literal(each['type'], types)}" for each in needed)
    variables = {each["name"]: _json(each["type"], types) for each in needed}
    head = f"({declared})" if declared else ""
    one = field["name"] + (f"({passed})" if passed else "") + below
    two = field["name"] + (f"({written})" if written else "") + below

    def asked(document: str, **more: object) -> Case:
        body = json.dumps({"query": document, "variables": variables, **more}).encode()
        return Case("POST", URL, wanted, JSON, body, group)

    group = "plain"
    yield asked(f"{kind} A{head} {{{one}}}")
    group = "literal"
    if kind == "query":
        yield Case("GET", f"{URL}?query={quote('{' + two + '}')}", wanted, group=group)
    else:
        yield asked(f"{kind} {{{two}}}")
    group = "hidden"
    fragments = f"fragment F on {root} {{...G}} fragment G on {root} {{... @include(if: false) {{viewer: {one}}}}}"
    yield asked(f"{kind} A{head} {{...F}} {fragments}")
    group = "chosen"
    yield asked(f"query B {{viewer{{login}}}} {kind} A{head} {{{one}}} mutation C {{x}}", operationName="A")


def _named(reference: Any, types: Any) -> Any:
    while reference.get("ofType"):
        reference = reference["ofType"]
    return types[reference["name"]]


def _written(reference: Any) -> str:
    if reference["kind"] == "NON_NULL":
        return f"{_written(reference['ofType'])}!"
    return f"[{_written(reference['ofType'])}]" if reference["kind"] == "LIST" else reference["name"]


def _json(reference: Any, types: Any) -> Any:
    """Return a value of a type with everything it must have."""
    if reference["kind"] == "NON_NULL":
        return _json(reference["ofType"], types)
    if reference["kind"] == "LIST":
        return [_json(reference["ofType"], types)]
    named = types[reference["name"]]
    if named["kind"] == "INPUT_OBJECT":
        needed = [each for each in named["inputFields"] if each["type"]["kind"] == "NON_NULL"]
        return {each["name"]: _json(each["type"], types) for each in needed}
    if named["kind"] == "ENUM":
        return named["enumValues"][0]["name"]
    return {"Int": 7, "Float": 1.5, "Boolean": True}.get(named["name"], "x1")


def _literal(reference: Any, types: Any) -> str:
    return _in_graphql(_json(reference, types), reference, types)


def _in_graphql(value: Any, reference: Any, types: Any) -> str:
    while reference["kind"] == "NON_NULL":
        reference = reference["ofType"]
    if isinstance(value, list):
        return f"[{','.join(_in_graphql(each, reference['ofType'], types) for each in value)}]"
    if isinstance(value, dict):
        fields = {each["name"]: each["type"] for each in types[reference["name"]]["inputFields"]}
        inner = (f"{name}:{_in_graphql(each, fields[name], types)}" for name, each in value.items())
        return f"{{{','.join(inner)}}}"
    return str(value) if types[reference["name"]]["kind"] == "ENUM" else json.dumps(value)
