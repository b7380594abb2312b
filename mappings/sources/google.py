"""Compiles the Google catalogue from the discovery documents that google-api-python-client carries.

Every method of every document becomes one operation, called by its id (``compute.instances.delete``), which names
no version. A path is taken from ``flatPath``, whose collections are written out; where the method's pattern lets a
parameter hold slashes (``documents/.*``), it becomes ``{x+}``. It decides nothing about requests.

A host's table is kept as its prefixes (``compute/v1``, ``upload/storage/v1``) and rows
``[id, access letter, traits, [route, which prefixes, ...]]``, a route being ``METHOD template`` behind the prefix
and "which prefixes" the bits of those it is served under. A parameter called after the collection before it is
written ``{}``:

    {"prefixes": [["compute/v1", 1], ["compute/beta", 1]],      1: a ":" in the last segment is plain text here
     "rows": [["compute.instances.delete", "w", "", ["DELETE projects/{}/zones/{}/instances/{}", 3]]]}

Small hosts share a member. ``hosts.json`` says which member holds which host, which first segments of a path
www.googleapis.com answers for another host, and which locations stand in names of hosts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mappings.catalogues.routes import EXECUTES, MINTS
from mappings.packs.google_tables import HOSTS, SUFFIX, WWW, first_word
from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, corrected
from mappings.sources.google_templates import PARAMETER, VERSION, spellings, split_prefix

PACKAGES = ("PyPI:google-api-python-client",)

DOCUMENTS = "googleapiclient/discovery_cache/documents"
MEMBER_ROWS = 400
"""Hosts share a member until it holds so many rows; one host's table is never split."""

READING = (
    "get",
    "list",
    "search",
    "batchGet",
    "batchQuery",
    "count",
    "fetch",
    "inspect",
    "lookup",
    "query",
    "resolve",
    "tail",
    "wait",
)
"""How the last word of a method begins that only reads, although it is sent by POST.

The scope alone does not tell: agentregistry.projects.locations.services.delete takes a read-only scope.
"""

GRAVITY = ("list", "read", "tagging", "write", "permissions")
"""Words of access, the gravest last."""

LISTING = ("list", "aggregatedList", "search")

POLICIES = re.compile(r"(set|clear|remove|update|modify)\w*(IamPolicy|OrgPolicy|AccessConfig)\w*")

_READ_ONLY = re.compile(r"\.?read-?only$")


@dataclass(slots=True)
class _Host:
    """What one host serves."""

    plain: dict[str, bool] = field(default_factory=dict)
    """Prefixes, and whether a ":" is plain text behind them."""
    routes: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """By id, then by route, the prefixes."""


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue; raise SourceError when a document is not what this reads."""
    hosts: dict[str, _Host] = {}
    described: dict[str, Described] = {}
    locations: set[str] = set()
    moved: dict[str, list[str]] = {}
    methods = 0
    for document in documents(packages[PACKAGES[0]]):
        host = hosts.setdefault(host_of(document), _Host())
        plain = _colon_is_text(document)
        words: set[str] = set()
        locations |= {endpoint["location"] for endpoint in document.get("endpoints", ()) if "location" in endpoint}
        for method in methods_of(document):
            methods += 1
            _describe(method, described)
            for path in spellings(document, method):
                prefix, tail = split_prefix(path)
                words.add(first_word(path.split("/")))
                host.plain[prefix] = host.plain.get(prefix, True) and plain
                route = f"{method['httpMethod']} {tail}"
                host.routes.setdefault(method["id"], {}).setdefault(route, set()).add(prefix)
        _note_legacy(host_of(document), words, moved)
    operations = {each.name: each for each in corrected("google", described.values())}
    members = dict(_members({name: _host_json(host, operations) for name, host in hosts.items()}))
    members[HOSTS] = {
        "hosts": {name: member for member, content in members.items() for name in content},
        "legacy": moved,
        "locations": sorted(locations),
    }
    notes = (f"{methods:,} methods of {len(hosts)} hosts",)
    return Compiled("google", len(operations), members, hosts=(f"*{SUFFIX}",), notes=notes)


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every discovery document, sorted by name of its file."""
    found = sorted(path for path in (folder / DOCUMENTS).glob("*.json") if path.name != "index.json")
    if not found:
        raise SourceError(f"google: {folder / DOCUMENTS}: holds no discovery documents")
    for path in found:
        yield json.loads(path.read_bytes())


def methods_of(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the methods of a document or resource and of all resources in it."""
    yield from part.get("methods", {}).values()
    for resource in part.get("resources", {}).values():
        yield from methods_of(resource)


def host_of(document: Mapping[str, Any]) -> str:
    """Return the host without the suffix that all share: ``compute``."""
    host = str(document["rootUrl"]).removeprefix("https://").rstrip("/")
    if not host.endswith(SUFFIX):
        raise SourceError(f'google: {document["id"]}: host "{host}" does not end in "{SUFFIX}"')
    return host.removesuffix(SUFFIX)


def _colon_is_text(document: Mapping[str, Any]) -> bool:
    """Say whether the API is of the older kind, which has no ``:verb``: there it may stand in any name."""
    return bool(document["servicePath"]) and not any(":" in method["path"] for method in methods_of(document))


def _describe(method: Mapping[str, Any], into: dict[str, Described]) -> None:
    name = str(method["id"])
    access = access_of(method)
    known = into.get(name)
    if known is not None:
        # One id sent in two ways is judged by the graver.
        access = max(known.access, access, key=GRAVITY.index)
    into[name] = Described(name, access, ())


def access_of(method: Mapping[str, Any]) -> str:
    """Return what a method does, never less than it may do."""
    word = str(method["id"]).rsplit(".", 1)[-1]
    if POLICIES.fullmatch(word):
        return "permissions"
    if word in ("testIamPermissions", "getIamPolicy"):
        return "read"
    listing = word.startswith(LISTING)
    if access_of_method(str(method["httpMethod"])) == "read":
        return "list" if listing else "read"
    read_only = any(_READ_ONLY.search(scope) for scope in method.get("scopes", ()))
    if read_only and method["httpMethod"] == "POST" and word.startswith(READING):
        return "list" if listing else "read"
    return "write"


def _host_json(host: _Host, operations: Mapping[str, Described]) -> dict[str, Any]:
    prefixes = sorted(host.plain)
    bits = {prefix: 1 << at for at, prefix in enumerate(prefixes)}
    rows: list[list[object]] = []
    for name in sorted(host.routes):
        operation = operations.get(name)
        if operation is None:
            continue
        routes: list[object] = []
        for route, under in sorted(host.routes[name].items()):
            routes += [route, sum(bits[prefix] for prefix in under)]
        traits = (EXECUTES if operation.executes else "") + (MINTS if operation.mints else "")
        rows.append([name, operation.access[0], traits, routes])
    _check(rows)
    return {"prefixes": [[prefix, int(host.plain[prefix])] for prefix in prefixes], "rows": rows}


def _check(rows: Iterable[list[Any]]) -> None:
    """Raise SourceError when two operations have one method and template under one prefix."""
    owners: dict[str, list[tuple[int, str]]] = {}
    for name, _, _, routes in rows:
        for route, bits in zip(routes[::2], routes[1::2], strict=True):
            shape = PARAMETER.sub(lambda found: "{+}" if found[1].endswith("+") else "{}", route)
            for other_bits, other in owners.setdefault(shape, []):
                if other_bits & bits and other != name:
                    raise SourceError(f'google: route "{route}" is that of "{name}" and of "{other}"')
            owners[shape].append((bits, name))


def _note_legacy(host: str, words: set[str], into: dict[str, list[str]]) -> None:
    """Note an API by the one word that all its paths begin with: it was its name when www served it."""
    word = next(iter(words), "")
    if len(words) == 1 and not VERSION.fullmatch(word) and host not in (WWW, *into.get(word, ())):
        into.setdefault(word, []).append(host)


def _members(hosts: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    together: dict[str, Any] = {}
    count = 0
    number = 0
    for name, content in sorted(hosts.items()):
        rows = len(content["rows"])
        if rows >= MEMBER_ROWS:
            yield f"{name}.json", {name: content}
            continue
        if count + rows > MEMBER_ROWS:
            yield f"{number}.json", together
            together, count, number = {}, 0, number + 1
        together[name] = content
        count += rows
    yield f"{number}.json", together
