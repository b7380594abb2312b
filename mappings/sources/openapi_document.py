"""Reads an OpenAPI document: JSON or YAML text in, plain values out, or one refusal with the place and the remedy.

Descriptions come from anywhere, so nothing in them is trusted: no tag makes an object, no alias stands for another
value, no key stands twice, nothing outside the document is fetched, and size, depth and number of values have
limits. Numbers and dates of YAML stay text, for only words and booleans matter here.

    shop.yaml:3:9: alias "*base" is not supported; write the value out (yq 'explode(.)' does)
    shop.json: "/pets" stands twice in one object; keep one
    shop.yaml: is neither "swagger: 2.0" nor "openapi: 3.x"; give an OpenAPI 2.0, 3.0 or 3.1 description
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import yaml

from mappings.places import one_line
from mappings.sources.compiling import SourceError

MAX_JSON_CHARS = 64 << 20
"""GitHub's, the largest in use that we know, has 13 million."""
MAX_YAML_CHARS = 16 << 20
MAX_VALUES = 2_000_000
MAX_DEPTH = 200
MAX_REFERENCES = 16
"""One after the other, before there is a value."""

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Description:
    """An OpenAPI document."""

    source: str
    root: Mapping[str, Any]
    version: str
    """``2.0``, ``3.0``..."""

    def followed(self, value: object, where: str) -> object:
        """Return what a value refers to, or the value; SourceError when that is not in the document."""
        seen: list[str] = []
        while isinstance(value, dict) and isinstance(value.get("$ref"), str):
            reference: str = value["$ref"]
            if not reference.startswith("#"):
                raise self.fault(where, f'"{shown_text(reference)}" is another document; bundle them into one first')
            if reference in seen or len(seen) == MAX_REFERENCES:
                raise self.fault(where, f'"{shown_text(reference)}" leads back to itself; write the value out')
            seen.append(reference)
            value = self._at(reference, where)
        return value

    def _at(self, reference: str, where: str) -> object:
        found: object = self.root
        # RFC 6901 sections 3 and 6.
        for step in unquote(reference[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(found):
                found = found[int(key)]
            else:
                raise self.fault(where, f'"{shown_text(reference)}" leads to nothing; correct the reference')
        return found

    def fault(self, where: str, what: str) -> SourceError:
        """Return the refusal for a place within the document."""
        return SourceError(f"{self.source}: {shown_text(where)}: {what}")


def read_description(text: str, source: str) -> Description:
    """Return the description in a text; raise SourceError when it is none that can be read safely."""
    root = _read_json(text, source) if text.lstrip("\ufeff \t\r\n").startswith("{") else _read_yaml(text, source)
    if not isinstance(root, dict):
        raise SourceError(f"{source}: holds no mapping at its top; give an OpenAPI description")
    stated = str(root.get("swagger") or root.get("openapi") or "")
    version = ".".join(stated.split(".")[:2])
    if version not in ("2.0", "3.0", "3.1"):
        raise SourceError(
            f'{source}: is neither "swagger: 2.0" nor "openapi: 3.x"; give an OpenAPI 2.0, 3.0 or 3.1 description'
        )
    return Description(source, root, version)


def shown_text(text: str, most: int = 120) -> str:
    """Return a text of the description as a message shows it: on one line, printable, cut."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."


# --- JSON ---


def _read_json(text: str, source: str) -> object:
    if len(text) > MAX_JSON_CHARS:
        raise SourceError(f"{source}: has more than {MAX_JSON_CHARS} characters; remove what is no path")
    try:
        return json.loads(text.lstrip("\ufeff"), object_pairs_hook=_once, parse_int=str, parse_float=str)
    except _TwiceError as twice:
        raise SourceError(f"{source}: {twice} stands twice in one object; keep one") from None
    except RecursionError:
        raise SourceError(f"{source}: is nested too deeply; remove the schemas, they are not needed") from None
    except ValueError as error:
        raise SourceError(f"{source}: is no JSON: {one_line(str(error))}; correct it") from None


class _TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _TwiceError(json.dumps(shown_text(next(name for name, count in counts.items() if count > 1))))
    return found


# --- YAML ---


def _read_yaml(text: str, source: str) -> object:
    if len(text) > MAX_YAML_CHARS:
        raise SourceError(f"{source}: has more than {MAX_YAML_CHARS} characters; give it as JSON")
    try:
        return _Builder(source, yaml.parse(text, Loader=_Loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise SourceError(f"{place}: {one_line(error.problem or 'is no YAML')}; correct it") from None
    except yaml.YAMLError as error:
        raise SourceError(f"{source}: {one_line(str(error))}; correct it") from None


class _Builder:
    """Builds values from events, so that nothing is made that the limits have not seen."""

    def __init__(self, source: str, events: Iterator[yaml.Event]) -> None:
        self._source = source
        self._events = events
        self._values = 0

    def document(self) -> object:
        """Return the value of the one document."""
        value: object = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault(event, "a second document starts here; give one")
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, 0)
        return value

    def _value(self, event: yaml.Event, depth: int) -> object:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._fault(event, f"more than {MAX_VALUES} values; remove the schemas, they are not needed")
        if depth > MAX_DEPTH:
            raise self._fault(event, f"nested deeper than {MAX_DEPTH} levels; remove the schemas, they are not needed")
        if isinstance(event, yaml.AliasEvent):
            what = f'alias "*{shown_text(event.anchor or "")}" is not supported; write the value out'
            raise self._fault(event, f"{what} (yq 'explode(.)' does)")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(each, depth + 1) for each in self._until(yaml.SequenceEndEvent)]
        assert isinstance(event, yaml.ScalarEvent)  # noqa: S101 - the one kind of node that is left
        text: str = event.value
        return _WORDS[text] if not event.style and text in _WORDS else text

    def _mapping(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for event in self._until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._fault(event, "a key is no text; quote it")
            if event.value in found:
                raise self._fault(event, f'key "{shown_text(event.value)}" stands twice; keep one')
            found[event.value] = self._value(next(self._events), depth + 1)
        return found

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _fault(self, event: yaml.Event, what: str) -> SourceError:
        mark = event.start_mark
        place = f"{self._source}:{mark.line + 1}:{mark.column + 1}" if mark else self._source
        return SourceError(f"{place}: {what}")
