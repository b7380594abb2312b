"""The strict YAML reader: text in, plain values with a place for each, or every fault at once.

It decides what counts as a document (mappings, skills, policies, agents, configuration all go through here);
it never guesses what the writer meant, never reads a file and never builds anything but
``dict``, ``list``, ``str``, ``int``, ``bool`` and ``None``.

The accepted language is a subset of YAML on which all YAML readers agree:

    key: value            keys are text and stand once per mapping
    key: true | false     the only boolean words
    key: 12               decimal integers of at most 15 digits
    key: null | ~         or nothing at all
    key: "1.10"           everything else that some reader would turn into a number, date or boolean is quoted

Refused, each with its place (three of many):

    skills/a.yaml:2:6: "*" cannot start a plain text; quote it
    skills/a.yaml:3:1: key "allow" stands twice (first on line 1); keep one
    mappings/site.yaml:2:12: 1.10 would be read as a number; quote it

The digest of a document is the SHA-256 of its canonical text (`canonical_text`), which is also the text
that is parsed: what is kept as evidence is what was obeyed.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Iterator

import yaml

from mappings.places import Document, DocumentError, Fault, PackError, Path, Place, one_line, shown

if typing.TYPE_CHECKING:
    import pydantic

__all__ = [
    "Document",
    "DocumentError",
    "Fault",
    "PackError",
    "Place",
    "canonical_text",
    "parse",
    "read_document",
]

MAX_TEXT_CHARS = 1 << 20
"""One document; the largest shipped pack is far below."""
MAX_DEPTH = 32
MAX_NODES = 100_000

# Unseen by a reviewer, obeyed by a parser: NEL, LINE and PARAGRAPH SEPARATOR end a line in YAML 1.1
# (https://yaml.org/spec/1.1/ section 5.4), bidirectional controls reorder what is shown (CVE-2021-42574).
_INVISIBLE = re.compile("[\u0085\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# Reachable by escapes in quotes; nothing that holds one can be written to a log.
_HALF = re.compile("[\ud800-\udfff]")

# Plain scalars that some YAML 1.1 or 1.2 reader takes for something other than text
# (https://yaml.org/type/ and https://yaml.org/spec/1.2.2/ section 10.3.2).
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
# "y" and "n" are on the list of YAML 1.1 too, but no reader in use takes them for booleans.
_BOOLEAN_WORDS = frozenset({"yes", "no", "on", "off", "true", "false"})
# Some leave out every "_" behind the first character (ruamel.yaml, go-yaml) and take capitals for a base (go-yaml).
# "*+" gives nothing back: without it a long row of "_" takes time with the square of its length.
_NUMBER = re.compile(
    r"(?!_)[-+]?(?:_*+0_*+(?:[xX][0-9a-fA-F_]+|[oO]?[0-7_]+|[bB][01_]+)"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|(?:[0-9_]+(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE]_*+[-+]?_*+[0-9][0-9_]*)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?")


def canonical_text(text: str) -> str:
    """Return `text` with LF line ends, without a BOM at its start or trailing blanks, and with one final newline."""
    # Of two none is taken off: the text would lose the other one when it is read again. Such a text is refused.
    text = text if text.startswith("\ufeff\ufeff") else text.removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).rstrip("\n") + "\n"


def read_document(
    text: str, source: str, *, error: type[DocumentError] = DocumentError, times_larger: int = 1
) -> Document:
    """Return the one document in `text`; raise `error` with every fault found.

    `times_larger` widens the limits of size for what no hand writes, such as a registry of thousands of agents.
    """
    canonical = canonical_text(text)
    reader = _Reader(source, MAX_NODES * times_larger)
    most_chars = MAX_TEXT_CHARS * times_larger
    if len(canonical) > most_chars:
        raise error([Fault(Place(source, 1, 1), f"larger than {most_chars} characters; split the file")])
    reader.look_for_invisible(canonical)
    if not reader.faults:
        reader.read(canonical)
    if reader.faults:
        raise error(reader.faults)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Document(source, canonical, digest, reader.value, reader.places, reader.keys)


def parse[M: pydantic.BaseModel](
    document: Document, model: type[M], *, error: type[DocumentError] = DocumentError
) -> M:
    """Return the document as a `model` instance; raise `error` with every fault, each at its place."""
    # Here, because reading a document and catching its faults must not cost the start of pydantic (0.1 s).
    import pydantic

    from mappings.invalid import located

    if document.value is None:
        raise error([Fault(document.place(), "the file is empty")])
    try:
        # Through JSON, because there a strict model takes a list for a tuple and a word for an enum, and
        # still no "1" for 1. Everything the reader builds is JSON, so nothing is lost on the way.
        return model.model_validate_json(json.dumps(document.value))
    except pydantic.ValidationError as invalid:
        raise error(located(document, model, invalid)) from None


# What an alias or anchor without a name was probably meant to be: a pattern.
_SIGNS = {"while scanning an alias": "*", "while scanning an anchor": "&"}

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Builds values from parser events, where anchors, tags and duplicate keys have not vanished yet."""

    def __init__(self, source: str, most_nodes: int) -> None:
        self.source = source
        self.most_nodes = most_nodes
        self.value: object = None
        self.faults: list[Fault] = []
        self.places: dict[Path, Place] = {(): Place(source, 1, 1)}
        self.keys: dict[Path, Place] = {}
        self.nodes = 0

    def look_for_invisible(self, text: str) -> None:
        for found in _INVISIBLE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
            self._fault(
                Place(self.source, line, column),
                f"character U+{ord(found.group()):04X} is invisible but changes what is read; remove it",
            )

    def read(self, text: str) -> None:
        events = iter(yaml.parse(text, Loader=_Loader))
        documents = 0
        try:
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents == 2:
                        self._fault(self._at(event), "a second document starts here; use one file for each")
                        return
                    if event.version or event.tags:  # with "%YAML 1.1" a "y" is true to ruamel.yaml
                        what = "%YAML" if event.version else "%TAG"
                        self._fault(self._at(event), f'directive "{what}" is not supported; remove it')
                elif isinstance(event, yaml.NodeEvent):
                    self.value = self._node(event, events, ())
        except yaml.MarkedYAMLError as wrong:
            self._not_yaml(wrong, text)
        except yaml.reader.ReaderError as wrong:
            line = text.count("\n", 0, wrong.position) + 1
            self._fault(Place(self.source, line, 1), one_line(f"{wrong.reason}; remove the character"))
        except _TooMuchError as much:
            self._fault(much.place, much.message)

    def _not_yaml(self, wrong: yaml.MarkedYAMLError, text: str) -> None:
        what = one_line(wrong.problem or wrong.context or "not valid YAML")
        mark = wrong.problem_mark or wrong.context_mark
        place = Place(self.source, mark.line + 1, mark.column + 1) if mark else self.places[()]
        first = _SIGNS.get(wrong.context or "", "")
        if "cannot start any token" in what:
            first = text.split("\n")[place.line - 1][place.column - 1 : place.column]
        if first == "\t":
            what = "a tab cannot stand here; use spaces"
        elif first:
            what = f'"{first}" cannot start a plain text; quote it'
        self._fault(place, what)

    def _node(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], path: Path) -> object:
        place = self._at(event)
        self.places[path] = place
        self.nodes += 1
        if self.nodes > self.most_nodes:
            raise _TooMuchError(place, f"more than {self.most_nodes} values; split the file")
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            self._fault(place, f'alias "*{event.anchor}" is not supported; write the value out, or quote it')
            return None
        if event.anchor is not None:
            self._fault(place, f'anchor "&{event.anchor}" is not supported; remove it and repeat the value')
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._fault(place, f'tag "{tag}" is not supported; remove it')
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        if not path and getattr(event, "style", None) in ("|", ">"):  # may begin in column 1, or not: YAML 1.2 and 1.1
            self._fault(place, "a block of text cannot be the whole document; write it under a key")
        return self._scalar(typing.cast(yaml.ScalarEvent, event), place)

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = self._at(event)
            faults = len(self.faults)
            key = self._node(typing.cast(yaml.NodeEvent, event), events, (*path, "\0key"))
            if len(self.faults) == faults and not isinstance(key, str):
                self._fault(place, f"key {shown(key)} is not text; quote it")
            elif key == "<<" and not getattr(event, "style", None):
                self._fault(place, 'merge key "<<" is not supported; write the entries out')
            name = key if isinstance(key, str) else "\0key"
            if name in found and len(self.faults) == faults:
                first = self.keys[(*path, name)].line
                self._fault(place, f'key "{name}" stands twice (first on line {first}); keep one')
            else:
                self.keys[(*path, name)] = place
            found[name] = self._node(typing.cast(yaml.NodeEvent, next(events)), events, (*path, name))
        return found

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> list[object]:
        found: list[object] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            found.append(self._node(typing.cast(yaml.NodeEvent, event), events, (*path, len(found))))
        return found

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> object:
        text: str = event.value
        if _HALF.search(text):
            self._fault(place, "an escape stands for half a character; write the character itself")
            return ""
        if event.style:  # None from the Python parser, "" from libyaml, when nothing is quoted
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        lowered = text.lower()
        if lowered in _BOOLEAN_WORDS:
            self._fault(place, f"{text} would be read as a boolean by some; write true or false, or quote it")
        elif lowered == "null":
            self._fault(place, f"{text} would be read as nothing; write null, or quote it")
        elif _NUMBER.fullmatch(text):
            self._fault(place, f"{text} would be read as a number; quote it")
        elif _DATE.fullmatch(text):
            self._fault(place, f"{text} would be read as a date; quote it")
        return text

    def _at(self, event: yaml.Event) -> Place:
        mark = typing.cast(yaml.Mark, event.start_mark)  # None only for events built by hand
        return Place(self.source, mark.line + 1, mark.column + 1)

    def _fault(self, place: Place, message: str) -> None:
        self.faults.append(Fault(place, message))


class _TooMuchError(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
