"""One harness, the list of them, and the rows of its corpus.

A corpus is a text file, one input a line, so that it can be read and added to by hand:

    # why the rows below are there
    /a/%7Euser?q=%2f
    \xff\x00 and a backslash \\ and two\nlines

Only what cannot stand in such a line is escaped; ``#`` at the start is written ``\x23``.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CORPORA = Path(__file__).parents[2] / "fuzz" / "corpus"
RAISED_BY = "raised by: "
"""Before the input, as a row, in what a fuzzing process says of a finding."""
_MODULES = ("addresses", "rules", "texts", "bodies", "packs", "queries", "records", "wires", "multiplexed")


@dataclass(frozen=True, slots=True)
class Harness:
    """What is fed, and what must hold."""

    name: str
    run: Callable[[bytes], object]
    """Reads the input and raises for a finding: AssertionError, or whatever should never leave the code under test."""
    words: tuple[bytes, ...] = ()
    """Pieces that mean something to the reader, for a fuzzer to put in."""
    max_bytes: int = 2048
    """Longer inputs find nothing that shorter ones do not, and are slow."""

    @property
    def corpus(self) -> Path:
        """Its rows."""
        return CORPORA / f"{self.name}.txt"

    def rows(self) -> list[bytes]:
        """The inputs of its corpus."""
        return read_rows(self.corpus.read_text("ascii"))


@cache
def harnesses() -> dict[str, Harness]:
    """Every harness by name; importing them takes a second."""
    modules = (importlib.import_module(f"support.fuzzing.{name}") for name in _MODULES)
    return {harness.name: harness for module in modules for harness in module.HARNESSES}


def read_rows(text: str) -> list[bytes]:
    """The inputs of a corpus file; ValueError when a line is not written as `written` would."""
    return [_unescaped(line) for line in text.split("\n") if line and not line.startswith("# ")]


def written(row: bytes) -> str:
    """One input as a line."""
    text = "".join(_CHARACTERS.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in row)
    text = "\\x23" + text[1:] if text.startswith("#") else text
    # An empty line is no row, and editors take blanks off the end of one.
    return text[:-1] + "\\x20" if text.endswith(" ") else text or "\\e"


_CHARACTERS = {0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_ESCAPES = {"\\\\": b"\\", "\\n": b"\n", "\\r": b"\r", "\\t": b"\t", "\\e": b""}


def _unescaped(line: str) -> bytes:
    pieces = re.findall(r"\\x[0-9a-f]{2}|\\[\\nrte]|[^\\]+|\\", line)
    if "\\" in pieces:
        raise ValueError(f"a backslash that starts no escape: {line!r}")
    return b"".join(
        _ESCAPES.get(piece) or (bytes([int(piece[2:], 16)]) if piece.startswith("\\x") else piece.encode("ascii"))
        if piece != "\\e"
        else b""
        for piece in pieces
    )


def refusal(error: Exception, shape: str = "") -> str:
    """What a refusal is called: its code or "refused". Its text is one line; its code, else its text, has a shape."""
    message, code = str(error), getattr(error, "code", "")
    assert message
    assert "\n" not in message
    assert message.isprintable() or not code
    assert not shape or re.fullmatch(shape, code or message), message
    return str(code) or "refused"


def text_of(data: bytes) -> str:
    """An input as text, in which every code point but half of a pair can come; bad bytes come as U+FFFD."""
    return data.decode("utf-8", "replace")


def lines_of(data: bytes, most: int) -> list[str]:
    """The first lines of an input, for harnesses that take several texts."""
    return text_of(data).split("\n")[:most]
