"""The text of a registry as it is kept for good: without the names of its humans, and without tokens.

A kept text is part of the log and stays when a person has to be forgotten, so it says ids alone. Lines stay where they
are, because records name them. What somebody wrote into a comment stays too.
"""

import hashlib
import re
from collections.abc import Iterable

from mappings.documents import Document
from policies.schema import REMOVED_TOKEN, AgentsFile
from policies.values import Text

_DIGEST = re.compile(r"\b(?<!cert-sha256:)[0-9a-f]{64}\b")
_TOKEN = re.compile(r"cl[mh]_[A-Za-z0-9_-]{16,}")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_BLOCK_HEADER = r"(?:[|>][-+0-9]*\s+)?"  # YAML 1.2.2, 8.1.1


def registry_text(document: Document, file: AgentsFile, *, kept: bool) -> Text:
    """Return a registry's text as it is kept; a `kept` one stays as it is, whatever is taken out of one today."""
    text = document.text if kept else _to_keep(document, file)
    return Text("agents", "agents", "", hashlib.sha256(text.encode()).hexdigest(), text, document.source)


def _to_keep(document: Document, file: AgentsFile) -> str:
    nameless = without_names(document, ((index, entry.name) for index, entry in enumerate(file.humans)))
    return _TOKEN.sub(REMOVED_TOKEN, _DIGEST.sub(REMOVED_TOKEN, nameless))


def without_names(document: Document, names: Iterable[tuple[int, str]]) -> str:
    """Return the text with the names, each of the human at an index, taken out."""
    lines = document.text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    parts, done = list[str](), 0
    places = [(document.place(["humans", index, "name"]), name) for index, name in names if name]
    for start, name in sorted((starts[place.line - 1] + place.column - 1, name) for place, name in places):
        # Plain or in a block, it may go over several lines.
        words = r"\s+".join(map(re.escape, name.split()))
        written = _QUOTED.match(document.text, start) or re.compile(_BLOCK_HEADER + words).match(document.text, start)
        if written is not None:
            parts += [document.text[done:start], "''", "\n" * written[0].count("\n")]
            done = written.end()
    return "".join([*parts, document.text[done:]])
