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

Refused, each with its place (two of many):

    skills/a.yaml:3:1: key "allow" stands twice (first on line 1); keep one
    mappings/site.yaml:2:12: 1.10 would be read as a number; quote it

The digest of a document is the SHA-256 of its canonical text (`canonical_text`), which is also the text
that is parsed: what is kept as evidence is what was obeyed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pydantic
import yaml

MAX_TEXT_CHARS = 1 << 20
"""One document; the largest shipped pack is far below."""
MAX_DEPTH = 32
MAX_NODES = 100_000

# Unseen by a reviewer, obeyed by a parser: NEL, LINE and PARAGRAPH SEPARATOR end a line in YAML 1.1
# (https://yaml.org/spec/1.1/ section 5.4), bidirectional controls reorder what is shown (CVE-2021-42574).
_INVISIBLE = re.compile("[\u0085\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# Plain scalars that some YAML 1.1 or 1.2 reader takes for something other than text
# (https://yaml.org/type/ and https://yaml.org/spec/1.2.2/ section 10.3.2).
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_BOOLEAN_WORDS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})
_NUMBER = re.compile(
    r"[-+]?(?:0x[0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
    r"|\.(?:nan|NaN|NAN)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a document; sorts by place."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class DocumentError(Exception):
    """A document that cannot be used; holds every fault, sorted by place, one per line in ``str()``."""

    faults: tuple[Fault, ...]

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class PackError(DocumentError):
    """A mapping file or pack that cannot be used."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document and where each of its values stands."""

    source: str
    """The name shown in places: a path as the operator wrote it, or ``pack:github``."""
    text: str
    """The canonical text, exactly what the digest covers and what was parsed."""
    digest: str
    """SHA-256 of `text`, lower-case hex."""
    value: object
    """dict, list, str, int, bool or None."""
    places: Mapping[Path, Place] = field(repr=False, compare=False)
    keys: Mapping[Path, Place] = field(repr=False, compare=False)

    def place(self, path: Sequence[str | int] = ()) -> Place:
        """Return where the value at `path` starts; of what is not there, where its nearest parent starts."""
        return self.places[self._known(path)]

    def key_place(self, path: Sequence[str | int]) -> Place:
        """Return where the key of the entry at `path` stands; of a list item, where the item starts."""
        known = self._known(path)
        return self.keys.get(known) or self.places[known]

    def _known(self, path: Sequence[str | int]) -> Path:
        # pydantic puts names of union members between the steps; they are in no document, so skipped.
        known: Path = ()
        for step in path:
            if (*known, step) in self.places:
                known = (*known, step)
        return known


def canonical_text(text: str) -> str:
    """Return `text` with LF line ends, no BOM, no trailing blanks and exactly one final newline."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip(" \t") for line in lines).rstrip("\n") + "\n"


def read_document(text: str, source: str, *, error: type[DocumentError] = DocumentError) -> Document:
    """Return the one document in `text`; raise `error` with every fault found."""
    canonical = canonical_text(text)
    reader = _Reader(source)
    if len(canonical) > MAX_TEXT_CHARS:
        raise error([Fault(Place(source, 1, 1), f"larger than {MAX_TEXT_CHARS} characters; split the file")])
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
    if document.value is None:
        raise error([Fault(document.place(), "the file is empty")])
    try:
        # Through JSON, because there a strict model takes a list for a tuple and a word for an enum, and
        # still no "1" for 1. Everything the reader builds is JSON, so nothing is lost on the way.
        return model.model_validate_json(json.dumps(document.value))
    except pydantic.ValidationError as invalid:
        raise error(_located(document, model, invalid)) from None


_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Builds values from parser events, where anchors, tags and duplicate keys have not vanished yet."""

    def __init__(self, source: str) -> None:
        self.source = source
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
                elif isinstance(event, yaml.NodeEvent):
                    self.value = self._node(event, events, ())
        except yaml.MarkedYAMLError as wrong:
            mark = wrong.problem_mark or wrong.context_mark
            place = Place(self.source, mark.line + 1, mark.column + 1) if mark else self.places[()]
            self._fault(place, _one_line(wrong.problem or wrong.context or "not valid YAML"))
        except yaml.reader.ReaderError as wrong:
            line = text.count("\n", 0, wrong.position) + 1
            self._fault(Place(self.source, line, 1), _one_line(f"{wrong.reason}; remove the character"))
        except _TooMuchError as much:
            self._fault(much.place, much.message)

    def _node(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], path: Path) -> object:
        place = self._at(event)
        self.places[path] = place
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooMuchError(place, f"more than {MAX_NODES} values; split the file")
        if len(path) > MAX_DEPTH:
            raise _TooMuchError(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            self._fault(place, f'alias "*{event.anchor}" is not supported; write the value out')
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
                self._fault(place, f"key {_shown(key)} is not text; quote it")
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


# --- from pydantic's errors to faults ---

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "nothing",
}


def _located(document: Document, model: type[pydantic.BaseModel], invalid: pydantic.ValidationError) -> Iterator[Fault]:
    for wrong in invalid.errors(include_url=False):
        path = wrong["loc"]
        match wrong["type"]:
            case "extra_forbidden":
                yield Fault(document.key_place(path), _unknown_key(str(path[-1]), _keys_at(model, path[:-1])))
            case "missing":
                yield Fault(document.place(path[:-1]), f'key "{path[-1]}" is missing')
            case _ if path and path[-1] == "[key]":
                yield Fault(document.key_place(path), _message(wrong))
            case _:
                yield Fault(document.place(path), _message(wrong))


def _message(wrong: typing.Any) -> str:
    kind: str = wrong["type"]
    context = wrong.get("ctx") or {}
    if kind in ("value_error", "assertion_error"):
        return _one_line(str(context["error"]))
    shown = _shown(wrong["input"])
    if kind in _EXPECTED:
        remedy = "; quote it" if kind == "string_type" and isinstance(wrong["input"], int | bool) else ""
        return f"expected {_EXPECTED[kind]}, found {shown}{remedy}"
    if kind in ("literal_error", "enum"):
        return f"{shown} is not one of {context['expected']}".replace("'", '"')
    text = _one_line(wrong["msg"])
    return f"{text[:1].lower()}{text[1:]}, found {shown}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 80 else value[:77] + "...", ensure_ascii=False)
    return json.dumps(value, default=str)


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return f'unknown key "{key}"; did you mean "{near[0]}"'
    remedy = f"known here: {', '.join(known)}" if known else "remove it"
    return f'unknown key "{key}"; {remedy}'


def _keys_at(model: type[pydantic.BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that the model at `path` inside `model` knows; empty when it cannot be told."""
    models = [model]
    for step in path:
        nearer = [
            inner
            for known in models
            for name, about in known.model_fields.items()
            if step in (name, about.alias)
            for inner in _models_in(about.annotation)
        ]
        # An index, a mapping's key or a union member's name leaves us inside the same annotation.
        models = nearer or models
    return [about.alias or name for known in models for name, about in known.model_fields.items()]


def _models_in(annotation: typing.Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, pydantic.BaseModel) else []
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def _one_line(text: str) -> str:
    return " ".join(text.split())
