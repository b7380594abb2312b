"""Change the deciding modules in one place at a time, and see whether a test notices.

    .venv/bin/python tools/mutants.py                          every module of the table; an hour and more on one core
    .venv/bin/python tools/mutants.py policies/deciding.py     one of them
    .venv/bin/python tools/mutants.py --list                   how many there are

Tests are collected and run once as the code is, which tells what lines each of them runs. A mutant changes a function
(tools/mutating.py): a child is forked, gets the changed function in place of the other, and runs the tests that run
it, those first that are the likeliest to fail, until one fails. What changes an import, or a function that imports have
called, is imported anew in a child that was forked before any of our code was there. What no test notices is printed
as a survivor, with its line. A survivor changes nothing that can be observed, or only ever refuses more, or it is a
hole: docs/torture.md says which of them are which.
"""

import argparse
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType
from typing import Any, NoReturn

import pytest
from mutating import ROOT, Function, Mutant, mutants_of

ROOMS = ("proxy", "mappings", "policies", "chron", "support", "tests", "claiim", "claiim_gate")
PATIENCE_S = 20
"""A test that runs for so long, and ten times as long as it takes else, has noticed: it never ends."""

_POLICIES = (
    "tests/policies/test_ends.py",
    "tests/policies/test_who_speaks.py",
    "tests/policies/test_condition_lists.py",
    "tests/policies/test_nameless.py",
    "tests/policies/test_evaluation_language.py",
    "tests/policies/test_evaluation_page.py",
    "tests/policies/test_explain.py",
    "tests/policies/test_registry.py",
    "tests/policies/test_silence.py",
    "tests/policies/test_loading.py",
    "tests/policies/test_invariants.py",
    "tests/policies/test_monotone.py",
    "tests/policies/test_properties.py",
)
_MAPPINGS = (
    "tests/mappings/test_two_readings.py",
    "tests/mappings/test_rule_conditions.py",
    "tests/mappings/test_resolving.py",
    "tests/mappings/test_ties.py",
    "tests/mappings/test_cut_bodies.py",
    "tests/mappings/test_silence.py",
    "tests/mappings/test_attributes.py",
    "tests/mappings/test_lookups.py",
    "tests/mappings/test_rule_faults.py",
)
_PIPELINE = (
    "tests/proxy/test_pipeline.py",
    "tests/proxy/test_pdp.py",
    "tests/proxy/test_rebinding.py",
    "tests/proxy/test_unreadable_heads.py",
    "tests/proxy/test_stopping.py",
    "tests/proxy/test_sweeping.py",
    "tests/proxy/test_tunnels.py",
    "tests/proxy/test_forward_auth.py",
    "tests/proxy/test_limits_wire.py",
    "tests/proxy/test_reverse.py",
    "tests/proxy/test_waiting_wire.py",
    "tests/proxy/test_hazards.py::test_an_upgrade_no_rule_can_decide_is_refused",
    "tests/proxy/test_hazards.py::test_a_request_with_two_readings_is_refused",
    "tests/proxy/test_hazards.py::test_a_suspension_holds_on_a_connection_that_is_already_open",
)
_FACTS = (
    "tests/proxy/test_facts.py",
    "tests/proxy/test_pipeline.py",
    "tests/proxy/test_unreadable_heads.py",
    "tests/proxy/test_limits_wire.py",
    "tests/proxy/test_reverse.py",
    "tests/proxy/fast/test_heads.py",
)
_DESTINATIONS = (
    "tests/proxy/test_destinations.py",
    "tests/proxy/test_pipeline.py",
    "tests/proxy/test_rebinding.py",
)
MODULES: dict[str, Sequence[str]] = {
    "policies/deciding.py": _POLICIES,
    "policies/weighing.py": _POLICIES,
    "policies/tokens.py": _POLICIES,
    "policies/standing.py": _POLICIES,
    "mappings/reading.py": _MAPPINGS,
    "mappings/mapping.py": _MAPPINGS,
    "mappings/matches.py": _MAPPINGS,
    "proxy/pipeline.py": _PIPELINE,
    "proxy/judging.py": _PIPELINE,
    "proxy/concluding.py": _PIPELINE,
    "proxy/facts.py": _FACTS,
    "proxy/destinations.py": _DESTINATIONS,
}
"""What decides, and the tests that have to notice."""

_OPTIONS = (
    "-x",
    "-q",
    "-s",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-seed=0",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
_UNNOTICED, _NOTICED, _NOT_CHANGED = 0, 1, 2
"""How a child ends."""


# --- children ---


def forked(do: Callable[[int], int]) -> tuple[int, bytes]:
    """Run something in a child, with the end of a pipe to write to: how it ended, and what it wrote."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setpgid(0, 0)
        _end(do, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started and left behind
    return os.waitstatus_to_exitcode(status), said


def _end(do: Callable[[int], int], writing: int) -> NoReturn:
    code = _NOTICED
    try:
        code = do(writing)
    except BaseException:  # noqa: BLE001 -- a mutant that ends its process has been noticed
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _quietly() -> None:
    """From here on nothing is printed, or all of it to the file that MUTANT_LOG names."""
    nothing = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def _outcome(code: int) -> str:
    if code == -signal.SIGALRM:
        return "for ever"
    return "survived" if code == _UNNOTICED else "killed"


# --- what the tests run ---


class Lines:
    """Which lines of some modules have run since the last time somebody asked."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = {str(ROOT / module): module for module in modules}
        self._run: set[tuple[str, int]] = set()
        monitoring = sys.monitoring
        monitoring.use_tool_id(monitoring.COVERAGE_ID, "mutants")
        monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, self._line)
        monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.LINE)

    def _line(self, code: CodeType, line: int) -> object:
        if module := self._modules.get(code.co_filename):
            self._run.add((module, line))
        return sys.monitoring.DISABLE

    def taken(self) -> frozenset[tuple[str, int]]:
        """Return them, and begin anew."""
        found = frozenset(self._run)
        self._run.clear()
        sys.monitoring.restart_events()
        return found

    def stop(self) -> None:
        """Watch no more."""
        sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, sys.monitoring.events.NO_EVENTS)
        sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)


@dataclass(frozen=True, slots=True)
class Run:
    """One test, as it fares on the code as it is."""

    id: str
    seconds: float
    lines: frozenset[tuple[str, int]]

    @property
    def patience_s(self) -> int:
        """How long it may run with a mutant before it counts as one that never ends."""
        return PATIENCE_S + math.ceil(10 * self.seconds)

    def calls(self, function: Function) -> bool:
        """Say whether it runs a function."""
        return any(module == function.module and function.holds(line) for module, line in self.lines)

    def touches(self, module: str) -> bool:
        """Say whether it runs anything of a module."""
        return any(module == name for name, _ in self.lines)


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a mutant; where it has to be imported anew, `again` are the tests for it and their patience."""

    index: int
    outcome: str
    tests: int = 0
    again: Sequence[tuple[str, int]] = ()


class Session:
    """A pytest plugin: runs mutants in place of the tests it has collected, and writes to a pipe how they fared."""

    def __init__(self, mutants: Sequence[Mutant], lines: Lines, writing: int) -> None:
        self._mutants = mutants
        self._lines = lines
        self._writing = writing
        self._calling: dict[Function, list[int]] = {}
        self._noticing: Counter[tuple[Function, int]] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every test once, then the mutants."""
        imported = self._lines.taken()
        code, said = forked(lambda writing: self._all(session, writing))
        self._lines.stop()
        if code != 0:
            raise pytest.UsageError("a test fails on the code as it is")
        runs: list[Run] = pickle.loads(said)
        functions = _functions_of(self._mutants)
        gc.freeze()
        for index, mutant in enumerate(self._mutants):
            tried = self._tried(session, index, mutant, runs, imported, functions)
            with os.fdopen(os.dup(self._writing), "wb") as pipe:
                pickle.dump(tried, pipe)
        return True

    def _tried(
        self,
        session: pytest.Session,
        index: int,
        mutant: Mutant,
        runs: Sequence[Run],
        imported: frozenset[tuple[str, int]],
        functions: dict[Function, list[FunctionType]],
    ) -> Tried:
        function = mutant.function
        order = self._order(mutant, runs)
        if function is not None and not any(name == function.module and function.holds(at) for name, at in imported):
            changed = functions[function]
            code, said = forked(lambda writing: self._noticed(session, mutant, changed, order, runs, writing))
            if code != _NOT_CHANGED:
                if said:
                    self._noticing[function, int(said)] += 1
                return Tried(index, _outcome(code), len(order))
        more = [at for at, run in enumerate(runs) if run.touches(mutant.module) and at not in order]
        again = [(runs[at].id, runs[at].patience_s) for at in (*order, *more)]
        return Tried(index, "", len(again), again)

    def _order(self, mutant: Mutant, runs: Sequence[Run]) -> list[int]:
        """The tests that run the function: first what noticed others of its mutants, then what runs the line."""
        function = mutant.function
        if function is None:
            return []
        place = mutant.module, mutant.line
        if function not in self._calling:
            self._calling[function] = [at for at, run in enumerate(runs) if run.calls(function)]
        return sorted(
            self._calling[function],
            key=lambda at: (-self._noticing[function, at], place not in runs[at].lines, runs[at].seconds),
        )

    def _all(self, session: pytest.Session, writing: int) -> int:
        _quietly()
        runs = []
        self._lines.taken()
        began = time.monotonic()
        for item in _passing(session, session.items):
            runs.append(Run(item.nodeid, time.monotonic() - began, self._lines.taken()))
            began = time.monotonic()
        if session.testsfailed:
            return _NOTICED
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(runs))
        return _UNNOTICED

    def _noticed(
        self,
        session: pytest.Session,
        mutant: Mutant,
        changed: Sequence[FunctionType],
        order: Sequence[int],
        runs: Sequence[Run],
        writing: int,
    ) -> int:
        _quietly()
        if not _change(changed, mutant.code()):
            return _NOT_CHANGED
        passing = _passing(session, [session.items[at] for at in order])
        for at in order:
            signal.alarm(runs[at].patience_s)
            if next(passing, None) is None:
                os.write(writing, str(at).encode())
                return _NOTICED
        return _UNNOTICED


def _change(functions: Sequence[FunctionType], code: CodeType) -> bool:
    """Give functions another code; False where there are none, or where it closes over other names than theirs."""
    try:
        for function in functions:
            function.__code__ = code
    except ValueError:
        return False
    return bool(functions)


def _passing(session: pytest.Session, items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Run tests, one each time the next is asked for, until one fails; those that passed."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return
        yield item


def _functions_of(mutants: Sequence[Mutant]) -> dict[Function, list[FunctionType]]:
    """The objects that are the functions mutants change."""
    found: dict[Function, list[FunctionType]] = {each.function: [] for each in mutants if each.function is not None}
    places = {(str(ROOT / each.module), each.name, each.first): each for each in found}
    for one in gc.get_objects():
        if isinstance(one, FunctionType):
            code = one.__code__
            if function := places.get((code.co_filename, code.co_name, code.co_firstlineno)):
                found[function].append(one)
    return found


# --- what has to be imported anew ---


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module as a mutant."""

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
        exec(self._mutant.compiled(), vars(module))


class _Ordered:
    """A pytest plugin: runs these tests and no others, in this order, each for as long as it may take."""

    def __init__(self, tests: Sequence[tuple[str, int]]) -> None:
        self._places = {id_: place for place, (id_, _) in enumerate(tests)}
        self._patience_s = dict(tests)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Be patient for one more test."""
        signal.alarm(self._patience_s[item.nodeid])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places), key=lambda item: self._places[item.nodeid]
        )


def _anew(mutant: Mutant, tests: Sequence[tuple[str, int]], _: int) -> int:
    _quietly()
    signal.alarm(5 * PATIENCE_S)
    sys.meta_path.insert(0, _Changed(mutant))
    files = dict.fromkeys(id_.partition("::")[0] for id_, _ in tests)
    with tempfile.TemporaryDirectory() as folder:
        return int(pytest.main([*_OPTIONS, f"--basetemp={folder}/tests", *files], [_Ordered(tests)]))


def import_others(tests: Sequence[str]) -> None:
    """Import what the tests import and is not ours, so that no child has to."""
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


# --- all of it ---


def _in_session(mutants: Sequence[Mutant], tests: Sequence[str]) -> Iterator[Tried]:
    """What became of mutants, one after the other; runs in a child, as it imports our code."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _end(lambda to: _session(mutants, tests, to), writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        for _ in mutants:
            try:
                yield pickle.load(pipe)
            except EOFError:
                sys.exit("the tests could not be run")
    os.waitpid(child, 0)


def _session(mutants: Sequence[Mutant], tests: Sequence[str], writing: int) -> int:
    lines = Lines(sorted({mutant.module for mutant in mutants}))
    with tempfile.TemporaryDirectory() as folder:
        plugins: list[Any] = [Session(mutants, lines, writing)]
        return int(pytest.main([*_OPTIONS, f"--basetemp={folder}/tests", *tests], plugins))


def _survivors(mutants: Sequence[Mutant], tests: Sequence[str]) -> int:
    """Run mutants, print which survive and how all fared, module by module; how many survived."""
    counts: Counter[tuple[str, str]] = Counter()
    for tried in _in_session(mutants, tests):
        mutant = mutants[tried.index]
        outcome = tried.outcome
        if not outcome:
            code, _ = forked(partial(_anew, mutant, tried.again))
            outcome = _outcome(code)
        counts[mutant.module, outcome] += 1
        if outcome != "killed":
            print(f"{outcome}  {mutant.title}  ({tried.tests} tests)", flush=True)
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        said = ", ".join(f"{counts[module, what]} {what}" for what in ("killed", "for ever", "survived"))
        print(f"{module}: {said}", flush=True)
    return sum(count for (_, outcome), count in counts.items() if outcome == "survived")


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
    import_others(sorted({test for name in modules for test in MODULES[name]}))
    gc.freeze()
    survived = 0
    for tests in dict.fromkeys(tuple(MODULES[name]) for name in modules):
        together = [mutant for name in modules if tuple(MODULES[name]) == tests for mutant in chosen[name]]
        began = time.monotonic()
        survived += _survivors(together, tests)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
