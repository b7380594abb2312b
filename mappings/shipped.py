"""The YAML files that came with the gate, read no further than somebody needs them.

All of each text is evidence, so its digest is taken when the mappings are loaded; what stands before its
``operations`` and ``rules`` says which hosts it is for. The rest is read and compiled when the first request for the
family comes, and kept: an agent that only pushes to git never waits for the rules of AWS. A file that turns out
to be wrong makes every request to its hosts unreadable, which is a refusal; the tests read all of them in full.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mappings.compile import compile_pack
from mappings.compiled import RuleSet
from mappings.documents import canonical_text, read_document
from mappings.places import Document, PackError
from mappings.routepack import RouteList

SHIPPED = Path(__file__).parent / "packs"

_BODY = re.compile(r"^(?:operations|rules):", re.MULTILINE)


class ShippedFile:
    """One of the files."""

    def __init__(self, path: Path) -> None:
        self.source = f"pack:{path.stem}"
        self.text = canonical_text(path.read_text("utf-8"))
        head = _BODY.split(self.text, maxsplit=1)[0]
        value: Any = read_document(head, self.source, error=PackError).value
        self.name: str = value["pack"]
        self.family: str = value.get("family") or self.name
        self.hosts: tuple[str, ...] = tuple(value.get("hosts", ()))

    @property
    def unread(self) -> Document:
        """The file as evidence, without its values."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return Document(self.source, self.text, digest, None, {}, {})

    @cached_property
    def document(self) -> Document:
        """The file, read in full."""
        return read_document(self.text, self.source, error=PackError)

    @cached_property
    def _compiled(self) -> tuple[RouteList, RuleSet]:
        return compile_pack(self.document)

    def routes(self) -> RouteList:
        """Return the route table; raises PackError when the file is wrong."""
        return self._compiled[0]

    def rules(self) -> RuleSet:
        """Return the rules; raises PackError when the file is wrong."""
        return self._compiled[1]


@cache
def shipped_files() -> tuple[ShippedFile, ...]:
    """Return the files, sorted by name."""
    return tuple(ShippedFile(path) for path in sorted(SHIPPED.glob("*.yaml")))
