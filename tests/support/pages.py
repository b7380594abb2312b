"""A page of the documentation, done as a reader would: its files are written, its commands run, its output compared.

    ```yaml                       a block whose first line is a comment with a path is that file
    # policies/orders-1.yaml
    ```
    ```console                    "$ " begins a command, the lines after it are what it prints
    $ claiim policy versions
    ```

A command ends with 0 unless the next one is `echo $?`. In what is printed `...` stands for anything, a line of it for
any number of lines; times are any time. A shortened id or digest (`act_01k2...wx`, `9c0f12ab...`) is any one the first
time, and the same one from then on, in commands too.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_SHORTENED = re.compile(r"\b([a-z]{3}_)[0-9a-z]+\.\.\.[0-9a-z]+|\b[0-9a-f]{8}\.\.\.")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?)?")
_SPECIAL = re.compile(rf"(?P<id>{_SHORTENED.pattern})|(?P<time>{_TIME.pattern})|(?P<any>\.\.\.)")
_COMMAND_S = 60


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, and what the page says it prints."""

    line: int
    text: str
    printed: str


def blocks(page: str) -> Iterator[tuple[Path, str] | Command]:
    """The files and the commands of a page, in its order."""
    for match in _BLOCK.finditer(page):
        language, text = match.groups()
        if language == "console":
            begin = page.count("\n", 0, match.start(2)) + 1
            yield from _commands(text, begin)
        elif named := _FILE.match(text):
            yield Path(named[1]), text


def _commands(text: str, begin: int) -> Iterator[Command]:
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(begin + start, lines[start].removeprefix("$ "), "\n".join(lines[start + 1 : end]))


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, as_written: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = dict(environ)
        self.exit_code = 0
        """Of the last command."""
        self._as_written = as_written
        """What stands on the page -> what it is here."""
        self._meant: dict[str, str] = {}

    def follow(self, page: str, background: Callable[[str], None]) -> None:
        """Do everything in its order; a command that ends with "&" is given to `background`."""
        todo = list(blocks(page))
        for step, after in zip(todo, [*todo[1:], None], strict=True):
            match step:
                case Command(text=text) if text.endswith(" &"):
                    background(text.removesuffix(" &"))
                case Command():
                    shown = isinstance(after, Command) and after.text == "echo $?"
                    self.run(step, exit_shown=shown)
                case (path, text):
                    (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (self.folder / path).write_text(self._here(text))

    def run(self, command: Command, *, exit_shown: bool) -> None:
        """Run one command and compare what it prints with what the page says."""
        done = subprocess.run(
            ["bash", "-c", f"(exit {self.exit_code}); {self._here(command.text)}"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S,
        )
        self.exit_code = done.returncode
        told = f"line {command.line}: {command.text}\n{done.stdout}"
        assert exit_shown or done.returncode == 0, f"{told}exit {done.returncode}"
        found = re.fullmatch(self._pattern(command.printed), done.stdout.strip())
        assert found, f"{told}-- the page says --\n{command.printed}"
        self._learn(command.printed, found)

    def meaning(self, shortened: str) -> str:
        """What a shortened id or digest of the page is here."""
        return self._meant[shortened]

    def _here(self, text: str) -> str:
        for written, here in self._as_written.items():
            text = text.replace(written, here)
        return _SHORTENED.sub(lambda match: self._meant.get(match[0], match[0]), text)

    def _pattern(self, printed: str) -> str:
        groups: dict[str, str] = {}
        lines = [self._line(line, groups) for line in printed.strip().splitlines()]
        # A line that says "anything" takes its line break with it, so that it may also stand for no line.
        text = re.sub(r"^\.\.\.\n", r"(?:.*\\n)*?", "\n".join(lines))
        return re.sub(r"\n\.\.\.(?=\n|$)", r"(?:\\n.*)*?", text)

    def _line(self, line: str, groups: dict[str, str]) -> str:
        if line.strip() == "...":
            return "..."
        line = self._here(line)
        parts, end = [], 0
        for match in _SPECIAL.finditer(line):
            parts += [re.escape(line[end : match.start()]), self._any(match, groups)]
            end = match.end()
        return re.sub(r"(?:\\ )+", r" +", "".join([*parts, re.escape(line[end:])]))

    def _any(self, match: re.Match[str], groups: dict[str, str]) -> str:
        if match["time"]:
            return _TIME.pattern
        if match["any"]:
            return ".*?"
        if match[0] in groups:
            return f"(?P={groups[match[0]]})"
        name = groups[match[0]] = f"id{len(groups)}"
        prefix = match[0].partition("_")[0] + "_" if "_" in match[0] else ""
        return f"(?P<{name}>{prefix}[0-9a-z]+)"

    def _learn(self, printed: str, found: re.Match[str]) -> None:
        unknown = [m[0] for m in _SHORTENED.finditer(printed) if m[0] not in self._meant]
        for number, shortened in enumerate(dict.fromkeys(unknown)):
            self._meant[shortened] = found[f"id{number}"]
