"""The JSON body of a request, read as strictly as the strictest reader, and values looked up in it.

A body that two readers could read differently is a problem, never "no such field": otherwise the agent
chooses which rule applies by choosing how to write. So these are refused when a rule depends on the body:

    not read, or only its first bytes; compressed              unreadable
    not declared as JSON, in another charset, with a BOM       unreadable
    {"a": 1, "a": 2}                                           conflict: a key stands twice
    {"A": 1} where a rule reads "a"                            conflict: some readers fold the case of keys
    {"a_b": 1} where a rule reads "a-b"                        conflict: some readers take them for one
    NaN, Infinity, comments, trailing text, 1e999              unreadable
    "\\ud800" without its other half                           unreadable

An empty body is a body without fields.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mappings.request import Request
from mappings.resolution import CONFLICT, UNREADABLE, Problem

AWS_JSON_TYPES = frozenset({"application/x-amz-json-1.0", "application/x-amz-json-1.1"})
"""Smithy, "AWS JSON 1.0 protocol" and "AWS JSON 1.1 protocol", section "Protocol behaviors"."""

_JSON_TYPES = AWS_JSON_TYPES | {"application/json"}


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""Where a pointer leads to nothing, or to ``null``: servers treat both as unset."""


@dataclass(frozen=True, slots=True)
class Json:
    """The value of a body that was read: what holds it is none of the values that a body can have, as None is one."""

    value: object
    """MISSING when the body is empty."""


_UNREADABLE = "a rule depends on the body, but %s"


class _TwiceError(ValueError):
    """A key stands twice."""


class _RefusedError(ValueError):
    """The body cannot be read: code and words of the problem. Raised, so that no way leads on from it."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A dotted name into a JSON body."""

    text: str
    steps: tuple[str, ...]
    """Member names; digits also index a list, ``*`` is every element of one."""


def read_pointer(text: str, *, many: bool = False) -> Pointer:
    """Return the pointer written as ``a.b.0.c`` (``\\.`` is a dot within a name); ValueError otherwise."""
    steps = tuple(step.replace("\0", ".") for step in text.replace("\\.", "\0").split("."))
    if "" in steps:
        raise ValueError(f'json name "{text}" has an empty step; write names joined by single dots')
    if "*" in steps and not many:
        raise ValueError(f'json name "{text}" leads to many values; "*" stands only in each')
    return Pointer(text, steps)


def read_json(request: Request) -> object | Problem:
    """Return the value of the body, MISSING when it is empty, or why it cannot be read."""
    body = request.body
    try:
        if body is None or not request.body_complete:
            raise _RefusedError(UNREADABLE, _UNREADABLE % "it was not read in full")
        if not body:
            return MISSING
        if any(coding.strip().lower() != "identity" for coding in request.header_values("content-encoding")):
            raise _RefusedError(UNREADABLE, _UNREADABLE % "it is compressed; send it without content-encoding")
        _check_type(request.header_values("content-type"))
        # json.loads would guess UTF-16 and UTF-32 from bytes and skip a BOM; text it takes as it stands.
        text = body.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refused_number,
            parse_float=_number,
        )
        if b"\\u" in body:
            _refuse_halves(value)
    except _RefusedError as refused:
        return Problem(*refused.args)
    except _TwiceError as twice:
        return Problem(CONFLICT, f"the body holds {twice}, and readers differ in which one counts")
    except (ValueError, RecursionError):
        return Problem(UNREADABLE, _UNREADABLE % "it is not strict JSON in UTF-8")
    if text.lstrip().startswith("{") != isinstance(value, dict):
        raise TypeError("an object was read as something else")  # a rule would find nothing in it
    return value


def _check_type(values: tuple[str, ...]) -> None:
    kinds = {value.strip().lower() for value in values}
    if len(kinds) > 1:
        raise _RefusedError(CONFLICT, "the request has several content types; send one")
    kind, _, parameters = next(iter(kinds), "").partition(";")
    kind = kind.strip()
    # RFC 6839 section 3.1: the suffix "+json" promises JSON (the patches of Kubernetes but for apply, which is
    # YAML). Anything else is JSON to some servers only.
    if kind not in _JSON_TYPES and not (kind.startswith("application/") and kind.endswith("+json")):
        raise _RefusedError(UNREADABLE, _UNREADABLE % "it is not declared as JSON; send content-type: application/json")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise _RefusedError(UNREADABLE, _UNREADABLE % "it is not declared as UTF-8 (RFC 8259 section 8.1)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError("a key twice")
    return found


def _refused_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON (RFC 8259 section 6)")


def _refuse_halves(value: object) -> None:
    """Raise ValueError where an escape stands for half a character: some readers refuse it, others put U+FFFD there."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is beyond what readers agree on")
    return value


def look_up(value: object, pointer: Pointer) -> object | Problem:
    """Return the value at a pointer without ``*``, MISSING, or why readers differ about it."""
    found: object = MISSING
    for found in _walk(value, pointer, 0):
        if isinstance(found, Problem):
            return found
    return found


def look_up_all(value: object, pointer: Pointer) -> tuple[object, ...] | Problem:
    """Return every value at a pointer; a list at its end counts as its elements."""
    found: list[object] = []
    for each in _walk(value, pointer, 0):
        if isinstance(each, Problem):
            return each
        if isinstance(each, list):
            found.extend(each)
        elif each is not MISSING:
            found.append(each)
    return tuple(found)


def _walk(value: object, pointer: Pointer, at: int) -> Iterator[object]:
    if at == len(pointer.steps):
        yield MISSING if value is None else value
        return
    step = pointer.steps[at]
    if isinstance(value, list):
        if step == "*":
            for element in value:
                yield from _walk(element, pointer, at + 1)
        elif step.isascii() and step.isdigit() and len(step) < 6 and int(step) < len(value):
            yield from _walk(value[int(step)], pointer, at + 1)
        else:
            yield MISSING
    elif isinstance(value, dict):
        yield from _member(value, step, pointer, at)
    else:
        yield MISSING


def _folded(key: str) -> str:
    # Two spellings of one accented letter look alike and are one key to readers that normalise. Servers of JSON:API
    # and of Protocol Buffers take "is_destroy" and "isDestroy" for "is-destroy".
    text = key.casefold() if key.isascii() else unicodedata.normalize("NFKC", key).casefold()
    return text.replace("-", "").replace("_", "")


def _member(value: dict[str, object], step: str, pointer: Pointer, at: int) -> Iterator[object]:
    # Go's encoding/json, among others, takes "Is-Destroy" for "is-destroy", and the last of both.
    folded = _folded(step)
    if any(_folded(key) == folded and key != step for key in value):
        yield Problem(CONFLICT, f'the body holds "{pointer.text}" in another spelling, and readers differ about it')
    elif step in value:
        yield from _walk(value[step], pointer, at + 1)
    else:
        yield MISSING
