"""Paths of an OpenAPI description as route templates, and the conditions on the query that they need.

A parameter is ``{x+}``, one segment or more, where the description lets it hold "/":

    x-multi-segment: true, x-ms-skip-url-encoding: true, allowReserved: true, a `pattern` with "/"
    {+path}, {path*} and {path=**} in the path, and a last {path}
    names that the caller lists

What has no one safe reading is a ValueError with the remedy:

    /a%zz      "/a%zz" holds a "%" without two hex digits; write %25
    /a#b       is no path; write it from "/" on, without "#"
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mappings.canonical import canonical_target
from mappings.paths import MAX_SEGMENTS
from mappings.pathtemplates import MAX_PLUS, read_template

PARAMETER = re.compile(r"\{([^{}/]*)\}")
_TOKEN = re.compile(r"zz[0-9]+zz")
"""Stands for a parameter while a path becomes canonical: letters that no encoding changes."""
_CONDITION = re.compile(r"[A-Za-z0-9._~\[\]:/-]+(?:=[A-Za-z0-9._~:/-]*)?")
"""What a condition on the query may hold as it stands, without any encoding."""
_SPELT_PLUS = re.compile(r"\+(?P<before>[^+*=]+)|(?P<after>[^+*=]+)(?:\*|=\*\*|\+)")

Parameters = Sequence[Mapping[str, Any]]


def read_path(
    path: str, parameters: Parameters, slashed: Collection[str], notes: list[str]
) -> tuple[str, tuple[str, ...]]:
    """Return a path as a template and the query that it holds; ValueError when it cannot be written as one."""
    text, _, query = path.partition("?")
    if not text.startswith("/") or "#" in path:
        raise ValueError('is no path; write it from "/" on, without "#"')
    if _TOKEN.search(text):
        raise ValueError("holds a word that stands for parameters here; rename it")
    template = _template(text.rstrip("/") or "/", parameters, slashed, notes)
    conditions = tuple(part for part in query.split("&") if part)
    if not all(_CONDITION.fullmatch(part) for part in conditions):
        raise ValueError("its query holds what no condition can; write key=value in plain characters")
    return template, conditions


def _template(text: str, parameters: Parameters, slashed: Collection[str], notes: list[str]) -> str:
    described = {each.get("name"): each for each in parameters if each.get("in") == "path"}
    names: dict[str, str] = {}

    def token(match: re.Match[str]) -> str:
        name, plus = _spelt(match[1])
        last = name == "path" and match.end() == len(text)
        if last and not plus:
            notes.append(f"{shown_path(text)}: the last {{path}} is taken for one segment or more")
        plus = plus or last or name in slashed or _holds_slashes(described.get(name, {}))
        alone = text[match.start() - 1] == "/" and text[match.end() : match.end() + 1] in ("", "/")
        word = _word(name, names.values())
        names[f"zz{len(names)}zz"] = f"{{{word}+}}" if plus and alone else f"{{{word}}}"
        return f"zz{len(names) - 1}zz"

    words = PARAMETER.sub(token, text)
    if "{" in words or "}" in words:
        raise ValueError("it has a brace without its pair")
    template = _TOKEN.sub(lambda match: names[match[0]], canonical_target(words).path)
    if template.count("/") > MAX_SEGMENTS:
        raise ValueError(f"more than {MAX_SEGMENTS} segments; no request with so many is read")
    if template.count("+}") > MAX_PLUS:
        raise ValueError(f"more than {MAX_PLUS} parameters may hold slashes; name fewer")
    read_template(template)
    return template


def _word(name: str, taken: Collection[str]) -> str:
    """Return the name of a capture for a parameter, which no other has."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", name) or "x"
    word = word if not word[0].isdigit() else f"_{word}"
    while f"{{{word}}}" in taken or f"{{{word}+}}" in taken:
        word += "_2"
    return word


def _spelt(text: str) -> tuple[str, bool]:
    """Return the name in braces, and whether it is spelt as one that may hold slashes (RFC 6570, gRPC)."""
    spelt = _SPELT_PLUS.fullmatch(text)
    if spelt is None:
        return text.partition("=")[0], "/" in text
    return spelt["before"] or spelt["after"], True


def _holds_slashes(parameter: Mapping[str, Any]) -> bool:
    said = ("x-multi-segment", "x-ms-skip-url-encoding", "allowReserved")
    if any(parameter.get(key) is True for key in said):
        return True
    schema = parameter.get("schema")
    pattern = (schema if isinstance(schema, dict) else parameter).get("pattern")
    return isinstance(pattern, str) and "/" in pattern.replace("[^/]", "")


def required(parameters: Parameters) -> Iterator[str]:
    """Yield the conditions that parameters of the query make when they must be there."""
    for each in parameters:
        if each.get("in") == "query" and each.get("required") is True and isinstance(each.get("name"), str):
            schema = each.get("schema") if isinstance(each.get("schema"), dict) else each
            assert isinstance(schema, dict)  # noqa: S101 - one or the other is
            words = schema.get("enum") if isinstance(schema.get("enum"), list) else [schema.get("const")]
            only = words[0] if words and len(words) == 1 else None
            for condition in (f"{each['name']}={only}" if isinstance(only, str) else "", each["name"]):
                if _CONDITION.fullmatch(condition):
                    yield condition
                    break


def shape_of(template: str) -> str:
    """Return a template without the names of its parameters."""
    return PARAMETER.sub(lambda match: "{+}" if match[1].endswith("+") else "{}", template)


def shown_path(path: str) -> str:
    """Return a path as a message shows it."""
    return path if len(path) <= 120 and path.isprintable() else repr(path[:117])
