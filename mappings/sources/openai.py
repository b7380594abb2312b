"""Compiles the catalogue of OpenAI's API from its Python SDK: names are the SDK's (``openai:chat.completions.create``).

The SDK also opens WebSockets (``client.realtime.connect``): the request that opens one is an operation like any
other, and what is said afterwards is not seen. Azure OpenAI serves other paths on the customer's own host and is
not this family.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from mappings.sources.compiling import Compiled, SourceError
from mappings.sources.python_ast import Found, text_of
from mappings.sources.stainless import Client, Sent, compiled

PACKAGES = ("PyPI:openai",)

HOSTS = (
    "api.openai.com",
    # Regional processing: the SDK's own table, openai/_data_residency.py.
    *(f"{region}.api.openai.com" for region in ("us", "eu", "ae", "au", "in", "jp")),
)


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue."""
    client = Client(packages[PACKAGES[0]], "openai", "OpenAI")
    sent = (*client.sent(), *connections(client))
    return compiled("openai", client, sent, hosts=HOSTS, prefixes=("/v1",))


def connections(client: Client) -> Iterator[Sent]:
    """Yield the methods that open a WebSocket, a GET (RFC 6455 section 4.1) to the path their manager puts together."""
    for resource in client.resources:
        for method in resource.found.methods():
            if method.name != "connect":
                continue
            manager = client.named(resource.found.module, method.returns)
            path = _path(manager) if manager is not None else ""
            if manager is None or not path:
                raise SourceError(f"{resource.found.module.path}: line {method.lineno}: no path to connect to")
            name = ".".join([*resource.way, method.name])
            yield Sent(name, "GET", (path,), False, (manager.module.dotted, method.lineno))


def _path(manager: Found) -> str:
    """Return what is put between ``path.rstrip(b"/")`` and the query; "" when that is not how it is written."""
    prepares = next((each for each in manager.methods() if each.name == "_prepare_url"), None)
    for node in ast.walk(prepares) if prepares is not None else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "merge_raw_path":
            first, *middle, separator, query = _summands(node.value)
            if [ast.unparse(each) for each in (first, separator, query)] == ["path.rstrip(b'/')", "separator", "query"]:
                return "".join(_text(each) for each in middle)
    return ""


def _summands(node: ast.expr) -> list[ast.expr]:
    return [*_summands(node.left), node.right] if isinstance(node, ast.BinOp) else [node]


def _text(node: ast.expr) -> str:
    """Return the text of ``b"/realtime"`` or ``path_template("/live/{x}", ...).encode("utf-8")``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return node.value.decode()
    texts = (text_of(each.args[0]) for each in ast.walk(node) if isinstance(each, ast.Call) and each.args)
    return next((text for text in texts if text and text.startswith("/")), "")
