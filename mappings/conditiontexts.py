"""Conditions as a mapping file writes them, and words that may stand alone or in a list: from text to values.

    prod-*                      {glob: "prod-*"}        a glob
    [prod-*, live]              any of these globs
    true, 5                     {eq: true}, {eq: 5}     that value; in json only
    {in: [1, 2]}                one of these values
    {exists: false}             not there
    {gt: 0, le: 10}             an integer between; in json only

Each type carries its JSON Schema too, for editors; what is obeyed is the code. Faults, for example:

    values here are text; write "5" in quotes
    no number lies between these bounds; swap them
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from mappings.conditions import LARGEST_COMMON_INTEGER, Condition, Scalar

_BOUNDS = frozenset({"gt", "ge", "lt", "le"})


def _as_words(value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("the list is empty; name at least one")
        return tuple(value)
    return (value,)


_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_SCALARS: dict[str, Any] = {"type": ["string", "integer", "boolean"]}
_SCALAR_LIST: dict[str, Any] = {"type": "array", "items": _SCALARS, "minItems": 1}

WORDS: dict[str, Any] = {"anyOf": [{"type": "string"}, _TEXTS]}


def _one_of(**words: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": words, "additionalProperties": False, "minProperties": 1}


TEXT_CONDITION: dict[str, Any] = {
    "anyOf": [
        *WORDS["anyOf"],
        _one_of(eq={"type": "string"}, exists={"type": "boolean"}, glob=WORDS, **{"in": _TEXTS}) | {"maxProperties": 1},
    ]
}
JSON_CONDITION: dict[str, Any] = {
    "anyOf": [
        _SCALARS,
        _SCALAR_LIST,
        _one_of(eq=_SCALARS, exists={"type": "boolean"}, glob=WORDS, **{"in": _SCALAR_LIST}) | {"maxProperties": 1},
        _one_of(**{word: {"type": "integer"} for word in ("ge", "gt", "le", "lt")}) | {"maxProperties": 2},
    ]
}
"""What editors are told of a condition; what is obeyed stands in `_condition`."""

Words = Annotated[tuple[str, ...], BeforeValidator(_as_words), WithJsonSchema(WORDS)]
"""One text or a list of texts."""


def _text_condition(value: Any) -> Condition:
    """Return the condition on a query parameter, header or fact, whose values are always text."""
    condition = _condition(value)
    if condition.kind == "range":
        raise ValueError("values here are text; gt, ge, lt and le compare numbers in json")
    if condition.kind != "exists" and not all(isinstance(word, str) for word in condition.values):
        raise ValueError(f'values here are text; write "{condition.values[0]}" in quotes')
    return condition


def _condition(value: Any) -> Condition:
    match value:
        case dict():
            return _spelled_out(value)
        case list():
            if any(isinstance(word, str) for word in value):
                return Condition("glob", _all_text(value))
            return Condition("in", _all_scalar(value))
        case str():
            return Condition("glob", (value,))
        case bool() | int():
            return Condition("in", (value,))
    raise ValueError("expected a value, a list of values or one of {eq}, {in}, {glob}, {exists}, {gt}, {lt}...")


def _spelled_out(value: dict[str, Any]) -> Condition:
    if value and value.keys() <= _BOUNDS:
        return _range(value)
    if len(value) != 1:
        raise ValueError("a condition has exactly one of eq, in, glob, exists, or bounds: gt or ge, lt or le")
    ((word, wanted),) = value.items()
    match word, wanted:
        case "exists", bool():
            return Condition("exists", (wanted,))
        case "exists", _:
            raise ValueError("exists takes true or false")
        case "eq", str() | bool() | int():
            return Condition("in", (wanted,))
        case "in", list():
            return Condition("in", _all_scalar(wanted))
        case "glob", str():
            return Condition("glob", (wanted,))
        case "glob", list():
            return Condition("glob", _all_text(wanted))
        case (("eq" | "in" | "glob"), _):
            raise ValueError(f"{word} takes {'a list of values' if word == 'in' else 'one value'}")
    raise ValueError(f'unknown condition "{word}"; use eq, in, glob, exists, gt, ge, lt or le')


def _range(value: dict[str, Any]) -> Condition:
    for word, bound in value.items():
        if isinstance(bound, bool) or not isinstance(bound, int) or abs(bound) >= LARGEST_COMMON_INTEGER:
            raise ValueError(f"{word} takes a whole number that every reader reads alike")
    if {"gt", "ge"} <= value.keys() or {"lt", "le"} <= value.keys():
        raise ValueError("a condition has one lower and one upper bound; remove one")
    lowest = value["gt"] + 1 if "gt" in value else value.get("ge", -LARGEST_COMMON_INTEGER)
    highest = value["lt"] - 1 if "lt" in value else value.get("le", LARGEST_COMMON_INTEGER)
    if lowest > highest:
        raise ValueError("no number lies between these bounds; swap them")
    return Condition("range", (lowest, highest))


def _all_text(values: list[Any]) -> tuple[Scalar, ...]:
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of texts cannot hold other things; quote them")
    return tuple(values)


def _all_scalar(values: list[Any]) -> tuple[Scalar, ...]:
    if not values or not all(isinstance(value, str | int | bool) for value in values):
        raise ValueError("a list of values needs at least one text, number or boolean")
    return tuple(values)


TextCondition = Annotated[Condition, PlainValidator(_text_condition), WithJsonSchema(TEXT_CONDITION)]
TextConditions = dict[str, TextCondition]
JsonConditions = dict[str, Annotated[Condition, PlainValidator(_condition), WithJsonSchema(JSON_CONDITION)]]
