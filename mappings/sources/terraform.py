"""The catalogue of HCP Terraform and Terraform Enterprise, compiled from the syntax tree of HashiCorp's pytfe.

The client has an attribute for each resource, and each of its public methods asks for one or a few paths. An operation
is called as in the client, ``runs.create``, ``admin.saml_settings.update``. A route that several methods ask for
belongs to the one that asks for it alone, and of those to the shortest name:

    POST /api/v2/runs                               runs.create
    GET  /api/v2/organizations/{organization}       organizations.read

Signed links (archivist.terraform.io), the registry protocols and what else the client lacks stand in
``overrides/terraform.yaml``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mappings.sources.clientclasses import Classes, assigned, read_classes
from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, catalogue
from mappings.sources.symbolic import Scope, Texts, argument, parameters, singular

PACKAGES = ("PyPI:pytfe",)
REGISTRY = "registry.terraform.io"
"""Where the client's ``registry`` asks; hosts of one's own serve the same paths."""
HOSTS = ("app.terraform.io", "archivist.terraform.io", REGISTRY)

MAX_CALLS = 4
"""Of functions within functions; the client has two."""

_VERBS = ("list", "read", "create", "update", "delete")

_PARAMETER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """What one method asks for."""

    name: str
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """The classes of the client, the one that each name of a resource leads to, and texts by name."""

    classes: Classes
    resources: Mapping[str, str]
    constants: Mapping[str, ast.expr]


def read_client(folder: Path) -> Client:
    """Return the client of an unpacked wheel."""
    paths = sorted((folder / "pytfe").glob("resources/**/*.py"))
    if not paths:
        raise SourceError(f"{folder}: is no unpacked pytfe; fetch it")
    classes = read_classes([*paths, folder / "pytfe" / "client.py"])
    constants: dict[str, ast.expr] = {}
    for path in paths:
        constants |= assigned(ast.parse(path.read_text("utf-8")).body)
    return Client(classes, dict(_resources("TFEClient", classes, "")), constants)


def _resources(owner: str, classes: Classes, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield dotted name and class of every attribute that a class makes from another."""
    _, init = classes.functions(owner).get("__init__", (None, None))
    for statement in init.body if init is not None else ():
        match statement:
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Call(func=ast.Name(id=made))) if (
                made in classes.by_name and not name.startswith("_")
            ):
                yield f"{prefix}{name}", made
                yield from _resources(made, classes, f"{prefix}{name}.")


# --- what is asked for ---


def operations(client: Client) -> Iterator[Found]:
    """Yield what each method of each resource asks for."""
    for resource, name in sorted(client.resources.items()):
        for title, (_, function) in sorted(client.classes.functions(name).items()):
            if not title.startswith("_"):
                routes = dict.fromkeys(_Reading(client, name).requests(function, {}, 0))
                if routes:
                    yield Found(f"{resource}.{title}", tuple(routes))


@dataclass(frozen=True, slots=True)
class _Reading:
    """The functions of one class, read with what it and its modules set names to."""

    client: Client
    name: str

    def requests(self, function: ast.FunctionDef, given: Mapping[str, Texts], depth: int) -> Iterator[str]:
        """Yield method and path of each request that a function and those it calls make."""
        scope = Scope(self.known, parameters(function, given))
        scope.follow(function.body)
        for node in ast.walk(function):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr="t"), attr="request")
                ):
                    yield from _sent(node, scope)
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="_list")):
                    path = argument(node, 0, "path")
                    yield from (f"GET {text}" for text in (scope.texts(path) if path is not None else ()))
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=attr)):
                    inner = self._function(attr)
                    if inner is not None and depth < MAX_CALLS:
                        yield from self.requests(inner, _passed(inner, node, scope), depth + 1)

    def known(self, node: ast.expr, scope: Scope) -> Texts | None:
        """Return what is known of attributes, of texts by name, and of what functions of the class return."""
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=attr) if text := self.client.classes.text(
                self.name, attr
            ):
                return (text,)
            case ast.Name(id=name) if name in self.client.constants and name not in scope.names:
                value = self.client.constants[name]
                return (str(value.value),) if isinstance(value, ast.Constant) else None
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=attr)):
                inner = self._function(attr)
                return _returned(inner, node, scope) if inner is not None else None
        return None

    def _function(self, name: str) -> ast.FunctionDef | None:
        return self.client.classes.functions(self.name).get(name, (None, None))[1]


def _sent(node: ast.Call, scope: Scope) -> Iterator[str]:
    method, path = argument(node, 0, "method"), argument(node, 1, "path")
    if method is not None and path is not None:
        for verb in scope.texts(method):
            yield from (f"{verb} {text}" for text in scope.texts(path))


def _passed(function: ast.FunctionDef, call: ast.Call, scope: Scope) -> dict[str, Texts]:
    """Return what a call gives to the parameters of a function."""
    names = [each.arg for each in [*function.args.posonlyargs, *function.args.args]][1:]
    given = dict(zip(names, (scope.texts(value) for value in call.args), strict=False))
    return given | {each.arg: scope.texts(each.value) for each in call.keywords if each.arg}


def _returned(function: ast.FunctionDef, call: ast.Call, scope: Scope) -> Texts:
    """Return the texts that a function returns."""
    inner = Scope(scope.known, parameters(function, _passed(function, call, scope)))
    inner.follow(function.body)
    returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    return tuple(text for value in returns for text in inner.texts(value))


# --- from what is asked for to operations ---


def described(found: Iterable[Found]) -> tuple[list[Described], list[str]]:
    """Return the operations, each route under one name, and notes of what was left out."""
    asked: list[tuple[str, tuple[str, ...]]] = []
    notes: list[str] = []
    for each in found:
        routes = tuple(dict.fromkeys(filter(None, map(route, each.routes))))
        notes += [f"{each.name}: {text} is put together as it runs" for text in each.routes if not route(text)]
        asked.append((each.name, routes))
    owners: dict[str, tuple[str, str]] = {}
    for name, routes in sorted(asked, key=_preference):
        for text in routes:
            owners.setdefault(_PARAMETER.sub("{}", text), (text, name))
    mine: dict[str, list[str]] = {}
    for text, name in owners.values():
        mine.setdefault(name, []).append(text)
    return [Described(name, _access(name, own), tuple(sorted(own))) for name, own in sorted(mine.items())], notes


def _preference(asked: tuple[str, tuple[str, ...]]) -> tuple[int, int, int, str]:
    """Return the rank of a method as the owner of its routes, the lowest first."""
    name, routes = asked
    verb = name.rpartition(".")[2]
    plain = 0 if verb in _VERBS else 1 if verb.startswith(tuple(f"{each}_" for each in _VERBS)) else 2
    return len(routes), plain, len(name), name


def route(text: str) -> str:
    """Return the route of a request with plain parameters; "" when its path is known only as it runs."""
    method, _, url = text.partition(" ")
    path = url.removeprefix("https://").removeprefix(REGISTRY).removeprefix("{base_url}").strip("/")
    path, _, query = path.partition("?")
    query = "" if "{" in query else query
    segments = path.split("/")
    if not method.isupper() or "{" in segments[0]:
        return ""
    names: list[str] = []
    for at, segment in enumerate(segments):
        given = _PARAMETER.fullmatch(segment)
        if given is not None:
            name = _parameter(given[1], segments[at - 1])
            while name in names:
                name += "_2"
            names.append(name)
            segments[at] = f"{{{name}}}"
    return f"{method} /{'/'.join(segments)}{'?' if query else ''}{query}"


def _parameter(given: str, before: str) -> str:
    """Return the name of a parameter; an organization has one name, whatever a function calls it."""
    if before == "organizations":
        return "organization"
    if given not in ("id", "x", "value"):
        return given
    return "part" if "{" in before else f"{singular(before).replace('-', '_')}_id"


def _access(name: str, routes: list[str]) -> str:
    if {access_of_method(text.partition(" ")[0]) for text in routes} != {"read"}:
        return "write"
    return "list" if name.rpartition(".")[2].startswith("list") else "read"


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue of a pytfe."""
    found, notes = described(operations(read_client(packages[PACKAGES[0]])))
    return catalogue("terraform", found, hosts=HOSTS, notes=notes)
