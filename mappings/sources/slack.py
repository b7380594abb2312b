"""The catalogue of Slack, compiled from the syntax tree of slack_sdk.

A method of the Web API is its own name: ``/api/chat.postMessage`` is chat.postMessage, with GET as with POST, for
Slack looks at neither. Its SCIM and audit logs APIs have paths like others. Incoming webhooks, files and methods that
are newer than the list are read by `mappings.packs.slack`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mappings.sources.compiling import Compiled, Described, SourceError, access_of_method, catalogue
from mappings.sources.symbolic import Known, Scope, argument, parameters

PACKAGES = ("PyPI:slack-sdk",)
HOSTS = ("slack.com", "*.slack.com", "slack-gov.com", "*.slack-gov.com")
"""slack-gov.com: docs.slack.dev/govslack."""

_WEB = ("web/client.py", "web/legacy_client.py")
_REST = {"scim": "scim/v1/client.py", "audit_logs": "audit_logs/v1/client.py"}

_METHOD = re.compile(r"[a-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+)+")
_READS = re.compile(
    r"(?:get|list|info|lookup|search|history|replies)(?:[A-Z].*)?"
    r"|members|identity|userInfo|test|validate|teamInfo|conversations|accessLogs|billableInfo|integrationLogs"
)
"""Last words of methods that change nothing: the "get", "list" and "info" of docs.slack.dev/reference/methods."""
_SEARCHES = "search."
"""All of ``search`` does."""


def methods(folder: Path) -> list[str]:
    """Return the names of the Web API's methods, sorted."""
    found: set[str] = set()
    for name in _WEB:
        for node in ast.walk(_tree(folder, name)):
            match node:
                case ast.Call(func=ast.Attribute(attr="api_call"), args=[ast.Constant(value=str() as method), *_]):
                    if not _METHOD.fullmatch(method):
                        raise SourceError(f'{name}: "{method}" is no name of a method')
                    found.add(method)
    return sorted(found)


def _tree(folder: Path, name: str) -> ast.Module:
    path = folder / "slack_sdk" / name
    if not path.exists():
        raise SourceError(f"{path}: is not there; fetch slack-sdk")
    return ast.parse(path.read_text("utf-8"))


def operations(folder: Path) -> Iterator[Described]:
    """Yield every operation."""
    for method in methods(folder):
        yield Described(method, access_of(method), (f"GET /api/{method}", f"POST /api/{method}"))
    for name, file in _REST.items():
        yield from _rest(name, _tree(folder, file))


def access_of(method: str) -> str:
    """Return what a method does to what it reaches; what is not known to read is a write."""
    last = method.rpartition(".")[2]
    if method.startswith(_SEARCHES) or _READS.fullmatch(last):
        return "list" if last.startswith("list") else "read"
    return "write"


def _rest(name: str, tree: ast.Module) -> Iterator[Described]:
    known: Known = lambda *_: None  # noqa: E731 - nothing is known beforehand
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        scope = Scope(known, parameters(function, {}))
        scope.follow(function.body)
        for node in ast.walk(function):
            match node:
                case ast.Call(func=ast.Attribute(attr="api_call")):
                    path, verb = argument(node, 9, "path"), argument(node, 9, "http_verb")
                    if path is None:
                        continue
                    method = scope.texts(verb)[0] if verb is not None else "GET"
                    base = "/scim/v1" if name == "scim" else "/audit/v1"
                    route = f"{method} api.slack.com{base}/{scope.texts(path)[0]}"
                    yield Described(f"{name}.{function.name}", access_of_method(method), (route,))


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue of a slack_sdk."""
    return catalogue("slack", operations(packages[PACKAGES[0]]), hosts=HOSTS)
