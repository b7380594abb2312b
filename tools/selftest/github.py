"""Every operation of GitHub's descriptions, in the spellings that GitHub takes: from the source, not the catalogue.

plain         /repos/acme/web/branches/x1            numeric   /repositories/7/branches/x1
slashes       /repos/acme/web/branches/x1/y2         encoded   /repos/acme/web/branches/x1%2Fy2
server        https://HOST/api/v3/repos/...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from case import Case
from fetch import package

SAMPLE_EVERY = 23

DESCRIPTIONS = ("api.github.com", "ghec", "ghes-3.19", "ghes-3.18", "ghes-3.17")
METHODS = ("get", "put", "post", "delete", "patch")

TWINS = {"repos/compare-commits": "repos/compare-commits-with-basehead"}
"""One request, two names: the path is the same, byte for byte."""

SERVER = "acme.ghe.com"


def cases() -> Iterator[Case]:
    """Yield five requests for each operation; the first description that has it says how it looks."""
    folder = package("npm:@octokit/openapi").folder / "package" / "generated"
    seen: set[str] = set()
    for name in DESCRIPTIONS:
        description = json.loads((folder / f"{name}.json").read_bytes())
        for path, item in description["paths"].items():
            for method in METHODS:
                operation = item.get(method)
                if operation is not None and operation["operationId"] not in seen:
                    seen.add(operation["operationId"])
                    yield from _spellings(method.upper(), path, operation, description)


def _spellings(method: str, path: str, operation: Any, description: Any) -> Iterator[Case]:
    name = operation["operationId"]
    wanted = frozenset({f"github:{TWINS.get(name, name)}"})
    parameters = {
        each["name"]: each
        for each in (_resolved(each, description) for each in operation.get("parameters", ()))
        if each["in"] == "path"
    }
    uploads = any("uploads" in server["url"] for server in operation.get("servers", ()))
    for group, slash in (("plain", ""), ("numeric", ""), ("slashes", "/"), ("encoded", "%2F"), ("server", "")):
        filled = re.sub(r"\{([^{}]*)\}", lambda match: _value(parameters.get(match[1], {}), slash), path)  # noqa: B023
        if group == "numeric" and not uploads:
            filled = re.sub(r"^/repos/[^/]+/[^/]+", "/repositories/7", filled)
        yield Case(method, _base(group, path, uploads) + filled, wanted, group=group)


def _base(group: str, path: str, uploads: bool) -> str:
    if path.startswith("/manage/"):
        return f"https://{SERVER}"
    if group == "server":
        return f"https://{SERVER}{'/api/uploads' if uploads else '/api/v3'}"
    # Uploads are not reached by number: the address comes in an answer, and holds the names.
    return "https://uploads.github.com" if uploads else "https://api.github.com"


def _value(parameter: Any, slash: str) -> str:
    schema = parameter.get("schema", {})
    if schema.get("enum"):
        return str(schema["enum"][0])
    if schema.get("type") == "integer":
        return "7"
    several = parameter.get("x-multi-segment") or "`%2F`" in parameter.get("description", "")
    return f"x1{slash}y2" if slash and several else "x1"


def _resolved(value: Any, description: Any) -> Any:
    while "$ref" in value:
        keys = value["$ref"].removeprefix("#/").split("/")
        value = description
        for key in keys:
            value = value[key]
    return value
