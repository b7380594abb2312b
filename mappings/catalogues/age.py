"""How old catalogues are: an API grows by about 0.9 % in a month, and what is new comes out unrecognised.

Age counts from the day the package was published that the operations come from, the first of a catalogue's sources.
It only makes warnings; nothing here reads a clock, and no catalogue is left out for its age.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date

from mappings.catalogues.archive import Archive, Header

MAX_AGE_DAYS = 90
"""Beyond it, people are told."""


def age_days(header: Header, today: date) -> int:
    """Return the age of a catalogue, never less than 0."""
    return max(0, (today - date.fromisoformat(header.sources[0].date)).days)


def older(version: str, than: str) -> bool:
    """Return whether a version comes before another, by the numbers in it."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"[0-9]{1,18}", version)]


def too_old(headers: Iterable[Header], today: date) -> str:
    """Return one line about the catalogues over `MAX_AGE_DAYS`, "" when there is none."""
    aged = sorted((header.family, age_days(header, today)) for header in headers)
    old = [f"{family} ({days} days)" for family, days in aged if days > MAX_AGE_DAYS]
    if not old:
        return ""
    remedy = 'newer operations are unrecognised; upgrade the gate, or run "claiim mappings refresh"'
    return f"catalogues over {MAX_AGE_DAYS} days old: {', '.join(old)}; {remedy}"


def warnings(in_use: Mapping[str, Archive], shipped: Mapping[str, Archive], today: date) -> list[str]:
    """Return what a person should know of the catalogues in use, a line each."""
    lines = [too_old((archive.header for archive in in_use.values()), today)]
    for family, archive in sorted(in_use.items()):
        own, came = archive.header, shipped[family].header if family in shipped else archive.header
        if own.sources[0].package == came.sources[0].package and older(own.sources[0].version, came.sources[0].version):
            lines.append(
                f'catalogue "{family}" is of {own.sources[0].package} {own.sources[0].version}, and the gate came with '
                f"{came.sources[0].version}; refresh it, or remove {own.file} and its row of the index"
            )
    return [line for line in lines if line]
