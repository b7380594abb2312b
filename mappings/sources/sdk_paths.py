"""Reads the paths that methods of a generated SDK send to, out of the expressions that make them.

"/files"                                              /files
path_template("/files/{file_id}", file_id=file_id)    /files/{file_id}
f"/files/{file_id}"                                   /files/{file_id}
path_template("/{owner}/{owner_id}/x", owner=owner, owner_id=owner_id), after
    if account_id: owner, owner_id = "accounts", account_id
    else: owner, owner_id = "zones", zone_id          /accounts/{account_id}/x and /zones/{zone_id}/x
path_template(batch.results_url)                      not read: what stands there is not in the code
"/files/" + file_id                                   not read: no SDK writes it so
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from mappings.sources.python_ast import last_name, text_of

PLACE = re.compile(r"\{(\w+)\}")
"""A parameter in a template."""


def paths_of(node: ast.expr, method: ast.AST) -> tuple[str, ...]:
    """Return the templates an expression for a path can give; none when it cannot be read."""
    text = text_of(node)
    if text is not None:
        return (text,)
    if isinstance(node, ast.JoinedStr):
        template, values = _joined(node)
        return _chosen(template, values, method) if template else ()
    if isinstance(node, ast.Call) and last_name(node.func) == "path_template" and node.args:
        template = text_of(node.args[0]) or ""
        values = {each.arg: each.value for each in node.keywords if each.arg}
        return _chosen(template, values, method) if template and set(PLACE.findall(template)) == set(values) else ()
    return ()


def _joined(node: ast.JoinedStr) -> tuple[str, dict[str, ast.expr]]:
    template = ""
    values: dict[str, ast.expr] = {}
    for part in node.values:
        text = text_of(part)
        if text is not None:
            template += text
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
            values[part.value.id] = part.value
            template += f"{{{part.value.id}}}"
        else:
            return "", {}
    return template, values


def _chosen(template: str, values: Mapping[str, ast.expr], method: ast.AST) -> tuple[str, ...]:
    """Return a template once for every way the method sets the variables that stand in it.

    ``if account_id: account_or_zone, ..._id = "accounts", account_id`` and its ``else`` give two.
    """
    if not all(isinstance(value, ast.Name | ast.Attribute) for value in values.values()):
        return ()
    branches = [settings for settings in _branches(method) if set(settings) & set(values)]
    if not branches:
        return (template,)
    return tuple(dict.fromkeys(PLACE.sub(partial(_setting, settings=each), template) for each in branches))


def _branches(method: ast.AST) -> Iterator[dict[str, ast.expr]]:
    """Yield what each branch of each ``if`` sets."""
    for node in ast.walk(method):
        if isinstance(node, ast.If):
            for body in (node.body, node.orelse):
                settings = dict(_assigned(body))
                if settings:
                    yield settings


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for each in body:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            yield each.targets[0].id, each.value


def _setting(place: re.Match[str], settings: Mapping[str, ast.expr]) -> str:
    value = settings.get(place[1])
    if isinstance(value, ast.Name):
        return f"{{{value.id}}}"
    return text_of(value) or place[0]
