"""What a human types, and the changes that it means; pure, and it puts nothing in force.

activate  deploy-v2@3        version 3; without "@3" the highest that a file has, else the highest that was kept
rollback  skill:deploy-v2    the version that was in force before the last change
retire    policy:no-prod     no version

"deploy" is the name of a skill and of a policy; write "skill:deploy" or "policy:deploy"
skill "deploy-v2" has no version 4; known: 1, 2, 3
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Literal

from policies.rulebook import TextKey
from policies.values import TextRef
from policies.versions import Change, History, Name

type Verb = Literal["activate", "rollback", "retire"]
type Known = Mapping[TextKey, tuple[TextRef, str]]
"""Every version there is a text of, and where the text stands."""

KEPT = "chron:"
"""How the place of a text begins that no file has."""

_TYPED = re.compile(r"(?:(skill|policy):)?([a-z0-9][a-z0-9._-]{0,63})(?:@([1-9][0-9]{0,8}))?")


class ChoiceRefused(Exception):
    """What was typed means no change; the message is for the one who typed it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """ "unknown", "ambiguous", "same" or "nothing-before"."""


def choose(
    verb: Verb, typed: str, known: Known, history: History, in_force: Mapping[tuple[str, str], TextRef]
) -> Change:
    """Return the change that a verb and a name mean; raise ChoiceRefused."""
    name, version = read_name(typed, known)
    if version and verb != "activate":
        raise ChoiceRefused("unknown", f'"{typed}": {verb} takes a name without a version')
    current = in_force.get(name)
    last = history.last(*name)
    previous = current.version if current else 0
    match verb:
        case "activate":
            change = Change(_version(name, version, known), previous)
        case "rollback":
            if last is None or not last.change.previous:
                remedy = f'"claiim policy activate {typed}@VERSION" or "claiim policy retire {typed}"'
                raise ChoiceRefused("nothing-before", f"nothing was in force before this version; use {remedy}")
            change = Change(_version(name, last.change.previous, known), previous)
        case "retire":
            change = Change(TextRef(*name, 0, ""), previous)
    if last is not None and last.change.ref == change.ref:
        raise ChoiceRefused("same", f"{shown(change.ref)} already; nothing to do")
    return change


def shown(ref: TextRef) -> str:
    """Say what is in force when a text's pointer stands here."""
    if ref.version == 0:
        return f"no version of {ref.kind}:{ref.id} is in force"
    return f"{ref.kind}:{ref.id}@{ref.version} is in force"


def read_name(typed: str, known: Known) -> tuple[Name, int]:
    """Return which text is meant, and which version, 0 when none is named; raise ChoiceRefused."""
    found = _TYPED.fullmatch(typed)
    if not found:
        raise ChoiceRefused(
            "unknown", f'"{typed}" names no text; write "deploy-v2", "deploy-v2@3" or "skill:deploy-v2@3"'
        )
    kind, name, version = found.groups()
    names = {(ref.kind, ref.id) for ref, _ in known.values()}
    meant = sorted(each for each in names if each[1] == name and kind in (None, each[0]))
    if len(meant) > 1:
        choice = f'write "skill:{name}" or "policy:{name}"'
        raise ChoiceRefused("ambiguous", f'"{name}" is the name of a skill and of a policy; {choice}')
    if not meant:
        near = difflib.get_close_matches(name, sorted({each[1] for each in names}), n=1)
        remedy = f'did you mean "{near[0]}"' if near else '"claiim policy versions" lists those that do'
        raise ChoiceRefused("unknown", f'{kind or "text"} "{name}" does not exist; {remedy}')
    return meant[0], int(version or 0)


def filed_versions(known: Known, name: tuple[str, str]) -> list[int]:
    """Return the versions of a text that stand in files."""
    return [ref.version for ref, place in known.values() if (ref.kind, ref.id) == name and not place.startswith(KEPT)]


def _version(name: Name, version: int, known: Known) -> TextRef:
    versions = {ref.version: (ref, place) for ref, place in known.values() if (ref.kind, ref.id) == name}
    if not version:
        version = max(filed_versions(known, name) or versions)
    if version not in versions:
        listed = ", ".join(str(number) for number in sorted(versions))
        raise ChoiceRefused("unknown", f'{name[0]} "{name[1]}" has no version {version}; known: {listed}')
    return versions[version][0]
