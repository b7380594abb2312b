"""The operator's mapping file: what may be written, checked for shape; `mappings.compile` gives it meaning.

    version: 1
    bind:                                   # which pack reads the requests to a host, and what is known of it
      - {host: k8s.prod.acme.test, pack: kubernetes, facts: {cluster: prod-eu, env: production}}
      - {host: "*.svc.acme.test", pack: [http, health]}
    env:                                    # classifiers; all that fire must agree
      - {value: staging, when: {namespace: [staging, "dev-*"]}}
    rules:
      - id: k8s-rollout
        match: {op: "kubernetes:{create,patch}:apps/{deployments,statefulsets}{,/scale}"}
        action: "deploy:${env}"
        target: "k8s/${cluster}/${namespace}/${name}"
      - id: tfc-destroy
        match: {host: app.terraform.io, method: POST, path: /api/v2/runs,
                json: {data.attributes.is-destroy: true}}
        action: "infra:destroy"
        target: "tfc/${json:data.relationships.workspace.data.id}"

**host** is a name, an address or ``*.suffix`` (one label or more, never the suffix itself). A rule without
``op`` and ``host`` holds on bound hosts only.

**op** names the operation a pack recognised: ``*`` within a segment, ``**`` across, ``{a,b}`` alternatives,
case folded.

**path** is a template: ``{x}`` one segment or part of one, ``{x+}`` one or more segments, ``{x:a|b}`` one
of these words, ``{x:web-*}`` a glob within the segment. A trailing ``/`` makes no difference. Where an
identifier may hold an encoded ``%2F``, write ``{x+}``: with ``{x}`` the two ways to read it differ and the
request is refused.

**method** ``GET`` covers HEAD too; of two rules that are equal otherwise, the one that names HEAD wins.

**query, header, facts, json** map names to conditions. A condition is a text (a glob), a list of texts (any
of them), in ``json`` also a number or boolean, or one of ``{eq: v} {in: [v, ...]} {glob: text} {exists:
true|false}``. ``json`` names are dotted: ``data.attributes.is-destroy``, digits index a list, ``\\.`` is a
dot within a name.

**not** is a nested match that must not hold. Everything else in a match must hold.

**action, target** are templates over ``${env} ${host} ${method} ${path}``, facts, captures, ``${json:a.b}``
and, with ``each: NAME`` or ``each: json:items.*.id``, ``${each}``: one operation for each element. A name
that is missing is ``-`` in a target and ``unknown`` in an action.

Which rule wins when several match (file order never matters): the operator's over a pack's, then more
``json`` conditions, then more ``query``, ``header`` and ``facts`` conditions, then exact ``op`` over glob
over none, then more literal characters in path or op, then exact ``host`` over wildcard over none, then a
named method. Winners that are still equal are all judged, and all must be allowed.

Faults, for example:

    mappings/site.yaml:4:14: host "*" would match everything; write "*.github.com"
    mappings/site.yaml:9:20: path "/a/%7eb" is not canonical; write "/a/~b"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from mappings.conditions import Condition, Scalar


def _as_words(value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("the list is empty; name at least one")
        return tuple(value)
    return (value,)


Words = Annotated[tuple[str, ...], BeforeValidator(_as_words)]
"""One text or a list of texts."""


def _text_condition(value: Any) -> Condition:
    """Return the condition on a query parameter, header or fact, whose values are always text."""
    condition = _condition(value)
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
    raise ValueError("expected a value, a list of values or one of {eq}, {in}, {glob}, {exists}")


def _spelled_out(value: dict[str, Any]) -> Condition:
    if len(value) != 1:
        raise ValueError("a condition has exactly one of eq, in, glob, exists")
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
    raise ValueError(f'unknown condition "{word}"; use eq, in, glob or exists')


def _all_text(values: list[Any]) -> tuple[Scalar, ...]:
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of texts cannot hold other things; quote them")
    return tuple(values)


def _all_scalar(values: list[Any]) -> tuple[Scalar, ...]:
    if not values or not all(isinstance(value, str | int | bool) for value in values):
        raise ValueError("a list of values needs at least one text, number or boolean")
    return tuple(values)


TextConditions = dict[str, Annotated[Condition, PlainValidator(_text_condition)]]
JsonConditions = dict[str, Annotated[Condition, PlainValidator(_condition)]]
Facts = dict[str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)


class MatchText(_Strict):
    """What a request or an operation must look like; every key given must hold."""

    op: Words | None = None
    host: Words | None = None
    method: Words | None = None
    path: Words | None = None
    query: TextConditions = {}
    header: TextConditions = {}
    facts: TextConditions = {}
    json_: JsonConditions = Field(default={}, alias="json")
    not_: MatchText | None = Field(default=None, alias="not")


class RuleText(_Strict):
    """One rule: what matches is named with this action and target."""

    id: str
    match: MatchText
    each: str | None = None
    action: str
    target: str | None = None


class BindText(_Strict):
    """What is known about a host."""

    host: str
    pack: Words
    """Pack names; ``http`` is the pack that recognises nothing and leaves everything to rules."""
    facts: Facts = {}


class ClassifierText(_Strict):
    """One environment and the facts that show it."""

    value: str
    when: Mapping[str, Words]


class MappingFile(_Strict):
    """An operator's mapping file."""

    version: Literal[1]
    bind: tuple[BindText, ...] = ()
    env: tuple[ClassifierText, ...] = ()
    rules: tuple[RuleText, ...] = ()
