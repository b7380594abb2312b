"""Commands of ours as processes that need not import anything: forked from one that has imported everything.

A start of `claiim serve` is a second of importing. Here one process does that once (`support.forking`); a command is
then a fork of it, with its own arguments, folder, environment and standard streams, and ends as any process does: by
itself, by a signal, or because nobody waits for it any more. What an import does, only a real start shows: those of
tests/proxy/test_serve.py, test_cli_main.py and tests/packaging; with CLAIIM_TORTURE=1 every start is one, and so is one
from inside a network namespace, which what is forked elsewhere would not be in.

    start("serve", folder=..., environ=...)          a process to watch and to send signals to
    subprocess.run([launcher(), "agent", "list"])    a command to its end, for Python and for shells
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

from support.torture.numbers import TORTURE

_TESTS = Path(__file__).resolve().parents[1]
_NETWORK = Path("/proc/thread-self/ns/net")
_SERVE = "import sys; from support.forking import serve; serve(sys.argv[1])"
_LAUNCHER = """\
#!{python} -IS
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as way:
    way.connect({place!r})
    asked = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    asked = repr(asked).encode(errors="surrogateescape") + b"\\0"
    way.sendall(asked[socket.send_fds(way, [asked], [0, 1, 2]):])
    with way.makefile() as answers:
        answers.readline()
        code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class _Nest:
    """The process that forks, and its folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="claiim-")
        self.place = str(Path(self._folder.name) / "nest")
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "HOME")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, self.place],
            env={**kept, "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent)))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        launcher = Path(self._folder.name) / "bin" / "claiim"
        launcher.parent.mkdir()
        launcher.write_text(_LAUNCHER.format(python=sys.executable, place=self.place))
        launcher.chmod(0o755)
        self.launcher = launcher

    def end(self) -> None:
        """Kill what is left."""
        with self._process, contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()


@cache
def _nest() -> _Nest:
    return _Nest()


def _network() -> str:
    """The network namespace of this thread, where there are any."""
    return str(_NETWORK.readlink()) if _NETWORK.is_symlink() else ""


_HOME = _network()


def _real() -> bool:
    """Whether commands have to be started, since forks of them would not be the same."""
    return TORTURE or _network() != _HOME


def end() -> None:
    """End the process that forks, if there is one: at the end of the run."""
    if _nest.cache_info().currsize:
        _nest().end()
        _nest.cache_clear()


def launcher() -> str:
    """The `claiim` to run: its folder may stand in PATH."""
    return str(Path(sys.executable).with_name("claiim") if _real() else _nest().launcher)


def start(
    *arguments: str, folder: Path, environ: Mapping[str, str], prefix: Sequence[str] = (), anew: bool = False
) -> "Forked | subprocess.Popen[str]":
    """Start a command that only its stderr and its end are wanted of; `anew`, or behind a prefix, by a real start."""
    if not (anew or prefix or _real()):
        return Forked(arguments, folder, environ)
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "claiim_gate", *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Forked:
    """A command as `subprocess.Popen` has them: its stderr is a text stream, it has neither stdin nor stdout."""

    def __init__(self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        heard, said = os.pipe()
        self.stderr: TextIO = open(heard, encoding="utf-8")  # noqa: PTH123, SIM115 -- the caller's to close
        self.returncode: int | None = None
        self._way = socket.socket(socket.AF_UNIX)
        with open(os.devnull, "r+") as nothing:  # noqa: PTH123
            self._way.connect(_nest().place)
            asked = repr([list(arguments), str(folder), dict(environ)]).encode() + b"\0"
            sent = socket.send_fds(self._way, [asked], [nothing.fileno(), nothing.fileno(), said])
            self._way.sendall(asked[sent:])
        os.close(said)
        self._answers = self._way.makefile("rb", buffering=0)
        self.pid = self._answer(None)

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Block until it has ended; its exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = self._answer(timeout)
            self._answers.close()
            self._way.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send TERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL."""
        self.send_signal(signal.SIGKILL)

    def _answer(self, timeout: float | None) -> int:
        readable, _, _ = select.select([self._answers], [], [], timeout)
        if not readable:
            raise subprocess.TimeoutExpired("claiim", timeout or 0)
        line = self._answers.readline()
        assert line, "the process that forks has died"
        return int(line)
