"""The catalogue of GitLab's REST API v4, compiled from the syntax tree of python-gitlab.

A manager names its path, its mixins say which of list, get, create, update and delete it has, and functions of
managers and objects that call ``http_*`` are the rest. An operation is called by the words of its path and the
verb; a parameter by the word it follows, so that the same thing has the same name everywhere:

    PUT  /projects/{project}/merge_requests/{merge_request}/merge     projects.merge_requests.merge
    POST /projects/{project}/repository/files/{file}                  projects.repository.files.create

Project ids, branches and files are one segment each: GitLab takes ``group%2Fproject``, and finds nothing under
``group/project``. GraphQL (``/api/graphql``) is no part of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mappings.sources.clientclasses import Class, Classes, last_name, read_classes
from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, catalogue
from mappings.sources.symbolic import Known, Scope, Texts, argument, parameters, singular

PACKAGES = ("PyPI:python-gitlab",)
HOSTS = ("gitlab.com",)
PREFIX = "/api/v4"

_METHODS = {f"http_{word}": word.upper() for word in ("get", "post", "put", "patch", "delete")}
_METHODS["http_list"] = "GET"
_SAME_AS_GET = ("head", "refresh")
"""HEAD asks for what GET would answer, which the table knows."""
_PARAMETER = re.compile(r"\{([^{}]*)\}")
_VERBS = ("list", "get", "create", "update", "delete", "set")
"""Of two names for one route the one that says what is done to the thing."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one function asks for."""

    name: str
    routes: tuple[str, ...]


def read_client(folder: Path) -> Classes:
    """Return the classes of an unpacked wheel."""
    package = folder / "gitlab"
    files = [package / "client.py", package / "mixins.py", *sorted((package / "v4" / "objects").glob("*.py"))]
    if not all(path.exists() for path in files[:2]):
        raise SourceError(f"{folder}: is no unpacked python-gitlab; fetch it")
    return read_classes(files)


# --- what is asked for ---


def operations(client: Classes) -> Iterator[Found]:
    """Yield what each function of each manager, and of the things it manages, asks for."""
    yield from _asked(client, "Gitlab", "", has_id=False)
    for name in sorted(client.by_name):
        path = client.text(name, "_path")
        thing = last_name(client.value(name, "_obj_cls"))
        # A manager's things have an id after its path, or are the one thing there.
        own = client.value(thing, "_id_attr")
        has_id = not (isinstance(own, ast.Constant) and own.value is None)
        for each in (name, thing) if path else ():
            yield from _asked(client, each, path, has_id)


def _asked(client: Classes, name: str, path: str, has_id: bool) -> Iterator[Found]:
    words = [word for word in path.split("/") if word and "{" not in word]
    for title, (owner, function) in sorted(client.functions(name).items()):
        if title.startswith(("_", "http_")) or title in _SAME_AS_GET:
            continue
        requests = _requests(_Asking(client, name, path, has_id), owner, function)
        routes = [f"{method} {place}" for method, place in requests]
        if routes:
            yield Found(".".join([*words, title]), tuple(dict.fromkeys(routes)))


@dataclass(frozen=True, slots=True)
class _Asking:
    """The class whose functions are read, and where its things are."""

    client: Classes
    name: str
    path: str
    has_id: bool


def _requests(
    asking: _Asking, owner: Class, function: ast.FunctionDef, override: Texts = ()
) -> Iterator[tuple[str, str]]:
    """Yield method and path of each request a function makes; `override` stands in for the path of a mixin."""
    client, name, path = asking.client, asking.name, asking.path
    scope = Scope(_known(path, override, client.text(name, "_upload_path")), parameters(function, {}))
    scope.follow(function.body)
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in _METHODS:
                found = _sent(_METHODS[attr], node, scope)
            case ast.Call(func=ast.Name(id="http_method")):
                chosen = client.value(name, "_update_method")
                found = _sent(chosen.attr if isinstance(chosen, ast.Attribute) else "PUT", node, scope)
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=attr), keywords=given):
                found = _inherited(asking, owner, attr, {each.arg: scope.texts(each.value) for each in given})
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="list"), keywords=[*_, _] as given):
                found = _inherited(asking, owner, "list", {each.arg: scope.texts(each.value) for each in given})
            case _:
                continue
        if owner.module == "mixins" and function.name in ("update", "delete"):
            # A mixin serves things with and without an id; only one of its two paths is there.
            found = [(method, place) for method, place in found if asking.has_id == (place != path)]
        yield from found


def _inherited(asking: _Asking, owner: Class, name: str, given: Mapping[str | None, Texts]) -> list[tuple[str, str]]:
    """Return the requests of an inherited function, which may be given another path, or no id."""
    if "id" in given:
        asking = replace(asking, has_id=False)
    for parent in asking.client.lineage(owner.name)[1:]:
        if name in parent.functions:
            return list(_requests(asking, parent, parent.functions[name], given.get("path", ())))
    return []


def _sent(method: str, node: ast.Call, scope: Scope) -> list[tuple[str, str]]:
    place = argument(node, 0, "path")
    return [(method, text) for text in scope.texts(place)] if place is not None else []


def _known(path: str, override: Texts, upload: str) -> Known:
    def known(node: ast.expr, scope: Scope) -> Texts | None:
        match node:
            case ast.Attribute(attr="path" | "_path" | "_computed_path"):
                return (path,)
            case ast.Attribute(attr="encoded_id") | ast.Call(func=ast.Attribute(attr="get_id")):
                return ("{id}",)
            case ast.Call(func=ast.Attribute(attr="pop"), args=[ast.Constant(value="path"), _]) if override:
                return override
            case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=ast.UnaryOp())):
                return tuple(text[:-1] for text in scope.texts(value))  # "drop the s"
            case ast.Call(func=ast.Attribute(attr="_get_upload_path")):
                return (upload,)
        return None

    return known


# --- from what is asked for to operations ---


def described(found: Iterable[Found]) -> list[Described]:
    """Return the operations, each route under one name."""
    asked = [Found(each.name, tuple(dict.fromkeys(renamed(route) for route in each.routes))) for each in found]
    owners: dict[str, str] = {}
    for each in sorted(asked, key=_preference):
        for route in each.routes:
            owners.setdefault(route, each.name)
    routes: dict[str, list[str]] = {}
    for route, name in owners.items():
        routes.setdefault(name, []).append(route)
    return [Described(name, _access(name, own), tuple(sorted(own))) for name, own in sorted(routes.items())]


def _preference(found: Found) -> tuple[int, int, int, str]:
    verb = found.name.rpartition(".")[2]
    plain = _VERBS.index(verb) if verb in _VERBS else len(_VERBS)
    # A function that asks for several things names none of them better than one that asks for this alone.
    return (len(found.routes), plain, len(found.name), found.name)


def _access(name: str, routes: list[str]) -> str:
    access = {access_of_method(route.partition(" ")[0]) for route in routes}
    if access == {"read"}:
        return "list" if name.endswith(".list") else "read"
    return "write"


def renamed(route: str) -> str:
    """Return a route with each parameter called by the word it follows."""
    method, _, path = route.partition(" ")
    segments = [segment for segment in path.split("/") if segment]
    names: list[str] = []
    for at, segment in enumerate(segments):
        given = _PARAMETER.fullmatch(segment)
        if given is None:
            continue
        before = segments[at - 1] if at else ""
        many = before.endswith("s") or given[1] == "id"
        name = singular(before) if many and "{" not in before else given[1]
        while name in names:
            name += "_2"
        names.append(name)
        segments[at] = f"{{{name}}}"
    return f"{method} /{'/'.join(segments)}"


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue of a python-gitlab."""
    found = described(operations(read_client(packages[PACKAGES[0]])))
    # docs.gitlab.com/api/rest, "Namespaced paths" and "File path, branches, and tags name": names go encoded, and
    # nothing is found under "/".
    return catalogue("gitlab", found, hosts=HOSTS, prefixes=(PREFIX,), keeps_slashes=True)
