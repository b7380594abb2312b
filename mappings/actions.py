"""The action grammar: how an action and an action pattern are written, for mappings and policies alike.

    action  = segment *( ":" segment )        deploy:production    kubernetes:delete:apps/deployments
    segment = 1*( a-z 0-9 . _ / @ + - )
    pattern = action, where a segment may hold "*" (anything within that segment, also nothing)
              and a whole segment may be "**" (one or more whole segments)

Case is folded, nothing else is: a character outside the grammar is refused rather than repaired, so that two
actions that look alike to a reader are alike to the matcher. It never decides whether an action is allowed.

    deploy:*            deploy:production, not deploy:eu:production
    deploy:**           deploy:production and deploy:eu:production, not deploy
    deploy:prod*        deploy:prod, deploy:production
    "deploy production" refused: character " " cannot stand in an action; use letters, digits or ._/@+-
    "deploy::x"         refused: action "deploy::x" has an empty segment; write it out or remove a ":"
"""

from __future__ import annotations

import re

from mappings.globs import glob_source

MAX_ACTION_CHARS = 512
MAX_DOUBLE_STARS = 2
"""Each "**" more would cost another walk over the segments of an action."""

_SEGMENT = re.compile(r"[a-z0-9._/@+-]+")
_PATTERN_SEGMENT = re.compile(r"[a-z0-9._/@+*-]+")
_ACTION = re.compile(rf"{_SEGMENT.pattern}(?::{_SEGMENT.pattern})*")


def canonical_action(text: str) -> str:
    """Return `text` as an action in canonical form; raise ValueError with the remedy when it is none."""
    folded = _folded(text)
    if not _ACTION.fullmatch(folded):
        if "*" in folded:
            raise ValueError(f'"{text}" is a pattern, not an action; name one action without "*"')
        raise ValueError(_fault(text, folded, _SEGMENT))
    return folded


def canonical_pattern(text: str) -> str:
    """Return `text` as an action pattern in canonical form; raise ValueError with the remedy otherwise."""
    folded = _folded(text)
    segments = folded.split(":")
    if not all(_PATTERN_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError(_fault(text, folded, _PATTERN_SEGMENT))
    for segment in segments:
        if "**" in segment and segment != "**":
            raise ValueError(f'"**" stands for whole segments; write ":**" or a single "*" in "{text}"')
    if segments.count("**") > MAX_DOUBLE_STARS:
        raise ValueError(f'"{text}" has more than {MAX_DOUBLE_STARS} "**"; name the segments between them')
    return folded


def is_pattern(text: str) -> bool:
    """Say whether a canonical pattern can match more than one action."""
    return "*" in text


def pattern_regex(pattern: str) -> str:
    """Return the regular expression source that fully matches what a canonical pattern matches.

    Runs in linear time but for at most `MAX_DOUBLE_STARS` nested walks over the segments of one action.
    """
    return ":".join(
        "[^:]+(?::[^:]+)*" if segment == "**" else glob_source(segment, "[^:]") for segment in pattern.split(":")
    )


def _folded(text: str) -> str:
    # ASCII only before folding: casefold() would turn the Kelvin sign into "k" and "ß" into "ss", and an
    # action that nobody wrote would match a rule.
    if len(text) > MAX_ACTION_CHARS:
        raise ValueError(f"an action has at most {MAX_ACTION_CHARS} characters; shorten it")
    return text.casefold() if text.isascii() else text


def _fault(text: str, folded: str, segment: re.Pattern[str]) -> str:
    if not folded:
        return 'an action cannot be empty; write for example "deploy:staging"'
    for character in folded:
        if character != ":" and not segment.fullmatch(character):
            shown = character if character.isprintable() else f"U+{ord(character):04X}"
            return f'character "{shown}" cannot stand in an action; use letters, digits or ._/@+-'
    return f'action "{text}" has an empty segment; write it out or remove a ":"'
