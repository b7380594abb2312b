"""From pydantic's errors to faults: where the writer can repair it, in words that say how.

skills/a.yaml:4:3: unknown key "alow"; did you mean "allow"
skills/a.yaml:5:9: expected text, found 5; quote it
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence

import pydantic

from mappings.places import Document, Fault, one_line, shown

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "nothing",
}


def located(document: Document, model: type[pydantic.BaseModel], invalid: pydantic.ValidationError) -> Iterator[Fault]:
    """Yield one fault for every error, each where the writer can repair it."""
    for wrong in invalid.errors(include_url=False):
        path = wrong["loc"]
        match wrong["type"]:
            case "extra_forbidden":
                yield Fault(document.key_place(path), _unknown_key(str(path[-1]), _keys_at(model, path[:-1])))
            case "missing":
                yield Fault(document.place(path[:-1]), f'key "{path[-1]}" is missing')
            case _ if path and path[-1] == "[key]":
                yield Fault(document.key_place(path), _message(wrong))
            case _:
                yield Fault(document.place(path), _message(wrong))


def _message(wrong: typing.Any) -> str:
    kind: str = wrong["type"]
    context = wrong.get("ctx") or {}
    if kind in ("value_error", "assertion_error"):
        return one_line(str(context["error"]))
    found = shown(wrong["input"])
    if kind in _EXPECTED:
        remedy = "; quote it" if kind == "string_type" and isinstance(wrong["input"], int | bool) else ""
        return f"expected {_EXPECTED[kind]}, found {found}{remedy}"
    if kind in ("literal_error", "enum"):
        return f"{found} is not one of {context['expected']}".replace("'", '"')
    text = one_line(wrong["msg"])
    return f"{text[:1].lower()}{text[1:]}, found {found}"


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return f'unknown key "{key}"; did you mean "{near[0]}"'
    remedy = f"known here: {', '.join(known)}" if known else "remove it"
    return f'unknown key "{key}"; {remedy}'


def _keys_at(model: type[pydantic.BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that the model at `path` inside `model` knows; empty when it cannot be told."""
    models = [model]
    for step in path:
        nearer = [
            inner
            for known in models
            for name, about in known.model_fields.items()
            if step in (name, about.alias)
            for inner in _models_in(about.annotation)
        ]
        # An index, a mapping's key or a union member's name leaves us inside the same annotation.
        models = nearer or models
    return [about.alias or name for known in models for name, about in known.model_fields.items()]


def _models_in(annotation: typing.Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, pydantic.BaseModel) else []
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]
