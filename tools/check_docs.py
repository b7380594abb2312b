"""Check what can be checked of the documentation without running it; print every fault, exit 1 if any.

For every Markdown file of the repository:
- a relative link leads to a file that exists, and its #fragment to a heading there;
- a `python` block compiles, a `yaml` block is YAML, a `json` block JSON, a `sh` block passes `bash -n`;
- a `sh` line that starts with `make` or `claiim` names a target or a command that exists.

Run as `python tools/check_docs.py`, from anywhere.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".venv", ".catalogues", ".clients", ".git", "node_modules", ".pytest_cache", ".hypothesis"}

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def documents() -> Iterator[Path]:
    """Every Markdown file that is ours."""
    for path in sorted(ROOT.rglob("*.md")):
        if not SKIPPED.intersection(path.relative_to(ROOT).parts):
            yield path


def faults(path: Path) -> Iterator[str]:
    """Every fault of one file as `file:line: message`."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    for match in _BLOCK.finditer(text):
        for message in block_faults(match[1], match[2]):
            yield f"{name}:{line_of(text, match.start())}: {message}"
    prose = _BLOCK.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _LINK.finditer(prose):
        if message := link_fault(path, match[1]):
            yield f"{name}:{line_of(prose, match.start())}: {message}"


def line_of(text: str, position: int) -> int:
    """The line number of a position, from 1."""
    return text.count("\n", 0, position) + 1


def block_faults(language: str, code: str) -> Iterator[str]:
    """What is wrong with one code block."""
    try:
        match language:
            case "python":
                compile(code, "block", "exec")
            case "yaml":
                yaml.safe_load(code)
            case "json":
                json.loads(code)
            case "sh":
                done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True)
                if done.returncode:
                    yield f"not a shell script: {done.stderr.strip()}"
                yield from command_faults(code)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        yield f"not {language}: {error}"


def command_faults(code: str) -> Iterator[str]:
    """Which `make` targets and `claiim` commands of a shell block do not exist."""
    known = {"make": set(targets()), "claiim": set(commands())}
    for program, word in re.findall(r"^(?:\$ )?(make|claiim) ([a-z][\w-]*)", code, re.MULTILINE):
        if word not in known[program]:
            yield f'there is no "{program} {word}"'


def targets() -> list[str]:
    """The targets of the Makefile."""
    return re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def commands() -> list[str]:
    """The commands of the gate that can really be imported."""
    sys.path.insert(0, str(ROOT))
    import importlib.util

    from proxy.cli.main import COMMANDS

    modules = {name: place.partition(":")[0] for name, (place, _) in COMMANDS.items()}
    return [name for name, module in modules.items() if importlib.util.find_spec(module)]


def link_fault(path: Path, link: str) -> str:
    """What is wrong with one link, or an empty text."""
    if re.match(r"[a-z]+:", link):
        return ""  # addresses elsewhere are not visited
    file, _, fragment = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.exists():
        return f'"{link}" leads nowhere'
    if fragment and fragment not in anchors(target):
        return f'"{link}": no such heading'
    return ""


def anchors(path: Path) -> set[str]:
    """The fragments that the headings of a file have."""
    if path.suffix != ".md":
        return set()
    headings = _HEADING.findall(_BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def main() -> None:
    """Check every document."""
    found = [fault for path in documents() for fault in faults(path)]
    print("\n".join(found) or f"{sum(1 for _ in documents())} documents, no faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
