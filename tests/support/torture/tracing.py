"""strace: a call that fails, a process that dies at a call, and a recording of what went to the disk.

Its counters are per thread (strace(1), "when="), so a child that makes empty calls first decides in which
of its threads, and at which call, the fault strikes.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

STRIKES_AT = 600
"""The call of a thread that fails; more than any thread of the small gate makes by itself."""

_STRACE = ("strace", "-f", "-qq")
_FAST = "--seccomp-bpf"
"""Only traced calls stop the process. With it strace 6.1 injects errors, but no signals."""

WRITES = ("pwrite64", "ftruncate", "unlink")
SYNCS = ("fdatasync", "fsync")
READS = ("pread64",)
CALLS = (*WRITES, *SYNCS, *READS)


@cache
def forbidden() -> bool:
    """Whether strace is here and may not trace, as in a container without ptrace: no installation mends that."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode != 0


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens at the call that is counted to: an error as errno names it, or SIGKILL."""

    error: str
    for_ever: bool = False
    """At every call from there on."""

    def __str__(self) -> str:
        return f"{self.error}{' for ever' if self.for_ever else ''}"

    def command(self) -> tuple[str, ...]:
        """The tracer that makes it happen at any of the calls, to stand before a command."""
        kind = f"signal={self.error}" if self.error == "SIGKILL" else f"error={self.error}"
        when = f"{STRIKES_AT}{'+' if self.for_ever else ''}"
        injected = [("-e", f"inject={call}:{kind}:when={when}") for call in CALLS]
        fast = () if self.error == "SIGKILL" else (_FAST,)
        return (*_STRACE, *fast, "-o", "/dev/null", "-e", f"trace={','.join(CALLS)}", *chain(*injected))


def recorder(output: Path, calls: Sequence[str]) -> tuple[str, ...]:
    """The tracer that writes down calls with all their bytes, to stand before a command."""
    shown = ("-y", "-xx", "-s", "1000000")
    return (*_STRACE, _FAST, *shown, "-e", f"trace={','.join(calls)}", "-o", str(output))


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded, at the moment it ended."""

    thread: int
    name: str
    arguments: tuple[str | bytes | int, ...]
    """A string is the path behind a descriptor; bytes are bytes."""
    result: str


_LINE = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)\n?")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*)")
_ARGUMENT = re.compile(r'\d+<(?P<path>[^>]*)>|AT_FDCWD(?:<[^>]*>)?|"(?P<bytes>[^"]*)"|(?P<number>-?\d+)|[\w|]+')


def read_calls(recording: Path) -> list[Call]:
    """The calls of a recording, in the order in which they ended."""
    calls: list[Call] = []
    begun: dict[str, str] = {}
    with recording.open() as lines:
        for line in lines:
            if (found := _LINE.fullmatch(line)) is None:
                continue
            thread, rest = found["thread"], found["rest"]
            if rest.endswith(_UNFINISHED):
                begun[thread] = rest.removesuffix(_UNFINISHED)
                continue
            if resumed := _RESUMED.match(rest):
                rest = begun.pop(thread) + rest[resumed.end() :]
            if (call := _CALL.fullmatch(rest)) and not call["result"].startswith("-1"):
                arguments = tuple(_argument(each) for each in _ARGUMENT.finditer(call["arguments"]))
                calls.append(Call(int(thread), call["name"], arguments, call["result"]))
    return calls


def _argument(found: re.Match[str]) -> str | bytes | int:
    if found["path"] is not None:
        return _unescaped(found["path"]).decode()
    if found["bytes"] is not None:
        return _unescaped(found["bytes"])
    return int(found["number"]) if found["number"] else found[0]


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
