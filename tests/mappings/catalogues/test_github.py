"""What the list of GitHub's operations says, how it is compiled, and what the pack adds to it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mappings import Problem, Request
from mappings.catalogues import Archive, read_folder, shipped, write_catalogue
from mappings.packs.github import GithubPack
from mappings.sources import SourceError, compiling
from mappings.sources.github import GRAPHQL, REST, compile_catalogue

PACK = GithubPack(shipped()["github"])

ENTRIES = {
    **PACK.routes.operations,
    **PACK.fields,
}


@pytest.mark.parametrize(
    ("operation", "access", "executes", "mints"),
    [
        ("repos/get", "read", False, False),
        ("repos/list-branches", "list", False, False),
        ("pulls/merge", "write", False, False),
        ("markdown/render", "read", False, False),
        ("repos/add-collaborator", "permissions", False, False),
        ("repos/update-branch-protection", "permissions", False, False),
        ("repos/get-branch-protection", "read", False, False),
        ("repos/list-tag-protection", "list", False, False),
        ("orgs/check-membership-for-user", "read", False, False),
        ("repos/create-deploy-key", "permissions", False, False),
        ("actions/set-github-actions-default-workflow-permissions-repository", "permissions", False, False),
        ("actions/create-or-update-repo-secret", "write", False, False),
        ("actions/create-registration-token-for-org", "write", False, True),
        ("apps/create-installation-access-token", "write", False, True),
        ("secret-scanning/get-alert", "read", False, True),
        ("enterprise-admin/create-impersonation-o-auth-token", "permissions", False, True),
        ("actions/create-workflow-dispatch", "write", True, False),
        ("actions/re-run-workflow", "write", True, False),
        ("repos/create-dispatch-event", "write", True, False),
        ("repos/create-deployment", "write", True, False),
        ("codespaces/start-for-authenticated-user", "write", True, False),
        ("codespaces/create-or-update-secret-for-authenticated-user", "write", False, False),
        ("graphql.viewer", "read", False, False),
        ("graphql.mergePullRequest", "write", False, False),
        ("graphql.createBranchProtectionRule", "permissions", False, False),
        ("graphql.approveDeployments", "write", True, False),
        ("graphql.regenerateEnterpriseIdentityProviderRecoveryCodes", "permissions", False, True),
    ],
)
def test_what_an_operation_does_is_known(operation: str, access: str, executes: bool, mints: bool) -> None:
    """Access, what sets something going and what hands out a credential stand beside each operation."""
    entry = ENTRIES[operation]
    assert (entry.access, entry.executes, entry.mints) == (access, executes, mints)


def test_only_what_asks_is_a_read() -> None:
    """No PUT, PATCH or DELETE counts as a read, and no GET as more, so that "read" can be allowed as a whole."""
    rows = shipped()["github"].read("routes.json")
    asking = {name for name, letter, _, _ in rows if letter in "rl"}
    for name, _, _, routes in rows:
        methods = {route.partition(" ")[0] for route in routes}
        assert (name in asking) or methods.isdisjoint({"GET", "HEAD"}), name
        assert (name not in asking) or methods <= {"GET", "POST"}, name


def _request(method: str, url: str, body: bytes | None = b"") -> Request:
    host, slash, path = url.partition("/")
    return Request(method, "https", host, 443, slash + path, (), (("content-type", "application/json"),), body)


def test_an_operation_carries_what_is_known_of_it() -> None:
    """Rules and records see access and traits of a REST call and of a field, known to the list or not."""
    (merge,) = PACK.recognise(_request("PUT", "api.github.com/repos/a/b/pulls/7/merge")).calls
    assert merge.attributes == {"access": "write"}
    asked = b'{"query": "mutation {approveDeployments {a} explode {a} viewer {a}}"}'
    fields = PACK.recognise(_request("POST", "api.github.com/graphql", asked)).calls
    assert [field.attributes for field in fields] == [
        {"access": "write", "executes": "true"},
        {"access": "write", "known": "false"},
        # A field of queries, asked for as a mutation: no server has it.
        {"access": "write", "known": "false"},
    ]


def test_what_a_node_id_says_is_trusted_by_nobody() -> None:
    """An environment hangs on a path, never on what a GraphQL body says."""
    asked = b'{"query": "query {repository(owner: \\"acme\\", name: \\"live\\") {id}}"}'
    (field,) = PACK.recognise(_request("POST", "api.github.com/graphql", asked)).calls
    assert field.captures["owner"] == "acme"
    assert field.trusted == frozenset()


def test_rest_does_without_graphql() -> None:
    """Nothing of GraphQL is imported before the first request for it."""
    script = (
        "import sys; from mappings import Request, load_mappings; m = load_mappings([]);"
        "ask = lambda method, path, body: m.resolve(Request(method, 'https', 'api.github.com', 443, path, (),"
        " (('content-type', 'application/json'),), body)).operations[0].name;"
        "print(ask('GET', '/repos/a/b', b''), 'graphql' in sys.modules);"
        """print(ask('POST', '/graphql', b'{"query": "{viewer {id}}"}'), 'graphql' in sys.modules)"""
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["github:repos/get", "False", "github:graphql.viewer", "True"]


def test_a_list_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    """Without its list the pack names nothing, and says so."""
    header = write_catalogue(tmp_path, shipped()["github"].header, {"other.json": []})
    pack = GithubPack(Archive(tmp_path, replace(header)))
    for request in (
        _request("GET", "api.github.com/repos/a/b"),
        _request("POST", "api.github.com/graphql", b'{"query": "{viewer {id}}"}'),
    ):
        recognition = pack.recognise(request)
        assert isinstance(recognition.problem, Problem)
        assert "cannot be read" in recognition.problem.message
        assert not recognition.calls


# --- the compiler ---


def _operation(name: str, **more: object) -> dict[str, Any]:
    return {"operationId": name, **more}


def _compiled(folder: Path, monkeypatch: pytest.MonkeyPatch, **descriptions: dict[str, Any]) -> Any:
    """Compile descriptions given by name ("ghes_3_2" for ghes-3.2), and a schema of one mutation."""
    monkeypatch.setattr(compiling, "OVERRIDES", folder)
    generated = folder / "rest" / "package" / "generated"
    generated.mkdir(parents=True)
    for name in ("api_github_com", "ghec", *descriptions):
        stem = {"api_github_com": "api.github.com"}.get(name, name.replace("_", "-", 1).replace("_", "."))
        (generated / f"{stem}.json").write_text(json.dumps({"paths": {}, **descriptions.get(name, {})}))
    schema = folder / "graphql" / "package"
    schema.mkdir(parents=True)
    types = [{"name": "Q", "fields": [{"name": "viewer"}]}, {"name": "M", "fields": [{"name": "addStar"}]}]
    roots = {"queryType": {"name": "Q"}, "mutationType": {"name": "M"}, "types": types}
    (schema / "schema.json").write_text(json.dumps({"__schema": roots}))
    return compile_catalogue({REST: folder / "rest", GRAPHQL: folder / "graphql"})


def test_the_newest_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """github.com names a path before any server, a newer server before an older one; what differs is noted."""
    compiled = _compiled(
        tmp_path,
        monkeypatch,
        api_github_com={"paths": {"/a/{x}": {"get": _operation("a/today")}}},
        ghes_3_9={"paths": {"/a/{y}": {"get": _operation("a/old")}, "/b": {"put": _operation("b/oldest")}}},
        ghes_3_10={"paths": {"/b": {"put": _operation("b/old")}}},
    )
    assert [row[0] for row in compiled.members["routes.json"]] == ["a/today", "b/old"]
    assert compiled.notes == (
        'ghes-3.9: GET /a/{y} is "a/old" there, and "a/today" here',
        'ghes-3.9: PUT /b is "b/oldest" there, and "b/old" here',
    )


def test_what_holds_slashes_is_told_by_the_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters marked as such, or to be encoded, take several segments; uploads stand apart; names are names."""
    parameters = [
        {"name": "ref", "in": "path", "x-multi-segment": True},
        {"$ref": "#/components/parameters/env"},
        {"name": "the-team", "in": "path"},
    ]
    components = {"parameters": {"env": {"name": "env", "in": "path", "description": "Write `%2F` for a slash."}}}
    paths = {
        "/a/{ref}/{env}/{the-team}": {"post": _operation("a", parameters=parameters)},
        "/up/{x}": {"post": _operation("up", servers=[{"url": "https://uploads.github.com"}])},
    }
    compiled = _compiled(tmp_path, monkeypatch, api_github_com={"paths": paths, "components": components})
    assert [row[3] for row in compiled.members["routes.json"]] == [
        ["POST /a/{ref+}/{env+}/{the_team}"],
        ["POST /api/uploads/up/{x}"],
    ]


def test_one_name_on_two_paths_stops_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody guesses which of two places an operation is at."""
    paths = {"/a": {"get": _operation("a")}, "/b": {"get": _operation("a")}}
    with pytest.raises(SourceError, match="has two routes"):
        _compiled(tmp_path, monkeypatch, api_github_com={"paths": paths})


def test_the_index_knows_what_is_inside() -> None:
    """The count that `claiim mappings list` shows is that of REST operations and GraphQL fields together."""
    header = read_folder(Path(compiling.__file__).parents[1] / "catalogues" / "data")["github"].header
    assert header.operations == len(ENTRIES) == len(PACK.operations)
    assert {source.package for source in header.sources} == {"@octokit/openapi", "@octokit/graphql-schema"}
