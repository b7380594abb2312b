"""Every request of hvac, the Python client of Vault, under the capability and the fixed words of its own path.

Paths and methods are read from the client's source; the engine is the module the function stands in, the mount the one
its documentation uses. Lists are asked for a second time as ``GET ?list=true``. What is built from a path the caller
gives (``client.read``) names nothing and is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from case import Case
from fetch import package

SAMPLE_EVERY = 6
SITE = '{"version": 1, "bind": [{"host": "vault.selftest.invalid", "pack": "vault"}]}'
HOST = "https://vault.selftest.invalid:8200"

CAPABILITIES = {"get": "read", "head": "read", "list": "list", "post": "update", "put": "update", "login": "update"}
CAPABILITIES["delete"] = "delete"

ENGINES = {"active_directory": "ad", "kv_v1": "kv", "kv_v2": "kv"}
"""Engine by module, where they differ."""

MOUNTS = {"kv": "secret"}

INDIRECT = {
    "take_raft_snapshot": ("get",),
    "generate_service_account_key": ("post", "get"),
    "generate_static_account_service_account_key": ("post", "get"),
}
"""Methods of functions that leave the sending to another."""

CHOICES = {"{endpoint}": ("creds", "sts")}
"""Parameters that are a word of the path."""


def cases() -> Iterator[Case]:
    """Yield the requests of every function of the client."""
    for module, method, template in requests(package("PyPI:hvac").folder / "hvac" / "api"):
        capability = "list" if "list=true" in template else CAPABILITIES[method]
        words, path = _read(module, template.partition("?")[0])
        wanted = frozenset({f"vault:{capability}:{words}"})
        query = "?" + template.partition("?")[2] if "?" in template else ""
        sent = {"list": "LIST", "login": "POST"}.get(method, method.upper())
        yield Case(sent, f"{HOST}{path}{query.replace('{', '').replace('}', '')}", wanted)
        if sent == "LIST":
            yield Case("GET", f"{HOST}{path}?list=true", wanted, group="as GET ?list=true")


def _read(module: Path, template: str) -> tuple[str, str]:
    """Return the fixed words of a path behind its engine, and the path with its parameters filled in."""
    parts = template.strip("/").split("/")[1:]
    engine = ENGINES.get(module.stem, module.stem)
    if module.parent.name == "system_backend":
        first, rest = "sys", parts[1:]
        start = ["sys"]
    elif parts[0] == "auth":
        first, rest, start = "auth", parts[2:], ["auth", module.stem]
    else:
        first, rest, start = engine, parts[1:], [MOUNTS.get(engine, engine)]
    words = [first, *(part for part in rest if "{" not in part)]
    return "/".join(words), "/" + "/".join(["v1", *start, *(re.sub(r"\{.*\}", "x1", part) for part in rest)])


def requests(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield module, method of the client's adapter and path template of everything it sends."""
    for module in sorted(folder.rglob("*.py")):
        for function in ast.walk(ast.parse(module.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            templates = _templates(function)
            methods = [*_methods(function), *INDIRECT.get(function.name, ())]
            if not templates or not methods:
                continue
            if len(templates) == len(methods):
                pairs = list(zip(methods, templates, strict=True))
            else:
                pairs = [(method, template) for method in methods for template in templates]
            for method, template in pairs:
                for path in _expanded(template):
                    yield module, method, path


def _expanded(template: str) -> Iterator[str]:
    """Yield a template for each word that one of its parameters may be."""
    for parameter, words in CHOICES.items():
        if parameter in template:
            yield from (template.replace(parameter, word) for word in words)
            return
    yield template


def _templates(function: ast.FunctionDef) -> list[str]:
    """Return the path templates of a function, in the order they stand in, formatted strings as templates too."""
    documentation = ast.get_docstring(function, clean=False)
    found: list[tuple[int, str]] = []
    inner: set[int] = set()
    for node in ast.walk(function):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
            inner.update(id(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            text = node.value
        if text.startswith(("/v1/", "v1/")) and text != documentation:
            found.append((node.lineno, text))
    return [text for _, text in sorted(found)]


def _methods(function: ast.FunctionDef) -> list[str]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    sent = [call for call in calls if ast.unparse(call.func.value) == "self._adapter"]  # type: ignore[attr-defined]
    found = [(call.lineno, call.func.attr) for call in sent]  # type: ignore[attr-defined]
    return [name for _, name in sorted(found) if name in CAPABILITIES]
