"""Every request that azure-mgmt-compute and azure-mgmt-resource build, read from their operations modules.

A `build_..._request` function names a URL template and a method. What the name must be is told from the template's
text: the permission that Azure's role definitions have for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from case import Case
from fetch import package

SAMPLE_EVERY = 6

PACKAGES = ("PyPI:azure-mgmt-compute", "PyPI:azure-mgmt-resource")
HOSTS = {
    "public cloud": "management.azure.com",
    "regional host": "westeurope.management.azure.com",
    "China": "management.chinacloudapi.cn",
    "US government": "management.usgovcloudapi.net",
}
SCOPES = {"scope": "subscriptions/s1/resourceGroups/g1", "parentScope": "subscriptions/s1"}
RESOURCE = "subscriptions/s1/resourceGroups/g1/providers/Contoso.Things/boxes/b1"
"""Stands for a whole id, where a template leaves it open."""

WORDS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


def cases() -> Iterable[Case]:
    """Yield every request, on every cloud and in lower case."""
    for method, template in sorted(set(_requests())):
        path, _, query = _filled(template).partition("?")
        query = f"{query}&api-version=2026-04-01".lstrip("&")
        for group, host in HOSTS.items():
            wanted = frozenset({_permission(method, path)})
            yield Case(method, f"https://{host}{path}?{query}", wanted, group=group)
        wanted = frozenset({_permission(method, path.lower())})
        yield Case(method, f"https://management.azure.com{path.lower()}?{query}", wanted, group="lower case")


def _requests() -> Iterator[tuple[str, str]]:
    for reference in PACKAGES:
        for file in sorted(package(reference).folder.rglob("operations/_operations.py")):
            if "aio" in file.parts:
                continue
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("build_"):
                    yield _request(node)


def _request(function: ast.FunctionDef) -> tuple[str, str]:
    """Return method and URL template of a function that builds one request."""
    template, method = "", ""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_url" and not template:
            texts = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            template = next(text for text in texts if isinstance(text, str) and text.startswith("/"))
        if isinstance(node, ast.keyword) and node.arg == "method" and isinstance(node.value, ast.Constant):
            method = str(node.value.value)
    return method, template


def _filled(template: str) -> str:
    """Return a template with a value for every parameter."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in SCOPES:
            return SCOPES[name]
        if name == "resourceProviderNamespace":
            return "Contoso.Things"
        if name == "resourceType":
            return "boxes"
        if name in ("resourceId", "linkId") and found.start() == 1:
            return RESOURCE
        return "" if name == "parentResourcePath" else f"{name}1"

    return re.sub(r"\{([^{}]*)\}", value, template).replace("//", "/")


def _permission(method: str, path: str) -> str:
    """Return the permission for a path: every other word behind the last provider, and what the method does."""
    whole = re.fullmatch(r"(?:.*/providers)/([^/]+)/(.+)", path)
    namespace, rest = (whole[1], whole[2]) if whole else ("Microsoft.Resources", path[1:])
    if re.fullmatch(r"(?:/subscriptions/[^/]+)?/providers/[^/]+", path):
        namespace, rest = "Microsoft.Resources", path[1:]
    types = re.sub(r"([^/]+)/[^/]+(/|$)", r"\1\2", rest).rstrip("/")
    return f"azure:{namespace}/{types}/{WORDS.get(method, 'action')}"
