"""Reads SDKs that Stainless (and its successors) generate: which method of which resource sends what.

The client class holds resources, resources hold resources, and their methods send: the way from the client to a
method is the operation's name, as users write it (``client.dns.records.create``). A method sends with one call:

    self._post("/files", ...)                                     POST /files
    self._get(path_template("/files/{file_id}", file_id=...))     GET /files/{file_id}
    self._get_api_list("/x", method="post", ...)                  POST /x
    self._put(f"/zones/{zone_id}/x", ...)                         PUT /zones/{zone_id}/x, as older SDKs write it
    self._get(path_template(batch.results_url, ...))              not readable: an operation without routes

Asynchronous twins and the wrappers for raw and streamed responses send what the plain method sends, and are not
read. `Client.unread` finds the sending calls that no resource accounts for: what this module does not understand
is said, never dropped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mappings.sources.compiling import Compiled, Described, access_of_method, catalogue
from mappings.sources.one_name import Named, one_name_each
from mappings.sources.python_ast import Found, Module, Sources, calls_in, keyword, last_name, text_of
from mappings.sources.sdk_paths import paths_of

_SENDS = {
    "_get": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
    "_get_api_list": "GET",
}
"""Methods of the generated base class (``_resource.py``) and what they send; a list may say ``method=``."""

_RESOURCE = "SyncAPIResource"
_PROPERTIES = ("cached_property", "property")
_WRAPPERS = ("with_raw_response", "with_streaming_response")
_SENDING = re.compile(r"\._(?:get|post|put|patch|delete|get_api_list)\(")


@dataclass(frozen=True, slots=True)
class Sent:
    """What one method of a resource sends."""

    name: str
    """``dns.records.create``."""
    method: str
    paths: tuple[str, ...]
    """Templates, more than one where the method chooses; none when the path cannot be read."""
    deprecated: bool
    place: tuple[str, int]
    """Module and line of the sending call."""

    @property
    def routes(self) -> tuple[str, ...]:
        """As a catalogue writes them."""
        return tuple(f"{self.method} {path}" for path in self.paths)


@dataclass(frozen=True, slots=True)
class Resource:
    """A class of the SDK that sends, and the way to it."""

    way: tuple[str, ...]
    """``("dns", "records")``."""
    found: Found


class Client:
    """The client class of a package, and what can be reached from it."""

    def __init__(self, folder: Path, package: str, name: str) -> None:
        self.sources = Sources(folder)
        self._package = package
        self.resources = tuple(self._below(self.sources.the_class(f"{package}._client", name), ()))

    def _below(self, found: Found, way: tuple[str, ...]) -> Iterator[Resource]:
        yield Resource(way, found)
        for each in self._family(found) or (found,):
            for method in each.methods():
                if method.name not in _WRAPPERS and any(
                    last_name(name) in _PROPERTIES for name in method.decorator_list
                ):
                    inner = self.named(each.module, method.returns)
                    if inner is not None and self._family(inner):
                        yield from self._below(inner, (*way, method.name))

    def named(self, module: Module, node: ast.expr | None) -> Found | None:
        """Return the class an annotation names, also as ``module.Class``; None when it is none of the package."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin, name = module.imports.get(node.value.id, ("", ""))
            inner = self.sources.module(f"{origin}.{name}")
            return self.sources.class_named(inner, node.attr) if inner is not None else None
        return self.sources.class_named(module, node.id if isinstance(node, ast.Name) else text_of(node) or "")

    def _family(self, found: Found) -> tuple[Found, ...]:
        """Return a resource and the classes of the package it is built on; nothing when it is no resource."""
        for base in found.node.bases:
            if last_name(base) == _RESOURCE:
                return (found,)
            inner = self.named(found.module, base)
            above = self._family(inner) if inner is not None else ()
            if above:
                return (found, *above)
        return ()

    def sent(self) -> tuple[Sent, ...]:
        """Return what the methods of all resources send."""
        return tuple(each for resource in self.resources for each in self._methods(resource))

    def _methods(self, resource: Resource) -> Iterator[Sent]:
        for found in self._family(resource.found):
            for method in found.methods():
                for call in calls_in(method):
                    verb = _verb(call)
                    if verb:
                        name = ".".join([*resource.way, method.name])
                        deprecated = any("deprecated" in ast.unparse(each) for each in method.decorator_list)
                        place = (found.module.dotted, call.lineno)
                        yield Sent(name, verb, paths_of(call.args[0], method), deprecated, place)

    def unread(self, sent: Iterable[Sent]) -> Iterator[str]:
        """Yield the sending calls of the whole package that are none of these and repeat no route of theirs."""
        routes: set[str] = set()
        places: set[tuple[str, int]] = set()
        for each in sent:
            routes.update(each.routes)
            places.add(each.place)
        for module in self.sources.modules(self._package):
            if not _SENDING.search(module.path.read_text("utf-8")):
                continue  # most files are types, and a tree costs a hundred times a search
            for name, node in _functions(module):
                for call in calls_in(node):
                    verb = _verb(call)
                    paths = paths_of(call.args[0], node) if verb else ()
                    repeats = bool(paths) and routes.issuperset(f"{verb} {path}" for path in paths)
                    if verb and not repeats and (module.dotted, call.lineno) not in places:
                        yield f"{module.dotted}: line {call.lineno}: {name}: {verb} {ast.unparse(call.args[0])}"


def _verb(call: ast.Call) -> str:
    """Return the HTTP method of a sending call, "" for any other call."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in _SENDS and call.args):
        return ""
    stated = text_of(keyword(call, "method"))
    return stated.upper() if stated else _SENDS[call.func.attr]


def _functions(module: Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions of a module that are not asynchronous, with their names."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("Async"):
            for each in node.body:
                if isinstance(each, ast.FunctionDef):
                    yield f"{node.name}.{each.name}", each


def compiled(
    family: str, client: Client, sent: Iterable[Sent], *, hosts: Sequence[str], prefixes: Sequence[str] = ("",)
) -> Compiled:
    """Return the catalogue of what a client sends, each request under one name."""
    everything = tuple(sent)
    routes, gone = one_name_each(Named(each.name, each.routes, each.deprecated) for each in everything)
    methods = {each.name: each.method for each in everything}
    described = [Described(name, access_of_method(methods[name]), own) for name, own in routes.items()]
    unread = [f"not read: {each}" for each in client.unread(everything)]
    whole = catalogue(family, described, hosts=hosts, prefixes=prefixes, notes=[*gone, *unread])
    return replace(whole, notes=(*whole.notes, *without_routes(whole)))


def without_routes(whole: Compiled) -> list[str]:
    """Return a line about every operation whose path could not be read and that no correction gives one."""
    rows = whole.members["routes.json"]
    return [f"no route: {row[0]}" for row in rows if not row[3]] if isinstance(rows, list) else []
