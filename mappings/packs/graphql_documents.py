"""The documents of GraphQL: their operations, and of each the root fields with their arguments.

It reads text alone, knows no schema, and decides neither which operation runs nor what a field does. Everything of a
document must be readable, also what is not asked for.

    {a: pay(id: 7) {ok} ...F} fragment F on M {refund {ok}}       the fields "pay", with id 7, and "refund"
    {...F} fragment F on M {...F}                                  two readings: servers refuse it, or never end
    {pay(id: 1, id: 2) {ok}}                                       two readings: which of them counts
    {a {a {a {a ...                                                unreadable, as is whatever is longer than the limits
    { }                                                            unreadable: it asks for nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphql.language import ast

MAX_TOKENS = 5_000
"""Of a document; the longest take about 50 ms. Clients' own queries have under 1,000 tokens; what is longer carries
data, whose place is in the variables."""

MAX_KEPT_CHARS = 8_000
"""Of a document whose reading is kept for the next request: clients send the same few texts over and over."""


class TwoReadingsError(Exception):
    """Two readers of a request would differ."""


class UnreadableError(Exception):
    """What is asked for cannot be told."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that stands in the variables of a request."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document."""

    kind: str
    """``query``, ``mutation`` or ``subscription``."""
    name: str
    """ "" when it has none."""
    fields: tuple[tuple[str, Any], ...]
    """Name and arguments of each root field; values are plain, or a `Variable`, or mappings and tuples of such."""
    defaults: Mapping[str, Any]
    """Values of variables that a request leaves out."""


def read_operations(document: str) -> tuple[Operation, ...]:
    """Return the operations of a document; raise TwoReadingsError or UnreadableError."""
    return _kept(document) if len(document) <= MAX_KEPT_CHARS else _parsed(document)


@lru_cache(maxsize=64)
def _kept(document: str) -> tuple[Operation, ...]:
    return _parsed(document)


def chosen(operations: tuple[Operation, ...], name: str) -> Operation:
    """Return the operation that a request with this name, "" for none, has run."""
    # Of one operation servers run that one or nothing, whatever name is given.
    fitting = operations if len(operations) == 1 else tuple(each for each in operations if name and each.name == name)
    if len({each.name for each in operations}) < len(operations):
        raise TwoReadingsError("two operations have one name")
    if len(fitting) != 1:
        raise UnreadableError("operationName does not say which of the operations is meant")
    return fitting[0]


def _parsed(document: str) -> tuple[Operation, ...]:
    # Only where there is GraphQL to read: the import takes longer than anything else the gate does.
    from graphql import GraphQLError
    from graphql.language import parse

    try:
        return _operations(parse(document, no_location=True, max_tokens=MAX_TOKENS))
    except (GraphQLError, RecursionError):
        why = f"the query is badly formed, nested too deeply, or has more than {MAX_TOKENS:,} tokens"
        raise UnreadableError(why) from None


def _operations(parsed: ast.DocumentNode) -> tuple[Operation, ...]:
    from graphql.language import FragmentDefinitionNode, OperationDefinitionNode

    fragments: dict[str, ast.FragmentDefinitionNode] = {}
    operations: list[ast.OperationDefinitionNode] = []
    for definition in parsed.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            if fragments.setdefault(definition.name.value, definition) is not definition:
                raise TwoReadingsError("a fragment stands twice")
        elif isinstance(definition, OperationDefinitionNode):
            operations.append(definition)
        else:
            raise UnreadableError("the query holds a schema")
    return tuple(_operation(each, fragments) for each in operations)


def _operation(node: ast.OperationDefinitionNode, fragments: Mapping[str, ast.FragmentDefinitionNode]) -> Operation:
    defaults = {
        each.variable.name.value: _value(each.default_value)
        for each in node.variable_definitions or ()
        if each.default_value is not None
    }
    fields = tuple(
        (field.name.value, _once((each.name.value, _value(each.value)) for each in field.arguments or ()))
        for field in _root_fields(node.selection_set, fragments, set(), ())
    )
    if not fields:
        # Against the grammar (GraphQL, "Selection Sets"), and yet the parser takes it; a call of nothing has no name.
        raise UnreadableError("an operation of the query asks for nothing")
    return Operation(node.operation.value, node.name.value if node.name else "", fields, defaults)


def _root_fields(
    selected: ast.SelectionSetNode,
    fragments: Mapping[str, ast.FragmentDefinitionNode],
    walked: set[str],
    within: tuple[str, ...],
) -> Iterator[ast.FieldNode]:
    from graphql.language import FieldNode, FragmentSpreadNode, InlineFragmentNode

    for node in selected.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _root_fields(node.selection_set, fragments, walked, within)
        elif isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name in within:
                raise TwoReadingsError("a fragment uses itself")
            if name not in fragments:
                raise UnreadableError("the query uses a fragment that is not there")
            if name not in walked:
                # Twice the same fragment is the same fields; walking it twice could double the work each time.
                walked.add(name)
                yield from _root_fields(fragments[name].selection_set, fragments, walked, (*within, name))


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs by name; no GraphQL server takes a name twice, and other readers would differ."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise TwoReadingsError("an argument stands twice")
        found[name] = value
    return found


def _value(node: ast.ValueNode | None) -> Any:
    """Return a value as plain text, truth, mapping, tuple or `Variable`; None for a fraction and for null."""
    given: Any = node
    match node.kind if node is not None else "":
        case "variable":
            return Variable(given.name.value)
        case "object_value":
            return _once((field.name.value, _value(field.value)) for field in given.fields)
        case "list_value":
            return tuple(_value(each) for each in given.values)
        case "string_value" | "enum_value" | "int_value" | "boolean_value":
            return given.value
        case _:
            return None


def filled(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return a value with its variables filled in; only what stands in the document is walked."""
    match value:
        case Variable(name):
            return variables.get(name)
        case dict():
            return {name: filled(each, variables) for name, each in value.items()}
        case tuple():
            return [filled(each, variables) for each in value]
        case _:
            return value
