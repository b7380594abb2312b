"""Templates of actions and targets: text with ``${name}`` in it.

    deploy:${env}                           an action: each value must fit into one segment, else "unknown"
    k8s/${cluster}/${namespace}/${name}     a target: what is missing is "-"
    tfc/${json:data.id}                     a field of the body; a body that cannot be read is a problem

A value never adds a segment to an action: ``${branch}`` holding "x:production" becomes "unknown", not
another action. A target holds no control character whatever the request held: such characters stand
percent-encoded, so the log and the terminal show what was asked, on one line.

Faults, for example:

    template "deploy:${env" has a "${" without "}"; close it
    template "k8s/${na me}": "na me" is no name; write letters, digits and "_", or json:a.b
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from mappings.actions import MAX_ACTION_CHARS, canonical_action
from mappings.bodies import MISSING, Pointer, look_up, read_pointer
from mappings.reading import Reading
from mappings.resolution import UNREADABLE, Problem

MAX_TARGET_CHARS = 1024
MISSING_TARGET = "-"
MISSING_SEGMENT = "unknown"

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SEGMENT = re.compile(r"[a-z0-9._/@+-]+")
# Lone surrogates cannot be written to any log.
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a value by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for values."""

    text: str
    parts: tuple[str | Slot | Pointer, ...]
    """Literal text, the name of a value, or a pointer into the body."""

    @property
    def fixed(self) -> str:
        """The text when it has no place for a value, else ""."""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the values, in order."""
        return tuple(part.name for part in self.parts if isinstance(part, Slot))

    @property
    def reads_body(self) -> bool:
        """Whether it takes a field of the body."""
        return any(isinstance(part, Pointer) for part in self.parts)


def read_template_text(text: str) -> Template:
    """Return the template; raise ValueError with the remedy when it is none."""
    parts: list[str | Slot | Pointer] = []
    for at, part in enumerate(_VARIABLE.split(text)):
        if at % 2 == 0:
            if "${" in part:
                raise ValueError(f'template "{text}" has a "${{" without "}}"; close it')
            if part:
                parts.append(part)
        elif part.startswith("json:"):
            parts.append(read_pointer(part.removeprefix("json:")))
        elif _NAME.fullmatch(part):
            parts.append(Slot(part))
        else:
            raise ValueError(f'template "{text}": "{part}" is no name; write letters, digits and "_", or json:a.b')
    return Template(text, tuple(parts))


def read_action_template(text: str) -> Template:
    """Return the template of an action: with every value filled in, it must be one."""
    template = read_template_text(text)
    canonical_action(_VARIABLE.sub("x", text))
    lowered = tuple(part.lower() if isinstance(part, str) else part for part in template.parts)
    return Template(text, lowered)


def read_target_template(text: str) -> Template:
    """Return the template of a target."""
    if not text or printable(text) != text:
        raise ValueError(f'target "{printable(text)}" must be printable text; write for example "${{host}}"')
    return read_template_text(text)


def render_action(template: Template, values: Mapping[str, str], reading: Reading) -> str | Problem:
    """Return a canonical action."""
    text = _rendered(template, values, reading, _segment)
    if isinstance(text, str) and len(text) > MAX_ACTION_CHARS:
        return Problem(UNREADABLE, "the request makes an action longer than any rule can name")
    return text


def _segment(value: str) -> str:
    folded = value.casefold() if value.isascii() else value
    return folded if _SEGMENT.fullmatch(folded) else MISSING_SEGMENT


def render_target(template: Template, values: Mapping[str, str], reading: Reading) -> str | Problem:
    """Return a target without control characters."""
    text = _rendered(template, values, reading, _shown)
    return text if isinstance(text, Problem) else printable(text)


def _shown(value: str) -> str:
    return value or MISSING_TARGET


def _rendered(template: Template, values: Mapping[str, str], reading: Reading, fit: _Fit) -> str | Problem:
    found: list[str] = []
    for part in template.parts:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, Slot):
            found.append(fit(values.get(part.name, "")))
        else:
            value = body_field(part, reading)
            if isinstance(value, Problem):
                return value
            found.append(fit(value))
    return "".join(found)


class _Fit(Protocol):
    """Makes a value fit its place."""

    def __call__(self, value: str, /) -> str: ...


def body_field(pointer: Pointer, reading: Reading) -> str | Problem:
    """Return the text or number at a pointer into the body, "" when it is not there, or why it cannot be told."""
    body = reading.json()
    found = body if isinstance(body, Problem) else look_up(body.value, pointer)
    return found if isinstance(found, Problem) else plain(found, pointer)


def plain(value: object, pointer: Pointer) -> str | Problem:
    """Return a JSON scalar as text, "" for MISSING."""
    if value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return Problem(UNREADABLE, f'"{pointer.text}" in the body is no single text or number, as a rule expects')


def printable(text: str) -> str:
    """Return `text` with what cannot be shown percent-encoded, and cut to `MAX_TARGET_CHARS`."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else quote(_LONE.sub("\ufffd", c), safe="") for c in text)
    return text if len(text) <= MAX_TARGET_CHARS else text[: MAX_TARGET_CHARS - 3] + "..."
