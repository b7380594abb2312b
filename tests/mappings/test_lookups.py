"""Tables that say what stands behind an id: what they add, and what they never let through."""

from collections.abc import Callable

import pytest

from mappings import Call, Mappings, Recognition, Request
from mappings.compile import compile_documents
from mappings.documents import read_document

Mapped = Callable[..., Mappings]
RequestOf = Callable[..., Request]

JSON = (("content-type", "application/json"),)

SITE = """
bind:
  - {host: tfc.test, pack: http}
  - {host: eu.test, pack: http, facts: {team: bound, env: production}}
  - {host: api.shop.test, pack: shop}
env:
  - {value: staging, when: {team: "dev-*"}}
lookups:
  workspaces:
    match: {host: tfc.test, method: POST, path: /runs}
    key: "json:data.workspace.id"
    table:
      ws-9: {workspace: payments, env: production}
      ws-8: {workspace: sandbox}
      ws-7: {workspace: web, team: dev-web}
      "7": {workspace: seven, env: production}
  orders:
    key: order
    table:
      o-1: {customer: acme, env: production}
      o-2: {customer: "Dev Ltd", env: staging}
  customers:
    key: order
    table: {o-2: {customer: other}, o-3: {customer: third}}
rules:
  - {id: run, match: {host: tfc.test, method: POST, path: /runs}, action: "deploy:${env}", target: "tfc/${workspace}"}
  - id: run-web
    match: {host: tfc.test, method: POST, path: /runs, facts: {workspace: web}}
    action: "web:${env}"
    target: "tfc/${workspace}/${team}"
  - {id: plain, match: {host: tfc.test, method: GET, path: /runs}, action: "run:read"}
  - {id: bound, match: {host: eu.test, path: "/{order}"}, action: "deploy:${env}", target: "${team}/${customer}"}
  - {id: by-path, match: {host: tfc.test, path: "/orders/{order}"}, action: "deploy:${env}", target: "${customer}"}
  - {id: by-op, match: {op: "shop:orders/get"}, action: "deploy:${env}", target: "${customer}"}
"""


def body(identifier: str) -> str:
    """Return a body that names a workspace."""
    return f'{{"data": {{"workspace": {{"id": {identifier}}}}}}}'


ROWS: dict[str, tuple[str, str | None, str]] = {
    "known": ("POST https://tfc.test/runs", body('"ws-9"'), "deploy:production tfc/payments production"),
    "a row without an environment": (
        "POST https://tfc.test/runs",
        body('"ws-8"'),
        "deploy:unknown tfc/sandbox unknown",
    ),
    "a row for a classifier": ("POST https://tfc.test/runs", body('"ws-7"'), "web:staging tfc/web/dev-web staging"),
    "a number": ("POST https://tfc.test/runs", body("7"), "deploy:production tfc/seven production"),
    "unknown": ("POST https://tfc.test/runs", body('"ws-1"'), "deploy:unknown tfc/- unknown"),
    "in another case": ("POST https://tfc.test/runs", body('"WS-9"'), "deploy:unknown tfc/- unknown"),
    "missing": ("POST https://tfc.test/runs", "{}", "deploy:unknown tfc/- unknown"),
    "an empty body": ("POST https://tfc.test/runs", "", "deploy:unknown tfc/- unknown"),
    "two ids": ("POST https://tfc.test/runs", body('["ws-9", "ws-8"]'), "mapping.unreadable"),
    "an id twice": ("POST https://tfc.test/runs", '{"data": {}, "data": {}}', "mapping.conflict"),
    "the key in another case": ("POST https://tfc.test/runs", '{"Data": {"workspace": {}}}', "mapping.conflict"),
    "unread": ("POST https://tfc.test/runs", None, "mapping.unreadable"),
    "not concerned": ("GET https://tfc.test/runs", None, "run:read tfc.test/runs "),
    "a fact of the path": ("GET https://tfc.test/orders/o-1", "", "deploy:production acme production"),
    "a fact of the path, unknown": ("GET https://tfc.test/orders/o-9", "", "deploy:unknown - unknown"),
    "a fact of a pack": ("GET https://api.shop.test/orders/o-1", "", "deploy:production acme production"),
    "two tables differ": ("GET https://tfc.test/orders/o-2", "", "deploy:staging - staging"),
    "one table knows": ("GET https://tfc.test/orders/o-3", "", "deploy:unknown third unknown"),
    "the host goes before": ("GET https://eu.test/o-2", "", "deploy:production bound/- production"),
}


@pytest.mark.parametrize(("line", "content", "expected"), ROWS.values(), ids=ROWS)
def test_lookup(mapped: Mapped, request_of: RequestOf, line: str, content: str | None, expected: str) -> None:
    """A known id gets its facts, an unknown one none, and one that cannot be read is refused."""
    resolution = mapped(SITE).resolve(request_of(line, content, JSON))
    if resolution.problem is not None:
        assert resolution.problem.code == expected
        return
    (operation,) = resolution.operations
    assert f"{operation.action} {operation.target} {operation.environment}" == expected


NEEDS_BODY = {
    "concerned": ("POST https://tfc.test/runs", True),
    "another method": ("GET https://tfc.test/runs", False),
    "another host": ("POST https://api.shop.test/orders/1", False),
}


@pytest.mark.parametrize(("line", "expected"), NEEDS_BODY.values(), ids=NEEDS_BODY)
def test_needs_body(mapped: Mapped, request_of: RequestOf, line: str, expected: bool) -> None:
    """A key in the body makes the body needed, for the requests of the table and no others."""
    assert mapped(SITE).needs_body(request_of(line, None, ())) is expected


def test_tables_that_disagree_about_the_environment(mapped: Mapped, request_of: RequestOf) -> None:
    """Two environments are a conflict, wherever they come from."""
    mappings = mapped(
        """
env: [{value: staging, when: {order: "o-*"}}]
lookups: {orders: {key: order, table: {o-1: {env: production}}}}
rules: [{id: a, match: {op: "shop:orders/get"}, action: "deploy:${env}"}]
"""
    )
    (first,) = mappings.resolve(request_of("GET https://api.shop.test/orders/o-1")).operations
    (second,) = mappings.resolve(request_of("GET https://api.shop.test/orders/o-2")).operations
    assert (first.environment, second.environment) == ("conflict", "staging")


def test_what_the_agent_may_write_freely_chooses_no_environment(request_of: RequestOf) -> None:
    """A table keyed by a capture that no server obeys adds to the target and to nothing else."""

    class Odd:
        name = "odd"
        family = "odd"
        hosts = ("odd.test",)
        reads_prefix = False

        def needs_body(self, request: Request) -> bool:
            return False

        def recognise(self, request: Request) -> Recognition:
            return Recognition((Call("odd:a", {"label": "l-1", "place": "p-1"}, trusted=frozenset({"place"})),))

    def made(key: str, row: str) -> tuple[str, str]:
        text = (
            f"version: 1\nlookups: {{t: {{key: {key}, table: {{{row}: {{env: production, owner: us}}}}}}}}\n"
            'rules: [{id: a, match: {op: "odd:a"}, action: "deploy:${env}", target: "${owner}"}]\n'
        )
        documents = [read_document(text, "site.yaml")]
        mappings = Mappings(compile_documents(documents, [Odd()]), documents)
        (operation,) = mappings.resolve(request_of("GET https://odd.test/")).operations
        return operation.action, operation.target

    assert made("label", "l-1") == ("deploy:unknown", "us")
    assert made("place", "p-1") == ("deploy:production", "us")


def test_a_table_in_a_file_of_its_own(mapped: Mapped, request_of: RequestOf) -> None:
    """A mapping file may hold tables and nothing else."""
    rules = 'rules: [{id: a, match: {op: "shop:orders/get"}, action: "deploy:${env}"}]'
    mappings = mapped(rules, "lookups: {orders: {key: order, table: {o-1: {env: production}}}}")
    (operation,) = mappings.resolve(request_of("GET https://api.shop.test/orders/o-1")).operations
    assert operation.action == "deploy:production"
    assert operation.attributes == {"order": "o-1"}
