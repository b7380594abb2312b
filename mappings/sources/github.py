"""GitHub's catalogue: every REST operation of its three OpenAPI descriptions, and every root field of its GraphQL.

github.com is described first, then Enterprise Cloud, then Enterprise Server from the newest on; the first to speak of
a method and path names it, so an old server's name never stands in for today's. Paths are kept as on api.github.com.
Two kinds carry what the host would say: uploads stand under ``/api/uploads`` (as on Enterprise Server), the
server's own management under ``/manage``. Where a value may hold "/" its parameter is ``{x+}``: where the description
says ``x-multi-segment``, where it says that slashes must be encoded, and for the names in `SLASHED`.

    ["pulls/merge", "w", "", ["PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge"]]
    ["graphql.mergePullRequest", "w", "", []]

What is also reached by number (``/repositories/{id}/...``) stands here once; the pack knows the other spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, corrected, written

REST = "npm:@octokit/openapi"
GRAPHQL = "npm:@octokit/graphql-schema"
PACKAGES = (REST, GRAPHQL)

HOSTS = ("api.github.com", "uploads.github.com", "*.ghe.com")
"""docs.github.com: "REST API", "Release assets", and "Network details for GHE.com"."""

FOLD = ("owner", "repo", "org", "username", "enterprise", "template_owner", "template_repo")
""" "The name is not case sensitive" of these parameters in the description; user and enterprise handles likewise."""

SLASHED = frozenset({"package_name", "environment_name"})
"""Names that may hold an encoded "/": containers are called ``group/image``, environments ``prod/eu``."""

SLASHED_LABELS = re.compile(r"(/labels/\{name)\}$")
"""Labels such as ``area/ui``; those of runners cannot be told apart here, and hold none."""

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")

GRAPHQL_PREFIX = "graphql."


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue: one member for REST, one for the fields of GraphQL."""
    rest, notes = _rest(_descriptions(packages[REST] / "package" / "generated"))
    fields = _fields(packages[GRAPHQL] / "package" / "schema.json")
    every = [_reading(each) for each in corrected("github", [*rest, *fields])]
    members = {
        "routes.json": written([each for each in every if each.routes], "github"),
        "graphql.json": written([each for each in every if not each.routes], "github"),
    }
    return Compiled("github", len(every), members, HOSTS, fold=FOLD, notes=tuple(notes))


def _descriptions(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield name and content of each description, the one that names first."""
    servers = sorted(
        (path.stem for path in folder.glob("ghes-*.json") if not path.stem.endswith(".deref")),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
        reverse=True,
    )
    for name in ("api.github.com", "ghec", *servers):
        try:
            yield name, json.loads((folder / f"{name}.json").read_bytes())
        except (OSError, ValueError) as error:
            raise SourceError(f"{name}.json: {error}") from None


def _rest(descriptions: Iterable[tuple[str, Any]]) -> tuple[list[Described], list[str]]:
    named: dict[tuple[str, str], str] = {}
    found: dict[str, Described] = {}
    notes: list[str] = []
    for source, description in descriptions:
        for method, path, operation in operations(description):
            route = _route(method, path, operation, description)
            # Parameters may be called differently in another description; the place is the same.
            place = (method, re.sub(r"\{[^{}]*\}", "{}", route))
            name = operation["operationId"]
            first = named.setdefault(place, name)
            if first != name:
                notes.append(f'{source}: {route} is "{name}" there, and "{first}" here')
            elif name not in found:
                found[name] = Described(name, _access(name, method), (route,))
            elif source == "api.github.com" or place[1] != re.sub(r"\{[^{}]*\}", "{}", found[name].routes[0]):
                raise SourceError(f'{source}: "{name}" has two routes; say in the overrides which counts')
    return list(found.values()), notes


def operations(description: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and content of every operation of an OpenAPI description."""
    for path, item in description["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def _route(method: str, path: str, operation: Any, description: Any) -> str:
    parameters = [_resolved(each, description) for each in operation.get("parameters", ())]
    several = {each["name"] for each in parameters if each["in"] == "path" and _holds_slashes(each)}
    template = re.sub(r"\{([^{}]*)\}", lambda match: _parameter(match[1], several), path)
    template = SLASHED_LABELS.sub(r"\1+}", template)
    uploads = any("uploads" in server["url"] for server in operation.get("servers", ()))
    return f"{method} {'/api/uploads' if uploads else ''}{template}"


def _holds_slashes(parameter: Any) -> bool:
    return bool(parameter.get("x-multi-segment")) or "`%2F`" in parameter.get("description", "")


def _parameter(name: str, several: set[str]) -> str:
    plus = "+" if name in several or name in SLASHED else ""
    return "{" + name.replace("-", "_") + plus + "}"


def _resolved(value: Any, description: Any) -> Any:
    while "$ref" in value:
        reference = value["$ref"]
        value = description
        for key in reference.removeprefix("#/").split("/"):
            value = value[key]
    return value


def _access(name: str, method: str) -> str:
    verb = name.rpartition("/")[2]
    return "list" if method == "GET" and verb.startswith("list") else access_of_method(method)


def _reading(each: Described) -> Described:
    """Return the operation; one that is only a GET reads, however wide the correction that reached it."""
    if each.routes and each.access == "permissions" and all(route.startswith("GET ") for route in each.routes):
        return replace(each, access=_access(each.name, "GET"))
    return each


def _fields(path: Path) -> Iterator[Described]:
    """Yield the root fields of queries, which change nothing, and of mutations."""
    try:
        schema = json.loads(path.read_bytes())["__schema"]
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{path.name}: {error}") from None
    types = {each["name"]: each for each in schema["types"]}
    for kind, access in (("queryType", "read"), ("mutationType", "write")):
        for field in types[schema[kind]["name"]]["fields"]:
            yield Described(GRAPHQL_PREFIX + field["name"], access, ())
    for field in ("__schema", "__type", "__typename"):
        # https://spec.graphql.org/October2021/#sec-Schema-Introspection
        yield Described(GRAPHQL_PREFIX + field, "read", ())
