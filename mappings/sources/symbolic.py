"""What a text of a Python client may be, read from its syntax tree: the paths it asks for, without running it.

An expression becomes one or more texts; what only running would tell stands in them as ``{name}``. So a path that
is put together becomes the template of a route. Nothing is imported or executed, and what is not understood
becomes ``{x}``, never a guess:

    f"{self.path}/{EncodedId(id)}/merge"       /projects/{project_id}/merge_requests/{id}/merge
    a path set in both branches of an "if"     two texts
    urls[kind](id)                             {x}
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MAX_TEXTS = 16
"""Of one expression; a client that builds more is not read by this."""

Texts = tuple[str, ...]
Known = Callable[[ast.expr, "Scope"], Texts | None]
"""What a family knows about an expression, such as ``self.path``; None when it is to be read as any other."""

UNKNOWN: Texts = ("{x}",)


@dataclass(slots=True)
class Scope:
    """The names of one function and what they may hold."""

    known: Known
    names: dict[str, Texts] = field(default_factory=dict)

    def texts(self, node: ast.expr) -> Texts:
        """Return what an expression may be, each once."""
        told = self.known(node, self)
        found = told if told is not None else self._read(node)
        return tuple(dict.fromkeys(found))[:MAX_TEXTS]

    def _read(self, node: ast.expr) -> Texts:
        match node:
            case ast.Constant(value=str() | int() as value):
                return (str(value),)
            case ast.JoinedStr(values=values):
                return self._joined(values)
            case ast.FormattedValue(value=value):
                return self.texts(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([left, right])
            case ast.IfExp(body=body, orelse=other):
                return self.texts(body) + self.texts(other)
            case ast.Name(id=name):
                return self.names.get(name, (f"{{{name}}}",))
            case ast.Attribute(attr=name):
                return (f"{{{name.lstrip('_')}}}",)
            case ast.Subscript(slice=ast.Constant(value=str() as name)):
                return (f"{{{name.replace('-', '_')}}}",)
            case ast.Call():
                return self._call(node)
        return UNKNOWN

    def _joined(self, parts: Sequence[ast.expr]) -> Texts:
        choices = itertools.product(*(self.texts(part) for part in parts))
        return tuple("".join(choice) for choice in itertools.islice(choices, MAX_TEXTS))

    def _call(self, node: ast.Call) -> Texts:
        match node:
            case ast.Call(func=ast.Attribute(attr="pop" | "get"), args=[_, fallback]):
                return self.texts(fallback)
            case ast.Call(func=ast.Attribute(attr="pop" | "get"), args=[ast.Constant(value=str() as name)]):
                return (f"{{{name}}}",)
            case ast.Call(func=ast.Attribute(value=value, attr="format" | "strip" | "lstrip" | "rstrip")):
                return self.texts(value)
            case ast.Call(args=[argument, *_]):
                # A quoting, checking or converting function: what it is given is what it is about.
                return self.texts(argument)
        return UNKNOWN

    def follow(self, body: Iterable[ast.stmt], *, certain: bool = True) -> None:
        """Take note of the assignments of a body; those in a branch add to what a name may hold."""
        for statement in body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    found = self.texts(value)
                    before = () if certain else self.names.get(name, ())
                    self.names[name] = tuple(dict.fromkeys(before + found))
                case ast.AugAssign(target=ast.Name(id=name) as target, op=ast.Add(), value=value):
                    longer = self._joined([target, value])
                    self.names[name] = longer if certain else self.names.get(name, ()) + longer
            for inner in blocks(statement):
                self.follow(inner, certain=False)


def blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the bodies within a statement, but for those of functions and classes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for name in ("body", "orelse", "finalbody"):
        inner = getattr(statement, name, None)
        if inner:
            yield inner
    for handler in getattr(statement, "handlers", ()):
        yield handler.body


def parameters(function: ast.FunctionDef, given: Mapping[str, Texts]) -> dict[str, Texts]:
    """Return what the parameters of a function may hold: what they are given, else themselves."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {each.arg: given.get(each.arg, (f"{{{each.arg}}}",)) for each in arguments}


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """Return the functions of a class; of overloads the last, which is the one that runs."""
    return {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """Return an argument of a call, given by position or by name."""
    if len(call.args) > position:
        return call.args[position]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def singular(word: str) -> str:
    """Return the one of which a path's word names many: ``branches`` of a ``branch``."""
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("uses", "us"), ("ss", "ss"), ("us", "us"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word
