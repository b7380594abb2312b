"""What the programs share: made-up arguments, and how a request is written out. Runs without the gate's packages."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from typing import Any

VALUE = "x1"
"""Stands for every parameter, so that two methods that send the same request send the same text."""


class Stopped(BaseException):
    """Ends a call once its request is known; no handler of a client catches it."""

    def __init__(self, method: str, url: str) -> None:
        self.method = method
        self.url = url


def paths() -> None:
    """Let imports find what the first argument lists."""
    sys.path[:0] = json.loads(sys.argv[1])


def write(name: str, method: str, url: str, deprecated: bool = False) -> None:
    """Write out a request."""
    row = {"name": name, "method": method.upper(), "url": url.replace("wss://", "https://"), "deprecated": deprecated}
    print(json.dumps(row), flush=True)


def refuse(name: str, error: BaseException) -> None:
    """Write out that a method could not be called."""
    print(json.dumps({"name": name, "why": f"{type(error).__name__}: {error}"[:200]}), flush=True)


def made_up(annotation: object) -> Any:
    """Return a value that a client takes for a parameter so annotated; annotations may be texts."""
    text = annotation if isinstance(annotation, str) else str(annotation)
    if "FileTypes" in text:
        return ("x1.txt", b"x1")
    literal = re.search(r"Literal\[['\"]([^'\"]*)['\"]", text)
    if literal:
        return literal[1]
    for start, value in (("int", 7), ("float", 7), ("bool", True)):
        if re.match(rf"(?:Optional\[|Union\[)?{start}\b", text):
            return value
    if re.match(r"(?:Optional\[|Union\[)?(?:Iterable|List|Sequence|SequenceNotStr)\b", text):
        return []
    return VALUE


def arguments(method: Callable[..., Any]) -> list[tuple[list[Any], dict[str, Any]]]:
    """Return the arguments to call a method with: what is required, with each of an account and a zone."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    owners: list[str] = []
    for each in _parameters(method):
        if each.default is not each.empty:
            owners += [each.name] if each.name in ("account_id", "zone_id") else []
        elif each.kind is each.KEYWORD_ONLY:
            named[each.name] = made_up(each.annotation)
        else:
            positional.append(made_up(each.annotation))
    return [(positional, {**named, owner: VALUE} if owner else named) for owner in owners or [""]]


def everything(method: Callable[..., Any]) -> dict[str, Any]:
    """Return a value for every parameter of the API, for methods that want more than their signature says."""
    plain = ("extra_headers", "extra_query", "extra_body", "timeout")
    return {each.name: made_up(each.annotation) for each in _parameters(method) if each.name not in plain}


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(method).parameters.values()
    return [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
