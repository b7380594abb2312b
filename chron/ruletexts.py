"""Which kept texts made the rules that a decision names, and which of them decided it.

A decision says the digest of the rules that it was made by, in its own hashed body. The manifest that lists the texts
of these rules is kept beside them, and the digest follows from it: so no record of a load has to be believed, and a
text that was kept under the same name and version and is another one is never taken for it.

    mappings    ID DIGEST                             a line each, sorted; indexes of catalogues too
    policies    KIND ID VERSION DIGEST                a line each, in the order of the manifest
                in force KIND ID VERSION              sorted
                never activated KIND DIGEST           sorted
    narrowed    narrowed, POLICIES, DIGEST            three lines, for each registry that took something away
    rules       MAPPINGS, POLICIES or NARROWED        two lines

A name in capitals on the right is the SHA-256 of what stands beside it on the left, in hexadecimal digits.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from chron import schema
from chron.sources import Connection, Source

if TYPE_CHECKING:
    from chron.reading import Record

MANIFEST = "rules"
"""The kind that the list of the texts of a set of rules is kept as."""
_TEXT_AROUND_LINES = 2
_NAMED = f"""SELECT text FROM artefact WHERE kind = ? AND digest IN (
  SELECT body->>'$.manifest' FROM chron
  WHERE kind = 'policy' AND {schema.SELDOM} AND body->>'$.rules_digest' = ? ORDER BY seq DESC LIMIT 1)"""  # noqa: S608 -- all texts are ours

type TextName = tuple[str, str, str]
"""Kind, id and version as they are kept: the version of a mapping is ""."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """Where in a kept text the decision came from."""

    kind: str
    id: str
    version: str
    digest: str
    place: str
    """As the record names it, e.g. "policies/no-prod.yaml:7:5"; "" when no single line decided."""
    line: int
    """Counted from 1; 0 when no single line decided."""
    lines: tuple[tuple[int, str], ...]
    """The deciding line with its neighbours, or the whole text when it is not one line."""


class RuleTexts:
    """Finds the texts that records name, the list of each set of rules read once. Blocks on the disk."""

    def __init__(self, path: Source) -> None:
        self._path = path
        self._known: dict[str, Mapping[TextName, str]] = {}

    def of(self, rules_digest: str) -> Mapping[TextName, str]:
        """Return the digest of each text that rules were made of; none when the Chron does not have their list."""
        if rules_digest not in self._known:
            from chron.reading import connect  # which reads by this module

            with closing(connect(self._path)) as connection:
                self._known[rules_digest] = _texts_of(connection, rules_digest)
        return self._known[rules_digest]

    def digest(self, fields: Mapping[str, object], kind: str) -> str:
        """Return the digest of the policy, skill or mapping text that a record names; "" where it cannot be told."""
        return _digest_named(fields, kind, self.of)


def rules_made_of(manifest: str) -> str:
    """Return the digest of the rules that the texts in a manifest make; "" for one that cannot be read."""
    try:
        return _digest(json.loads(manifest))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""


def mapping_of(place: str) -> str:
    """Return the id of the mapping text that a place stands in: "pack:github" of "pack:github:30:5"."""
    return place.rsplit(":", 2)[0]


def deciding(connection: Connection, record: "Record") -> Iterator[TextLine]:
    """Yield the texts that decided a record, as far as they are kept."""
    by = "skill" if record.text("code").startswith("skill") or not record.text("policy") else "policy"
    places = {"policy": "", "skill": "", by: record.text("rule"), "mapping": record.text("mapping_place")}
    # The same text may be the mapping of two files.
    statement = "SELECT id, version, text FROM artefact WHERE kind = ? AND digest = ? ORDER BY id <> ?, seq LIMIT 1"
    texts_of = cache(partial(_texts_of, connection))
    for kind, place in places.items():
        if digest := _digest_named(record.fields, kind, texts_of):
            named = _name(record.fields, kind)[1]
            for id_, version, text in connection.execute(statement, (kind, digest, named)).fetchall():
                line = _line_of(place)
                yield TextLine(kind, id_, version, digest, place, line, _lines(text, line))


def _digest_named(fields: Mapping[str, object], kind: str, texts_of: Callable[[str], Mapping[TextName, str]]) -> str:
    if own := fields.get(f"{kind}_digest"):  # which records had until 0.1.0
        return str(own)
    name = _name(fields, kind)
    return texts_of(str(fields.get("rules_digest", ""))).get(name, "") if name[1] else ""


def _name(fields: Mapping[str, object], kind: str) -> TextName:
    if kind == "mapping":
        return kind, mapping_of(str(fields.get("mapping_place", ""))), ""
    return kind, str(fields.get(kind, "")), str(fields.get(f"{kind}_version", ""))


def _texts_of(connection: Connection, rules_digest: str) -> Mapping[TextName, str]:
    if rules_digest:
        for manifest in _manifests(connection, rules_digest):
            if rules_made_of(manifest) == rules_digest:
                return _listed(json.loads(manifest))
    return {}


def _manifests(connection: Connection, rules_digest: str) -> Iterator[str]:
    """Yield the manifests that may be of these rules: first the one that a record names, and then all there are."""
    yield from (manifest for (manifest,) in connection.execute(_NAMED, (MANIFEST, rules_digest)).fetchall())
    # A segment has the texts that were kept before it, and no records of their loads.
    statement = "SELECT text FROM artefact WHERE kind = ? ORDER BY seq DESC"
    yield from (manifest for (manifest,) in connection.execute(statement, (MANIFEST,)).fetchall())


def _listed(content: Mapping[str, Any]) -> Mapping[TextName, str]:
    mappings: dict[TextName, str] = {("mapping", id_, ""): digest for id_, digest in content["mappings"]}
    texts = {(text["kind"], text["id"], _version(text)): text["digest"] for text in content["texts"]}
    return {**mappings, **texts}


def _digest(content: Mapping[str, Any]) -> str:
    mappings = _sha256(sorted(f"{id_} {digest}" for id_, digest in content["mappings"]))
    texts = content["texts"]
    lines = [f"{text['kind']} {text['id']} {_version(text)} {text['digest']}" for text in texts]
    lines += sorted(f"in force {text['kind']} {text['id']} {text['version']}" for text in texts if text["in_force"])
    lines += sorted(f"never activated {text['kind']} {text['digest']}" for text in texts if not text["usable"])
    policies = _sha256(lines)
    for registry in content.get("narrowed_by", ()):
        policies = _sha256(["narrowed", policies, registry["digest"]])
    return _sha256([mappings, policies])


def _sha256(lines: Iterable[str]) -> str:
    # The name of a file need not be Unicode.
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _version(text: Mapping[str, Any]) -> str:
    return str(text["version"] or "")


def _line_of(place: str) -> int:
    parts = place.rsplit(":", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0


def _lines(text: str, line: int) -> tuple[tuple[int, str], ...]:
    numbered = tuple(enumerate(text.split("\n"), start=1))
    if not line:
        return numbered
    return numbered[max(0, line - 1 - _TEXT_AROUND_LINES) : line + _TEXT_AROUND_LINES]
