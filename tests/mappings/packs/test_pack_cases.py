"""Every row of cases/*.yaml: a request, and the operation, action, target or refusal that it must give.

A row needs no programming; add one to the file of its pack:

    - name: deleting a deployment is destroying
      request: DELETE https://k8s.prod.acme.test/apis/apps/v1/namespaces/shop/deployments/web
      operation: kubernetes:delete:apps/deployments
      action: infra:destroy
      target: k8s/prod-eu/shop/deployments/web

Also: `headers` (a mapping); one of `json`, `form`, `push` (ref commands of git: [old, new, ref], "0" for none)
or `body` (the text of the body; `body: null` is a body that was not read); `environment`; `captures` (those that
must be there); `gives` (a list, when a request does several things); and `problem` with `says` (a part of the
message) instead of an operation. The `site` at the head of a file is the operator's mapping file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from mappings import (
    CanonicalError,
    Mappings,
    Operation,
    Problem,
    Request,
    Resolution,
    canonical_host,
    canonical_target,
    compile_mappings,
    read_document,
    split_authority,
)

CASES = Path(__file__).parent / "cases"
SHIPPED = Path(__file__).parents[3] / "mappings" / "packs"

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BODY_KEYS = frozenset({"headers", "json", "form", "push", "body"})
WANTED_KEYS = frozenset({"operation", "action", "target", "environment", "captures"})
ROW_KEYS = BODY_KEYS | WANTED_KEYS | {"name", "request", "gives", "problem", "says"}


@cache
def _file(name: str) -> Mapping[str, Any]:
    return yaml.load((CASES / f"{name}.yaml").read_text("utf-8"), Loader=_LOADER)


@cache
def _mappings(name: str) -> Mappings:
    shipped = [read_document(path.read_text("utf-8"), f"pack:{path.stem}") for path in sorted(SHIPPED.glob("*.yaml"))]
    site = json.dumps({"version": 1, **_file(name).get("site", {})})  # JSON is YAML with every text quoted
    return compile_mappings([*shipped, read_document(site, "mappings/site.yaml")])


def _each_row() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yaml")):
        for row in _file(path.stem)["cases"]:
            yield pytest.param(path.stem, row, id=f"{path.stem}: {row['name']}")


ROWS = tuple(_each_row())


def request_of(row: Mapping[str, Any]) -> Request:
    """Return the request a row writes out, in canonical form, as the proxy would build it."""
    method, url = row["request"].split(" ", 1)
    scheme, rest = url.split("://", 1)
    authority, slash, target = rest.partition("/")
    host, port = split_authority(authority, 443 if scheme == "https" else 80)
    canonical = canonical_target(slash + target)
    headers = {key.lower(): value for key, value in row.get("headers", {}).items()}
    body: bytes | None = b""
    if "json" in row:
        body = json.dumps(row["json"]).encode()
        headers.setdefault("content-type", "application/json")
    elif "form" in row:
        body = urlencode(row["form"]).encode()
        headers.setdefault("content-type", "application/x-www-form-urlencoded")
    elif "push" in row:
        body = push_body(row["push"])
    elif "body" in row:
        body = None if row["body"] is None else row["body"].encode()
    return Request(
        method, scheme, canonical_host(host), port, canonical.path, canonical.query, tuple(headers.items()), body
    )


def push_body(commands: list[list[str]]) -> bytes:
    """Return the body of a push as git writes it: ref commands, the first with capabilities, flush, a pack."""
    lines = []
    for at, (old, new, ref) in enumerate(commands):
        line = f"{old * 40} {new * 40} {ref}".encode()
        lines.append(line + b"\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.39" * (not at))
    return b"".join(b"%04x" % (len(line) + 4) + line for line in lines) + b"0000" + b"PACK\0\0\0\2\0\0\0\0"


def _shown(operation: Operation, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an operation what a row speaks about."""
    shown: dict[str, Any] = {
        "operation": operation.name,
        "action": operation.action,
        "target": operation.target,
        "environment": operation.environment,
    }
    shown = {key: value for key, value in shown.items() if key in wanted}
    if "captures" in wanted:
        shown["captures"] = {key: operation.attributes.get(key, "") for key in wanted["captures"]}
    return shown


def _resolved(file: str, row: Mapping[str, Any]) -> Resolution:
    """Return the resolution; a request that has no canonical form is refused before it gets that far."""
    try:
        request = request_of(row)
    except CanonicalError as error:
        return Resolution((), Problem(error.code, str(error)), "")
    return _mappings(file).resolve(request)


@pytest.mark.parametrize(("file", "row"), ROWS)
def test_a_request_gives_what_its_row_says(file: str, row: dict[str, Any]) -> None:
    """A request resolves to exactly the operations its row lists, or to the refusal it lists."""
    assert set(row) <= ROW_KEYS, f"unknown keys {set(row) - ROW_KEYS}"
    resolution = _resolved(file, row)
    if "problem" in row:
        assert resolution.problem is not None, f"resolved to {resolution.operations}"
        assert resolution.problem.code == row["problem"], resolution.problem
        assert row.get("says", "") in resolution.problem.message
        assert resolution.operations == ()
        return
    assert resolution.problem is None, resolution.problem
    wanted = row.get("gives") or [{key: row[key] for key in row if key in WANTED_KEYS}]
    assert all(wanted), "the row says nothing about the operation"
    assert [_shown(*pair) for pair in zip(resolution.operations, wanted, strict=True)] == wanted


def test_row_names_are_unique() -> None:
    """A failing row can be found by its name."""
    names = [param.id for param in ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_rows_that_are_no_refusal_need_their_body_when_they_have_one(name: str) -> None:
    """What was named with the help of a body is never named without: unread, it is asked for first."""
    for row in _file(name)["cases"]:
        if row.get("problem") or not row.get("action"):
            continue
        request = request_of(row)
        mappings = _mappings(name)
        named = mappings.resolve(request)
        head = replace(request, body=None)
        blind = mappings.resolve(head)
        same = [(each.action, each.target) for each in blind.operations] == [
            (each.action, each.target) for each in named.operations
        ]
        assert same or mappings.needs_body(head), row["name"]
