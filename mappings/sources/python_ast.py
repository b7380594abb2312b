"""Reads the Python sources of a package as text: its classes, and which class a name in a module stands for.

A package that describes its API in code is read the way a reader would, and never imported: importing runs code,
needs the package's own dependencies, and shows what one installation does. What cannot be followed is an error
with the file and line, not a guess.

    from .records import RecordsResource      the class of resources/dns/records.py
    getattr(module, name)                     not followed: SourceError "... line 12: ..."
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mappings.sources.compiling import SourceError

_MAX_IMPORTS = 8
"""How often a name may be imported from elsewhere before it is taken for a circle."""


@dataclass(frozen=True)
class Module:
    """One file."""

    dotted: str
    """``openai.resources.files``."""
    path: Path
    package: bool
    """Whether it is the ``__init__.py`` of a package, which relative imports count from."""

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; SourceError when the file is no Python."""
        try:
            with warnings.catch_warnings():
                # Docstrings of generated code hold escapes that Python warns of; they are no concern of ours.
                warnings.simplefilter("ignore", SyntaxWarning)
                return ast.parse(self.path.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError) as error:
            raise SourceError(f"{self.path}: cannot be read: {error}") from None

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """The classes at the top level."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Where each imported name comes from, wherever in the file it is imported: module and name there."""
        found: dict[str, tuple[str, str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    found[alias.asname or alias.name] = (origin, alias.name)
        return found

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.dotted.split(".")
        base = parts[: len(parts) - node.level + self.package]
        return ".".join([*base, *([node.module] if node.module else [])])

    def at(self, node: ast.AST, wrong: str) -> SourceError:
        """Return the error that says what is wrong at a place of the file."""
        return SourceError(f"{self.path}: line {getattr(node, 'lineno', 0)}: {wrong}")


@dataclass(frozen=True)
class Found:
    """A class and the module that defines it."""

    module: Module
    node: ast.ClassDef

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others of its name."""
        return self.module.dotted, self.node.name

    def methods(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield its methods in the order of the file."""
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@dataclass
class Sources:
    """The modules below a folder, each read once."""

    folder: Path
    _modules: dict[str, Module | None] = field(default_factory=dict)

    def module(self, dotted: str) -> Module | None:
        """Return a module by its dotted name; None when the folder has none such."""
        if dotted not in self._modules:
            place = self.folder.joinpath(*dotted.split("."))
            single, inside = place.with_suffix(".py"), place / "__init__.py"
            path = inside if inside.is_file() else single
            self._modules[dotted] = Module(dotted, path, path is inside) if path.is_file() else None
        return self._modules[dotted]

    def modules(self, package: str) -> Iterator[Module]:
        """Yield every module of a package, sorted by path."""
        for path in sorted((self.folder / package).rglob("*.py")):
            parts = path.relative_to(self.folder).with_suffix("").parts
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            module = self.module(dotted)
            if module is not None:
                yield module

    def class_named(self, module: Module, name: str) -> Found | None:
        """Return the class that a name in a module stands for; None when it is none of this folder."""
        for _ in range(_MAX_IMPORTS):
            if name in module.classes:
                return Found(module, module.classes[name])
            if name not in module.imports:
                return None
            origin, name = module.imports[name]
            following = self.module(origin)
            if following is None:
                return None
            module = following
        return None

    def the_class(self, dotted: str, name: str) -> Found:
        """Return a class of a module; SourceError when there is none such."""
        module = self.module(dotted)
        found = self.class_named(module, name) if module is not None else None
        if found is None:
            raise SourceError(f'{self.folder}: no class "{name}" in {dotted}')
        return found


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name, "" when a node is no name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def text_of(node: ast.AST | None) -> str | None:
    """Return the text a node writes out, None when it is no literal text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return a keyword argument of a call; None when it is not given."""
    return next((each.value for each in call.keywords if each.arg == name), None)


def calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """Yield every call below a node."""
    return (each for each in ast.walk(node) if isinstance(each, ast.Call))
