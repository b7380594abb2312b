"""From an OpenAPI description to named routes: what each operation is called and which requests are it.

A name is the operationId where it is one in the grammar of `mappings.actions`, with "-" for every other character;
without an operationId it is put together from method and path. Two operations on one path and method (``/a/{x}``
and ``/a/{y}``) are told apart by the query parameters that each requires. What cannot be told apart, or written as
a template, is left out and reported:

    POST /pets: "createPet" and "addPet" are one route; give one of them a required query parameter
    GET /a%zz: "/a%zz" holds a "%" without two hex digits; write %25; it is left out
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mappings.sources.openapi_document import Description
from mappings.sources.openapi_templates import PARAMETER, read_path, required, shape_of, shown_path

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
"""OpenAPI 3.1, "Path Item Object"."""
MAX_OPERATIONS = 20_000
MAXPARAMETERS = 200
MAX_NAME_CHARS = 200
MAX_SHOWN = 5
"""Of operations without an operationId; a description has them throughout or hardly any."""

_OUTSIDE = re.compile(r"[^A-Za-z0-9._/@+-]+")


@dataclass(frozen=True, slots=True)
class Named:
    """One operation of the pack to be."""

    name: str
    method: str
    path: str
    """Template, without prefix."""
    query: tuple[str, ...] = ()
    """``key`` or ``key=value``."""
    required: tuple[str, ...] = ()
    """Query parameters it asks for; conditions only where they tell operations apart."""
    operation_id: str = ""
    servers: tuple[str, ...] = ()
    """URLs of servers of its own, in place of the description's."""

    @property
    def shown(self) -> str:
        """How reports call it."""
        return self.operation_id or f"{self.method} {self.path}"


@dataclass(slots=True)
class Report:
    """What is said about an import."""

    problems: list[str]
    notes: list[str]


def named_routes(description: Description, slashed: Collection[str], report: Report) -> list[Named]:
    """Return the operations of a description, each with a name and a route of its own."""
    found: list[Named] = []
    nameless: list[str] = []
    for path, method, operation, parameters, servers in _operations(description, report):
        if len(found) == MAX_OPERATIONS:
            raise description.fault("paths", f"more than {MAX_OPERATIONS} operations; split the description")
        try:
            template, literal_query = read_path(path, parameters, slashed, report.notes)
        except ValueError as error:
            report.problems.append(f"{method} {shown_path(path)}: {error}; it is left out")
            continue
        given = operation.get("operationId")
        operation_id = given if isinstance(given, str) else ""
        name = _name(operation_id) or _name(_derived(method, template))
        if not _name(operation_id):
            nameless.append(f"{method} {shown_path(path)}")
        asked = tuple(required(parameters))
        found.append(Named(name, method, template, literal_query, asked, operation_id, servers))
    if nameless:
        shown = ", ".join(nameless[:MAX_SHOWN]) + (", ..." if len(nameless) > MAX_SHOWN else "")
        report.notes.append(f"{len(nameless)} without an operationId, called by method and path: {shown}")
    return _names_apart(_routes_apart(found, report), report)


# --- what there is ---

_Found = tuple[str, str, Mapping[str, Any], list[Mapping[str, Any]], tuple[str, ...]]


def _operations(description: Description, report: Report) -> Iterator[_Found]:
    paths = description.root.get("paths")
    if not isinstance(paths, dict) or not paths:
        raise description.fault("paths", "there are none; give a description that lists them")
    for path, given in paths.items():
        if path.startswith("x-"):
            continue
        item = description.followed(given, f"paths.{path}")
        if not isinstance(item, dict):
            raise description.fault(f"paths.{path}", "is no mapping; write its methods")
        shared = _parameters(description, item, f"paths.{path}")
        for method in METHODS:
            operation = item.get(method)
            if not isinstance(operation, dict):
                continue
            own = _parameters(description, operation, f"paths.{path}.{method}")
            # A parameter of the operation replaces one of the path (OpenAPI 3.1, "Path Item Object").
            merged = {(str(each.get("in")), str(each.get("name"))): each for each in [*shared, *own]}
            servers = _servers(operation) or _servers(item)
            yield path, method.upper(), operation, list(merged.values()), servers
    if description.root.get("webhooks"):
        report.notes.append("webhooks are requests that the API sends; they are left out")


def _parameters(description: Description, owner: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    given = owner.get("parameters") or []
    if not isinstance(given, list) or len(given) > MAXPARAMETERS:
        raise description.fault(where, f"parameters are no list of at most {MAXPARAMETERS}; correct them")
    followed = [description.followed(each, f"{where}.parameters") for each in given]
    return [each for each in followed if isinstance(each, dict)]


def _servers(owner: Mapping[str, Any]) -> tuple[str, ...]:
    given = owner.get("servers")
    if not isinstance(given, list):
        return ()
    return tuple(each["url"] for each in given if isinstance(each, dict) and isinstance(each.get("url"), str))


# --- names ---


def _name(text: str) -> str:
    """Return a text as the name of an operation, "" when nothing of it can stand in one."""
    name = _OUTSIDE.sub("-", text).strip("-")
    if len(name) <= MAX_NAME_CHARS:
        return name
    return f"{name[:MAX_NAME_CHARS]}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _derived(method: str, template: str) -> str:
    """Return ``get/pets/+id`` for ``GET /pets/{id}``: a parameter keeps a "+" that no word needs."""
    path = PARAMETER.sub(lambda match: f"+{match[1]}", template)
    return f"{method.lower()}{path.rstrip('/')}"


def _routes_apart(found: list[Named], report: Report) -> list[Named]:
    """Return the operations with routes that differ; of two that cannot be told apart the first stays."""
    shapes: dict[object, list[Named]] = {}
    for each in found:
        shapes.setdefault((each.method, shape_of(each.path), each.servers), []).append(each)
    kept: list[Named] = []
    for alike in shapes.values():
        conditions: dict[frozenset[str], Named] = {}
        for each in alike:
            told = each if len(alike) == 1 else replace(each, query=(*each.query, *each.required))
            first = conditions.setdefault(frozenset(told.query), told)
            if first is told:
                kept.append(told)
            else:
                report.problems.append(
                    f'{each.method} {each.path}: "{first.shown}" and "{each.shown}" are one route; give one of them a '
                    f'required query parameter; "{each.shown}" is left out'
                )
    return kept


def _names_apart(found: list[Named], report: Report) -> list[Named]:
    """Return the operations under names that differ, whatever the case of their letters."""
    owners: dict[str, Named] = {}
    kept: list[Named] = []
    for each in found:
        name = each.name
        if name.casefold() in owners:
            other = owners[name.casefold()]
            name = _name(_derived(each.method, each.path) + "".join(f"-{part}" for part in each.query))
            report.problems.append(
                f'{each.method} {each.path}: "{each.shown}" is called like "{other.shown}" of {other.method} '
                f'{other.path}; it becomes "{name}", give it an operationId of its own'
            )
        if name.casefold() in owners:
            report.problems.append(f"{each.method} {each.path}: has no name of its own; it is left out")
            continue
        owners[name.casefold()] = each
        kept.append(replace(each, name=name))
    return kept
