"""Forks one child for each job from a process that has imported everything, so that a thousand runs cost seconds.

A job is the arguments of `run` in a module beside this one. The answer is the child's exit code, minus the signal that
killed it; `BROKEN` when `run` raised, which is a fault of the test or a find.

    python -m support.torture.nursery small_gate        {"folder": "...", "workload": "single"}  ->  4711  ->  0
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROKEN = 70
_TESTS = Path(__file__).parents[2]


class Nursery:
    """The parent's side: one job at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._child = 0
        """That runs; 0 when none does."""

    def start(self, **job: Any) -> int:
        """Fork a child for the job; its process id."""
        self.clear()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._child = self._answer()
        return self._child

    def wait(self) -> int:
        """Block until the child has ended; its exit code."""
        self._child = 0
        return self._answer()

    def clear(self) -> None:
        """Kill the child that a failed test has left behind: it would be waited for, for ever."""
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self.wait()

    def run(self, **job: Any) -> int:
        """Do a job to its end; its exit code."""
        self.start(**job)
        return self.wait()

    @property
    def ended(self) -> int:
        """A descriptor that can be read once the child has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return int(line)


@contextmanager
def nursery(module: str, prefix: Sequence[str] = ()) -> Iterator[Nursery]:
    """A nursery for the jobs of a module, behind a command such as strace."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR", "HOME")}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "support.torture.nursery", module],
        env={**kept, "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        children = Nursery(process)
        try:
            yield children
        finally:
            children.clear()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _main(name: str) -> None:
    module = importlib.import_module(f"support.torture.{name}")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _be_born(module, json.loads(line))
        _answer(child)
        _answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _be_born(module: Any, job: dict[str, Any]) -> None:
    code = BROKEN
    try:
        os.dup2(2, 1)  # what a child prints must not look like an answer
        module.run(**job)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _main(sys.argv[1])
