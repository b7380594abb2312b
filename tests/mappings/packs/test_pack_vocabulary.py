"""What holds for every shipped pack: its words, its destructive calls, and that it never fails."""

import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mappings import Request, canonical_action, compile_mappings, read_document
from mappings.catalogues import shipped
from mappings.packs import shipped_packs
from mappings.vocabulary import VOCABULARY

SHIPPED = Path(__file__).parents[3] / "mappings" / "packs"
PACKS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(SHIPPED.glob("*.yaml"))}
HOSTS = {name: f"{name}.acme.test" for name in (*PACKS, "kubernetes", "aws", "git")}

MAPPINGS = compile_mappings(
    [
        *(read_document((SHIPPED / f"{name}.yaml").read_text("utf-8"), f"pack:{name}") for name in PACKS),
        read_document(
            yaml.safe_dump({"version": 1, "bind": [{"host": host, "pack": name} for name, host in HOSTS.items()]}),
            "mappings/site.yaml",
        ),
    ]
)

MILD = frozenset(
    {
        *("deploy:unknown", "deploy:plan", "deploy:rollback-unknown", "infra:create", "infra:update", "pr:comment"),
        *("pr:approve", "pr:merge", "ci:run", "data:read", "data:write", "secret:read", "health:check"),
    }
)
"""What may not stand for taking something away."""


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_speaks_only_the_small_vocabulary(name: str) -> None:
    """A shipped rule gives one of the words of mappings/vocabulary.py, so that skills can rely on them."""
    assert {rule["action"] for rule in PACKS[name].get("rules", ())} <= set(VOCABULARY)


def _routes(method: str) -> list[Any]:
    found = []
    for name, pack in PACKS.items():
        for operation, routes in pack.get("operations", {}).items():
            for route in [routes] if isinstance(routes, str) else routes:
                methods, path = route.split(" ", 1)
                if method in methods.split("|"):
                    found.append(pytest.param(name, operation, path, id=f"{name}:{operation} {path}"))
    return found


def _filled(path: str) -> str:
    """Return a path that fits a template."""
    words = re.sub(r"\{\w+:([^}|]+)[^}]*\}", r"\1", path[path.index("/") :])
    return re.sub(r"\{(\w+)\+?\}", r"\1", words)


def _request(name: str, method: str, path: str) -> Request:
    host = PACKS[name].get("hosts", [HOSTS[name]])[0] if "/" in path else HOSTS[name]
    if not path.startswith("/"):
        host = path.split("/", 1)[0]
    return Request(method, "https", host, 443, _filled(path), (), (), b"")


@pytest.mark.parametrize(("name", "operation", "path"), _routes("DELETE"))
def test_deleting_never_has_a_mild_name(name: str, operation: str, path: str) -> None:
    """No DELETE route of a shipped pack is named by a word that sounds as if nothing were lost."""
    (found,) = MAPPINGS.resolve(_request(name, "DELETE", path)).operations
    assert found.name == f"{name}:{operation}"
    assert found.action not in MILD


@pytest.mark.parametrize(("name", "operation", "path"), _routes("GET"))
def test_reading_is_never_a_change(name: str, operation: str, path: str) -> None:
    """Every GET route resolves to its own operation, under its own name or a word for reading."""
    (found,) = MAPPINGS.resolve(_request(name, "GET", path)).operations
    assert found.name == f"{name}:{operation}"
    assert found.action in {"secret:read", "health:check", canonical_action(found.name)}


TOKEN = st.text(string.ascii_letters + string.digits + "-._/%=&;:+ \0é", max_size=40)
PAIRS = st.lists(st.tuples(TOKEN, TOKEN), max_size=4).map(tuple)
PATHS = st.lists(
    st.sampled_from(
        ["api", "apis", "v1", "namespaces", "watch", "proxy", "pods", "info", "refs", "lfs", "git-receive-pack", "%2F"]
    )
    | TOKEN,
    max_size=8,
).map(lambda parts: "/" + "/".join(parts))
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "x-amz-target", "content-type", "content-encoding", "impersonate-user"]),
        TOKEN,
    ),
    max_size=4,
).map(tuple)


@pytest.mark.parametrize("pack", shipped_packs(shipped()), ids=lambda pack: pack.name)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PATCH", "BREW"]),
    host=st.sampled_from(["github.com", "ec2.eu-west-1.amazonaws.com", "dynamodb.api.aws", ".amazonaws.com", "x"]),
    path=PATHS,
    query=PAIRS,
    headers=HEADERS,
    body=st.none() | st.binary(max_size=80) | TOKEN.map(str.encode),
)
@example("POST", "ec2.amazonaws.com", "/", (), (("authorization", "AWS4-"),), b"Action=%ff")
@example("POST", "x", "/a/git-receive-pack", (), (), b"00ff")
@example("POST", "x", "/a/git-receive-pack", (), (), b"0000" * 3)
def test_a_pack_never_fails(
    pack: Any, method: str, host: str, path: str, query: Any, headers: Any, body: bytes | None
) -> None:
    """For any request at all a pack answers calls, a problem, or that it does not know; never with an exception."""
    request = Request(method, "https", host, 443, path, query, headers, body)
    recognition = pack.recognise(request)
    assert recognition.problem is None or not recognition.calls
    assert isinstance(pack.needs_body(request), bool)
    for call in recognition.calls:
        assert call.trusted <= {*call.captures, "branch", "tag", "ref"}
