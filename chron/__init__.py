"""The Chron: what happened, for good.

An append-only, hash-chained SQLite log: a record is on disk before its producer hears of it, and a changed
record shows. It knows nothing of agents, policies or requests; it writes down flat facts. It never changes,
drops or reorders a record, never guesses an outcome, and opens no socket but the one of this host on which gates that
share a log reach their writer (`chron.serving`, `chron.remote`).

Writing: `Chron`, signed with `Signing` and held to a `Head`. Reading: `find`, `tail`, `show`, `seen`, `scan`,
`kept_text`, `kept_texts`, `people`, `open_reader`, and `RuleTexts` and `rules_made_of`: which texts decided. Proof:
`verify` of a log, with what is `Known` of it elsewhere; `prove` and `check` of one record. Before writing:
`redacted_path`, `redacted_text`. Of what went: `why_gone`; before it goes: `why_needed`.
"""

import importlib
from typing import TYPE_CHECKING

from chron.errors import ChronError, FilterError
from chron.printable import printable
from chron.redact import redacted_path, redacted_text

if TYPE_CHECKING:
    from chron.batch import Receipt
    from chron.checkpoints import Cadence, Head, Signing
    from chron.emptied import why_gone, why_needed
    from chron.kept import kept_text
    from chron.log import Chron
    from chron.notes import NewestNotes, last_note, parse_note, parse_vkey
    from chron.persons import people
    from chron.proofs import Proven, check, prove
    from chron.reading import Record, Shown, find, follow, is_there, open_reader, seen, show, tail
    from chron.ruletexts import RuleTexts, TextLine, rules_made_of
    from chron.scanning import erased, kept_texts, scan
    from chron.signing import make_key
    from chron.sources import Source, on_server, source_of
    from chron.verification import Known, Verification, verify

_HOMES = {
    "Cadence": "chron.checkpoints",
    "Chron": "chron.log",
    "Head": "chron.checkpoints",
    "Known": "chron.verification",
    "Proven": "chron.proofs",
    "Receipt": "chron.batch",
    "Record": "chron.reading",
    "RuleTexts": "chron.ruletexts",
    "Shown": "chron.reading",
    "Signing": "chron.checkpoints",
    "Source": "chron.sources",
    "TextLine": "chron.ruletexts",
    "check": "chron.proofs",
    "find": "chron.reading",
    "is_there": "chron.reading",
    "erased": "chron.scanning",
    "follow": "chron.reading",
    "kept_texts": "chron.scanning",
    "kept_text": "chron.kept",
    "NewestNotes": "chron.notes",
    "last_note": "chron.notes",
    "make_key": "chron.signing",
    "parse_note": "chron.notes",
    "parse_vkey": "chron.notes",
    "prove": "chron.proofs",
    "on_server": "chron.sources",
    "open_reader": "chron.reading",
    "people": "chron.persons",
    "rules_made_of": "chron.ruletexts",
    "scan": "chron.scanning",
    "seen": "chron.reading",
    "show": "chron.reading",
    "source_of": "chron.sources",
    "tail": "chron.reading",
    "why_gone": "chron.emptied",
    "why_needed": "chron.emptied",
    "Verification": "chron.verification",
    "verify": "chron.verification",
}
"""Imported on first use: looking at a log must not cost the start of an event loop and a writer (0.2 s)."""

__all__ = [
    "Cadence",
    "Chron",
    "ChronError",
    "FilterError",
    "Head",
    "Known",
    "NewestNotes",
    "Proven",
    "Receipt",
    "Record",
    "RuleTexts",
    "Shown",
    "Signing",
    "Source",
    "TextLine",
    "Verification",
    "check",
    "erased",
    "find",
    "follow",
    "is_there",
    "kept_text",
    "kept_texts",
    "last_note",
    "make_key",
    "on_server",
    "open_reader",
    "parse_note",
    "parse_vkey",
    "people",
    "printable",
    "prove",
    "redacted_path",
    "redacted_text",
    "rules_made_of",
    "scan",
    "seen",
    "show",
    "source_of",
    "tail",
    "verify",
    "why_gone",
    "why_needed",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module "chron" has no name "{name}"')
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
