"""The classes of a Python client as its files define them, with what each inherits; nothing is imported.

classes.functions("ProjectManager")     its own functions before those of its mixins
classes.text("ProjectManager", "_path") "/projects", "" when no class of its lineage sets it to a text
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mappings.sources.symbolic import methods


@dataclass(frozen=True, slots=True)
class Class:
    """One class, without what it inherits."""

    name: str
    module: str
    bases: tuple[str, ...]
    values: Mapping[str, ast.expr]
    """What its attributes are set to."""
    functions: Mapping[str, ast.FunctionDef]


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a client by name; of two with one name the last that was read."""

    by_name: Mapping[str, Class]

    def lineage(self, name: str) -> list[Class]:
        """Return a class and what it inherits from, the nearest first."""
        found: dict[str, Class] = {}
        waiting = [name]
        while waiting:
            each = self.by_name.get(waiting.pop(0))
            if each is not None and each.name not in found:
                found[each.name] = each
                waiting.extend(each.bases)
        return list(found.values())

    def value(self, name: str, attribute: str) -> ast.expr | None:
        """Return what a class or one it inherits from sets an attribute to."""
        return next((each.values[attribute] for each in self.lineage(name) if attribute in each.values), None)

    def text(self, name: str, attribute: str) -> str:
        """Return an attribute that is a text, "" when there is none."""
        found = self.value(name, attribute)
        return str(found.value) if isinstance(found, ast.Constant) and isinstance(found.value, str) else ""

    def functions(self, name: str) -> dict[str, tuple[Class, ast.FunctionDef]]:
        """Return the functions that a class has and the class that each is from, its own before inherited ones."""
        found: dict[str, tuple[Class, ast.FunctionDef]] = {}
        for each in self.lineage(name):
            for title, function in each.functions.items():
                found.setdefault(title, (each, function))
        return found


def read_classes(files: Iterable[Path]) -> Classes:
    """Return the classes of some files."""
    found: dict[str, Class] = {}
    for path in files:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                bases = tuple(last_name(base) for base in node.bases)
                found[node.name] = Class(node.name, path.stem, bases, assigned(node.body), methods(node))
    return Classes(found)


def assigned(body: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    """Return what the names of a body are set to."""
    found: dict[str, ast.expr] = {}
    for statement in body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                found[name] = value
    return found


def last_name(node: ast.expr | None) -> str:
    """Return the last name of an expression, ``Mixin`` of ``base.Mixin[Thing]``; "" when it has none."""
    match node:
        case ast.Subscript(value=value):
            return last_name(value)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
