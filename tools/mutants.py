"""Change the deciding modules in one place at a time, and see whether a test notices.

    .venv/bin/python tools/mutants.py                          every module of the table; hours on one core
    .venv/bin/python tools/mutants.py policies/deciding.py     one of them
    .venv/bin/python tools/mutants.py --list                   how many there are

A mutant is a module with one change: a condition turned round, an operand or a statement left out, another value
returned. Each runs in a child of its own, forked when everything but our own code is imported, against tests that
take a second or two; what no test notices is printed as a survivor, with its line. A survivor changes nothing that
can be observed, or only ever refuses more, or it is a hole: docs/torture.md says which of them are which.
"""

import argparse
import ast
import contextlib
import copy
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("proxy", "mappings", "policies", "chron", "support", "tests", "claiim", "claiim_gate")
PATIENCE_S = 180
"""A mutant that runs for so long has been noticed: it never ends."""

_POLICIES = [
    "tests/policies/test_ends.py",
    "tests/policies/test_who_speaks.py",
    "tests/policies/test_condition_lists.py",
    "tests/policies/test_nameless.py",
    "tests/policies/test_evaluation_language.py",
    "tests/policies/test_evaluation_page.py",
    "tests/policies/test_explain.py",
    "tests/policies/test_registry.py",
]
_MAPPINGS = [
    "tests/mappings/test_two_readings.py",
    "tests/mappings/test_rule_conditions.py",
    "tests/mappings/test_resolving.py",
    "tests/mappings/test_ties.py",
    "tests/mappings/test_cut_bodies.py",
]
_JUDGING = [
    "tests/proxy/test_pipeline.py",
    "tests/proxy/test_hazards.py::test_an_upgrade_no_rule_can_decide_is_refused",
]
_PIPELINE = ["tests/proxy/test_facts.py", "tests/proxy/test_pipeline.py", "tests/proxy/test_destinations.py"]
MODULES: dict[str, list[str]] = {
    "policies/deciding.py": _POLICIES,
    "policies/weighing.py": _POLICIES,
    "policies/tokens.py": _POLICIES,
    "policies/standing.py": _POLICIES,
    "mappings/reading.py": _MAPPINGS,
    "mappings/mapping.py": _MAPPINGS,
    "mappings/matches.py": _MAPPINGS,
    "proxy/pipeline.py": _PIPELINE,
    "proxy/judging.py": _JUDGING,
    "proxy/concluding.py": _PIPELINE,
    "proxy/facts.py": _PIPELINE,
    "proxy/destinations.py": _PIPELINE,
}
"""What decides, and the tests that have to notice."""

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
class Mutant:
    """A module with one change."""

    module: str
    line: int
    change: str
    source: str

    @property
    def title(self) -> str:
        """Where and what."""
        return f"{self.module}:{self.line}: {self.change}"


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse((ROOT / module).read_text())
    before = ast.unparse(tree)
    types = {id(inner) for node in ast.walk(tree) for inner in _types(node)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in types:
            continue
        for number, _ in enumerate(_changes(node)):
            changed = copy.deepcopy(tree)
            what, line = _apply(changed, index, number)
            source = ast.unparse(ast.fix_missing_locations(changed))
            if source != before:
                yield Mutant(module, line, what, source)


def _types(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in annotations, which nothing reads at run time."""
    for field in ("annotation", "returns"):
        if isinstance(said := getattr(node, field, None), ast.AST):
            yield from ast.walk(said)
    if isinstance(node, ast.TypeAlias):
        yield from ast.walk(node)


def _apply(tree: ast.Module, index: int, number: int) -> tuple[str, int]:
    node = list(ast.walk(tree))[index]
    line = getattr(node, "lineno", 0)
    return list(_changes(node))[number](), line


def _changes(node: ast.AST) -> list:
    """What can be done to a node; each changes it in place and returns what was done."""
    found = []

    def change(what: str, **fields: object) -> None:
        def do() -> str:
            for name, value in fields.items():
                setattr(node, name, value)
            return what

        found.append(do)

    match node:
        case ast.Compare(ops=[op]):
            change(f"{ast.unparse(node)}: {_NEGATED[type(op)].__name__}", ops=[_NEGATED[type(op)]()])
            if type(op) in _NUDGED:
                change(f"{ast.unparse(node)}: {_NUDGED[type(op)].__name__}", ops=[_NUDGED[type(op)]()])
        case ast.BoolOp(op=op, values=values):
            other: ast.boolop = ast.Or() if isinstance(op, ast.And) else ast.And()
            change(f"{ast.unparse(node)}: {type(other).__name__}", op=other)
            for at, value in enumerate(values):
                left = [*values[:at], *values[at + 1 :]]
                if len(left) > 1:
                    change(f"{ast.unparse(node)}: without {ast.unparse(value)}", values=left)
                else:
                    change(f"{ast.unparse(node)}: without {ast.unparse(value)}", values=[left[0], left[0]])
        case ast.If(test=test) | ast.IfExp(test=test):
            for value in (True, False):
                change(f"if {ast.unparse(test)}: always {value}", test=ast.Constant(value))
        case ast.While(test=test):
            change(f"while {ast.unparse(test)}: never", test=ast.Constant(False))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            change(f"{ast.unparse(node)}: without not", op=ast.Not(), operand=ast.UnaryOp(ast.Not(), operand))
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                change(f"return {ast.unparse(value)}: None", value=ast.Constant(None))
            if isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp):
                change(f"return {ast.unparse(value)}: True", value=ast.Constant(True))
        case ast.Constant(value=bool() as value):
            change(f"{value}: {not value}", value=not value)
        case ast.Constant(value=int() as value):
            change(f"{value}: {value + 1}", value=value + 1)
        case ast.comprehension(ifs=[_, *_] as tests):
            change(f"for ... if {ast.unparse(tests[0])}: all", ifs=tests[1:])
        case ast.Call(func=ast.Name(id=name)) if name in _OTHER_CALL:
            change(f"{ast.unparse(node)}: {_OTHER_CALL[name]}", func=ast.Name(_OTHER_CALL[name], ast.Load()))
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub(), right=right):
            for side in (left, right):
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


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a mutant's source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._mutant = mutant

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """This one and no other."""
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, ROOT / self._mutant.module, loader=self)

    def exec_module(self, module: object) -> None:
        """Run the mutant."""
        exec(compile(self._mutant.source, self._mutant.module, "exec"), vars(module))


def outcome(mutant: Mutant | None, tests: Sequence[str]) -> str:
    """`killed`, `survived` or `for ever`; with no mutant, how the tests fare on the code as it is."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 99
        try:
            code = _run(mutant, tests)
        except BaseException:  # noqa: BLE001 -- a mutant that ends its process has been noticed
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "for ever"


def _run(mutant: Mutant | None, tests: Sequence[str]) -> int:
    import pytest

    if mutant is not None:
        sys.meta_path.insert(0, _Changed(mutant))
    nothing = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--hypothesis-seed=0",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    return int(pytest.main([*options, *tests]))


def import_others() -> None:
    """Import what the tests import and is not ours, so that no child has to."""
    tests = sorted({test for listed in MODULES.values() for test in listed})
    ask = (
        "import sys, pytest; pytest.main(['--collect-only', '-qq', '-p', 'no:cacheprovider', *sys.argv[1:]]);"
        "print('\\n'.join(['', '---', *sys.modules]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", ask, *tests], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for name in said.partition("\n---\n")[2].split():
        if name.partition(".")[0] not in ROOMS and not name.startswith(("test_", "conftest", "_pytest", "__")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def main() -> int:
    """Run them, tell what survived; 1 when something did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="all of the table when none is named")
    parser.add_argument("--list", action="store_true", help="count them, run none")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th of them only")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="with --every, begin at the K-th")
    arguments = parser.parse_args()
    modules = arguments.modules or list(MODULES)
    chosen = {name: list(mutants_of(name))[arguments.first :: arguments.every] for name in modules}
    for name, mutants in chosen.items():
        print(f"{name}: {len(mutants)} mutants", flush=True)
    if arguments.list:
        return 0
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import_others()
    gc.freeze()
    survived = 0
    for name, mutants in chosen.items():
        tests = MODULES[name]
        if outcome(None, tests) != "survived":
            print(f"the tests of {name} fail on the code as it is", file=sys.stderr)
            return 2
        counts = dict.fromkeys(("killed", "for ever", "survived"), 0)
        began = time.monotonic()
        for mutant in mutants:
            came = outcome(mutant, tests)
            counts[came] += 1
            if came == "survived":
                print(f"survived  {mutant.title}", flush=True)
        survived += counts["survived"]
        said = ", ".join(f"{count} {what}" for what, count in counts.items())
        print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
