"""What a mutant is: a module with one change, and where in it the change stands.

A change is a condition turned round, a bound moved by one, an operand, a test or a statement left out, another value
returned. Annotations are left alone: nothing reads them at run time.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parents[1]

type _Change = Callable[[], str]
type _FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef

_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}
_NUDGED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_OTHER_CALL = {"any": "all", "all": "any", "min": "max", "max": "min"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method that stands in no other."""

    module: str
    name: str
    first: int
    """The line that its code begins at: of the first decorator, if it has any."""
    begins: int
    """The first line that runs when it is called."""
    ends: int

    def holds(self, line: int) -> bool:
        """Say whether a line runs when it is called."""
        return self.begins <= line <= self.ends

    def is_code(self, code: CodeType) -> bool:
        """Say whether this is its code, in whichever version of the module."""
        return (code.co_filename, code.co_name, code.co_firstlineno) == (str(ROOT / self.module), self.name, self.first)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    module: str
    line: int
    change: str
    function: Function | None
    """The function it changes when called; None when it changes what an import does."""
    index: int
    number: int

    @property
    def title(self) -> str:
        """Where and what."""
        return f"{self.module}:{self.line}: {self.change}"

    def compiled(self) -> CodeType:
        """Return the code of the whole module."""
        tree = _parsed(self.module)
        _changes(list(ast.walk(tree))[self.index])[self.number]()
        return compile(ast.fix_missing_locations(tree), str(ROOT / self.module), "exec")

    def code(self) -> CodeType:
        """Return the code of the changed function."""
        function = self.function
        assert function is not None
        return next(code for code in _codes(self.compiled()) if function.is_code(code))


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, those of one node together."""
    tree = _parsed(module)
    types = {id(inner) for node in ast.walk(tree) for inner in _types(node)}
    functions = {id(node): function for function, nodes in _functions(tree, module) for node in nodes}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in types:
            continue
        before = ast.dump(node)
        for number in range(len(_changes(node))):
            changed = copy.deepcopy(node)
            what = _changes(changed)[number]()
            if ast.dump(changed) != before:
                yield Mutant(module, _line(node), what, functions.get(id(node)), index, number)


def _line(node: ast.AST) -> int:
    """Where a node stands; a `for` inside brackets stands where it looks for its values."""
    placed = node.iter if isinstance(node, ast.comprehension) else node
    return getattr(placed, "lineno", 0)


def _parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _functions(tree: ast.Module, module: str) -> Iterator[tuple[Function, list[ast.AST]]]:
    """The outermost functions, each with the nodes that only count when it is called."""
    for node in _outermost(tree):
        body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
        first = min(one.lineno for one in (node, *node.decorator_list))
        function = Function(module, node.name, first, body[0].lineno, node.end_lineno or node.lineno)
        yield function, [node, *(inner for statement in body for inner in ast.walk(statement))]


def _outermost(node: ast.AST) -> Iterator[_FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FunctionDef.__value__):
            yield child
        else:
            yield from _outermost(child)


def _types(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in annotations, which nothing reads at run time."""
    for field in ("annotation", "returns"):
        if isinstance(said := getattr(node, field, None), ast.AST):
            yield from ast.walk(said)
    if isinstance(node, ast.TypeAlias):
        yield from ast.walk(node)


def _changes(node: ast.AST) -> list[_Change]:
    """What can be done to a node; each changes it in place and returns what was done."""
    found: list[_Change] = []

    def change(what: str, **fields: object) -> None:
        def do() -> str:
            for name, value in fields.items():
                setattr(node, name, value)
            return what

        found.append(do)

    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                for others in (_NEGATED, _NUDGED):
                    if other := others.get(type(op)):
                        change(f"{ast.unparse(node)}: {other.__name__}", ops=[*ops[:at], other(), *ops[at + 1 :]])
        case ast.BoolOp(op=op, values=values):
            other_op: ast.boolop = ast.Or() if isinstance(op, ast.And) else ast.And()
            change(f"{ast.unparse(node)}: {type(other_op).__name__}", op=other_op)
            for at, value in enumerate(values):
                left = [*values[:at], *values[at + 1 :]]
                if len(left) > 1:
                    change(f"{ast.unparse(node)}: without {ast.unparse(value)}", values=left)
                else:
                    change(f"{ast.unparse(node)}: without {ast.unparse(value)}", values=[left[0], left[0]])
        case ast.If(test=test) | ast.IfExp(test=test):
            for always in (True, False):
                change(f"if {ast.unparse(test)}: always {always}", test=ast.Constant(always))
        case ast.While(test=test):
            change(f"while {ast.unparse(test)}: never", test=ast.Constant(False))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            change(f"{ast.unparse(node)}: without not", op=ast.Not(), operand=ast.UnaryOp(ast.Not(), operand))
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                change(f"return {ast.unparse(value)}: None", value=ast.Constant(None))
            if isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp):
                change(f"return {ast.unparse(value)}: True", value=ast.Constant(True))
        case ast.Constant(value=bool() as said):
            change(f"{said}: {not said}", value=not said)
        case ast.Constant(value=int() as number):
            change(f"{number}: {number + 1}", value=number + 1)
        case ast.comprehension(ifs=[_, *_] as tests):
            for at, test in enumerate(tests):
                change(f"for ... if {ast.unparse(test)}: all", ifs=[*tests[:at], *tests[at + 1 :]])
        case ast.Call(func=ast.Name(id=name)) if name in _OTHER_CALL:
            change(f"{ast.unparse(node)}: {_OTHER_CALL[name]}", func=ast.Name(_OTHER_CALL[name], ast.Load()))
        case ast.BinOp(left=left_side, op=ast.BitOr() | ast.BitAnd() | ast.Sub(), right=right_side):
            for side in (left_side, right_side):
                change(f"{ast.unparse(node)}: {ast.unparse(side)}", left=side, op=ast.BitOr(), right=side)
    for name, body in ast.iter_fields(node):
        if name in ("body", "orelse", "finalbody") and isinstance(body, list):
            for at, statement in enumerate(body):
                if _may_go(statement):
                    rest = [*body[:at], *body[at + 1 :]] or ([ast.Pass()] if name == "body" else [])
                    change(f"without {ast.unparse(statement).splitlines()[0]}", **{name: rest})
    return found


def _may_go(statement: ast.AST) -> bool:
    """Whether a statement is worth leaving out: one whose absence is no error at once."""
    match statement:
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log")))):
            return False
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Delete():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
        case _:
            return False
