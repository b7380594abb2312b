"""Resolving answers for every request there can be, and the answer is one of two shapes."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mappings import Mappings, Request, canonical_action, compile_mappings, load_mappings, read_document

SITE = """
version: 1
bind:
  - {host: "*.test", pack: http, facts: {cluster: eu}}
  - {host: k8s.test, pack: [kubernetes, aws, git]}
env:
  - {value: production, when: {namespace: "prod*"}}
  - {value: staging, when: {x: "s*", cluster: eu}}
rules:
  - {id: a, match: {host: "*.test", path: "/{x+}/b/{y+}"}, action: "x:${x}", target: "${y}/${json:a.b}"}
  - {id: b, match: {path: "/a/{x}...{y}", query: {q: ["a*", b]}}, action: "x:b"}
  - {id: c, match: {host: a.test, json: {a.b: true, "c": {in: [1, x]}}}, action: "x:c", each: "json:a.*"}
  - {id: d, match: {op: "kubernetes:*:**", not: {header: {accept: "*json*"}}}, action: "deploy:${env}"}
  - {id: e, match: {host: [a.test, "*.b.test"], method: [GET, POST], facts: {x: "?*"}}, action: "x:e"}
"""

MAPPINGS = compile_mappings([read_document(SITE, "site.yaml")])
PACKED = load_mappings([])

PIECES = st.sampled_from(
    ["/", "a", "b", "%2F", "..", ".", "%", "%ff", "...", "?", "api", "v1", "namespaces", "prod", "pods", "\0", "\ud800"]
)
PATHS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20)
NAMES = st.sampled_from(
    ["q", "Q", "_method", "$httpMethod", "accept", "content-type", "content-encoding", "x-http-method-override"]
)
NAMED = st.tuples(NAMES | st.text(max_size=5), st.text(max_size=8) | st.sampled_from(["application/json", "DELETE"]))
BODIES = (
    st.none()
    | st.binary(max_size=30)
    | st.sampled_from(
        [
            b'{"a": {"b": true}}',
            b'{"a": [1, {"b": 2}], "c": 1}',
            b'{"A": {"b": true}}',
            b"[" * 5000,
            b'{"a": "\\ud800"}',
        ]
    )
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "get", "", "A B"]) | st.text(max_size=5),
    scheme=st.just("https"),
    host=st.sampled_from(["a.test", "k8s.test", "x.b.test", "evil", "", "api.github.com", "sts.amazonaws.com"])
    | st.text(max_size=10),
    port=st.integers(0, 65535),
    path=PATHS,
    query=st.lists(NAMED, max_size=4).map(tuple),
    headers=st.lists(NAMED, max_size=4).map(tuple),
    body=BODIES,
    body_complete=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(asked=REQUESTS)
@example(asked=Request("GET", "https", "a.test", 1, "", (), (), None))
@example(asked=Request("GET", "https", "a.test", 1, "/a/" * 3000, (), (), b""))
@example(asked=Request("GET", "https", "a.test", 1, "/b" * 4000, (), (), b""))
@example(asked=Request("POST", "https", "a.test", 1, "/", (), (("content-type", "application/json"),), b"[" * 100_000))
@pytest.mark.parametrize("mappings", [MAPPINGS, PACKED], ids=["rules", "shipped"])
def test_total(mappings: Mappings, asked: Request) -> None:
    """Every request gets operations or a problem, never both, neither or an exception."""
    resolution = mappings.resolve(asked)
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
    assert mappings.needs_body(asked) in (True, False)
    assert mappings.resolve(asked) == resolution
    assert mappings.explain(asked)[0] == resolution


@pytest.mark.parametrize("stage", ["_resolve", "_binding", "_operations", "_candidates"])
def test_a_bug_inside_refuses(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside, the request is refused; who asks for its body hears of it, and refuses as well."""

    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Mappings, stage, broken)
    asked = Request("GET", "https", "a.test", 443, "/a/x...y", (("q", "b"),), (), None)
    resolution = MAPPINGS.resolve(asked)
    assert resolution.operations == ()
    assert resolution.problem is not None
    assert resolution.problem.code == "mapping.failed"
    assert MAPPINGS.explain(asked)[0] == resolution
    if stage in ("_binding", "_candidates"):
        with pytest.raises(RuntimeError, match="planted"):
            MAPPINGS.needs_body(asked)


@pytest.mark.parametrize("stage", ["_inside", "_recognised"])
def test_a_bug_before_the_packs_refuses(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks on the way to the packs is a refusal too."""

    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(f"mappings.mapping.{stage}", broken)
    asked = Request("GET", "https", "a.test", 443, "/a/x...y", (("q", "b"),), (), None)
    resolution = MAPPINGS.resolve(asked)
    assert resolution.problem is not None
    assert resolution.problem.code == "mapping.failed"
    with pytest.raises(RuntimeError, match="planted"):
        MAPPINGS.needs_body(asked)
