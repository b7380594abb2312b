"""The Chron: what happened, for good.

An append-only, hash-chained SQLite log: a record is on disk before its producer hears of it, and a changed
record shows. It knows nothing of agents, policies or requests; it writes down flat facts. It never changes,
drops or reorders a record, never guesses an outcome, and opens no socket.

Writing: `Chron`. Reading: `find`, `tail`, `show`, `seen`, `scan`, `kept_text`, `kept_texts`,
`open_reader`. Proof: `verify`. Before writing: `redacted_path`, `redacted_text`.
"""

import importlib
from typing import TYPE_CHECKING

from chron.errors import ChronError, FilterError
from chron.printable import printable
from chron.redact import redacted_path, redacted_text

if TYPE_CHECKING:
    from chron.batch import Receipt
    from chron.kept import kept_text
    from chron.log import Chron
    from chron.reading import Record, Shown, TextLine, find, follow, open_reader, seen, show, tail
    from chron.scanning import erased, kept_texts, scan
    from chron.verification import Verification, verify

_HOMES = {
    "Chron": "chron.log",
    "Receipt": "chron.batch",
    "Record": "chron.reading",
    "Shown": "chron.reading",
    "TextLine": "chron.reading",
    "find": "chron.reading",
    "erased": "chron.scanning",
    "follow": "chron.reading",
    "kept_texts": "chron.scanning",
    "kept_text": "chron.kept",
    "open_reader": "chron.reading",
    "scan": "chron.scanning",
    "seen": "chron.reading",
    "show": "chron.reading",
    "tail": "chron.reading",
    "Verification": "chron.verification",
    "verify": "chron.verification",
}
"""Imported on first use: looking at a log must not cost the start of an event loop and a writer (0.2 s)."""

__all__ = [
    "Chron",
    "ChronError",
    "FilterError",
    "Receipt",
    "Record",
    "Shown",
    "TextLine",
    "Verification",
    "erased",
    "find",
    "follow",
    "kept_text",
    "kept_texts",
    "open_reader",
    "printable",
    "redacted_path",
    "redacted_text",
    "scan",
    "seen",
    "show",
    "tail",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module "chron" has no name "{name}"')
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
