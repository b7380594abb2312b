"""Every operation of the Python client of Kubernetes, under the name its own method and path spell.

The verb comes from how the client calls the operation (``read_namespaced_pod``), the resource from the fixed words of
its path; nothing is read as the pack reads it. Lists are asked for a second time as watches, and everything once more
through Rancher's door.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from case import Case, filled
from fetch import package

SAMPLE_EVERY = 20

VERBS = {
    "create": "create",
    "replace": "update",
    "patch": "patch",
    "delete": "delete",
    "delete_collection": "deletecollection",
    "list": "list",
    "read": "get",
    "get": "get",
    "connect": "execute",
}
"""How the client calls a verb; the longest that fits."""

SITE = '{"version": 1, "bind": [{"host": "kubernetes.selftest.invalid", "pack": "kubernetes"}]}'
HOST = "https://kubernetes.selftest.invalid"


def cases() -> Iterator[Case]:
    """Yield the requests of every operation."""
    for operation, method, path in operations(package("PyPI:kubernetes").folder / "kubernetes" / "client" / "api"):
        wanted = frozenset({wanted_name(operation, method, path)})
        url = filled(path, "x1")
        yield Case(method, f"{HOST}{url}", wanted)
        yield Case(method, f"{HOST}/k8s/clusters/c-m-x1{url}", wanted, group="behind Rancher")
        if ":list:" in str(wanted):
            watching = frozenset(name.replace(":list:", ":watch:") for name in wanted)
            yield Case(method, f"{HOST}{url}?watch=true", watching, group="as a watch")


def operations(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield name, method and path of every operation in the client's generated modules."""
    for module in sorted(folder.glob("*_api.py")):
        for function in ast.walk(ast.parse(module.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef) or not function.name.endswith("_with_http_info"):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "self.api_client.call_api":
                    path, method = (ast.literal_eval(argument) for argument in call.args[:2])
                    yield function.name.removesuffix("_with_http_info"), method, path


def wanted_name(operation: str, method: str, path: str) -> str:
    """Return the canonical name that the client's own words amount to."""
    match = re.fullmatch(r"/(?:api/v1|apis/([^/]+)/[^/]+)(?:/namespaces/\{namespace\})?/([^/].*)", path)
    if not match:
        return f"kubernetes:{method.lower()}:nonresource"
    group, rest = match.groups()
    words = [group] if group else []
    words += [word for word in rest.split("/") if "{" not in word or word.endswith("plural}")]
    verb = max((verb for verb in VERBS if operation.startswith(f"{verb}_")), key=len)
    return f"kubernetes:{VERBS[verb]}:{filled('/'.join(words), 'x1')}"
