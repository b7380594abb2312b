"""The canonical print of a skill or a policy, alone or with all that it extends; what it prints loads again.

    skill: deploy-v2
    version: 3
    allow:
    - deploy:staging                                              # policies/deploy-v2.yaml:4:3
    - {action: deploy:preview, until: "2026-12-31"}               # base-v1@1 policies/base-v1.yaml:3:3
    deny:
    - infra:destroy                                               # base-v1@1 policies/base-v1.yaml:5:3

Keys stand in one order, each rule in one line, what is the default is left out. Expanded, a text decides as it does
with its bases, and names no base; behind each line stands where it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mappings.documents import DocumentError, read_document
from policies.conditionschema import Entry
from policies.schema import LimitEntry, PolicyFile, SkillFile
from policies.textrules import Part

_HEAD = ("version", "description", "extends", "until", "applies_to", "mode")
_LISTS = ("allow", "deny", "approve", "require", "limits", "redact")
_PLAIN = re.compile(r"[A-Za-z0-9._/@+-][A-Za-z0-9._/@+:-]*")
"""What may be read as it stands; anything else is quoted, also a "*" in the middle, which would be no fault."""
_COMMENT_COLUMN = 48


def printed(file: SkillFile | PolicyFile) -> str:
    """Return the canonical text of a skill or policy as it is written, without comments."""
    lines = list(_head(file))
    for name in _LISTS:
        if name in file.model_fields_set:
            lines += _list(name, [(_value(entry), "") for entry in getattr(file, name)])
    return "\n".join(lines) + "\n"


def expanded(parts: Sequence[Part]) -> str:
    """Return the text of the first part with the lines of all others in it, each with its home as a comment."""
    own = parts[0]
    lines = list(_head(own.file.model_copy(update={"extends": ()})))
    for name in _LISTS:
        # A policy without an allow list says nothing about what may be done; one with an empty list says a lot.
        listed = [part for part in parts if name in part.file.model_fields_set]
        if listed:
            lines += _list(name, list(_homed(name, listed, own)))
    return "\n".join(lines) + "\n"


def _homed(name: str, parts: Sequence[Part], own: Part) -> Iterator[tuple[Any, str]]:
    counted: set[str] = set()
    for part in parts:
        for index, entry in enumerate(getattr(part.file, name)):
            home = "" if part.ref == own.ref else f"{part.ref} "
            value = _value(entry)
            if isinstance(entry, LimitEntry):
                # Two bases may count the same under one name; in one text each limit has its own.
                if entry.name in counted:
                    value = {"id": f"{part.ref.id[:40]}.{part.ref.version}.{index}", **value}
                counted.add(entry.name)
            yield value, f"{home}{part.place(name, index)}"


def _head(file: SkillFile | PolicyFile) -> Iterator[str]:
    kind = "policy" if isinstance(file, PolicyFile) else "skill"
    yield f"{kind}: {_flow(getattr(file, kind))}"
    value = _value(file)
    for key in _HEAD:
        if key == "version" or value.get(key):
            yield f"{key}: {_flow(file.version if key == 'version' else value[key])}"


def _list(name: str, entries: Sequence[tuple[Any, str]]) -> Iterator[str]:
    if not entries:
        yield f"{name}: []"
        return
    yield f"{name}:"
    for value, home in entries:
        line = f"- {_flow(value)}"
        yield f"{line:{_COMMENT_COLUMN}}  # {home}" if home else line


def _value(entry: str | Entry) -> Any:
    """Return a rule as plain values, without what is the default."""
    return entry if isinstance(entry, str) else entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _flow(value: object) -> str:
    """Return a value in one line, as our reader and others read it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_flow(each) for each in value) + "]"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text):
        try:
            if read_document(text, "").value == text:
                return text
        except DocumentError:
            pass
    # JSON is YAML; but YAML has an escape for every character, where JSON writes some as two halves.
    return "".join(
        c if c.isprintable() else f"\\U{ord(c):08x}" if ord(c) >= 0x80 else c
        for c in json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
    )
