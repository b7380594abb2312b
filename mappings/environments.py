"""Which environment an operation touches, from facts the agent cannot write.

A classifier names a value and the facts that show it; all its facts must match one of their globs (case
folded). A row of a lookup (`mappings.lookups`) counts as a classifier that fires. The facts are what the
operator said of the host, the host itself, and captures that decide where a call takes effect; never headers,
free query parameters, labels or the body, or an agent would choose its environment.

    nothing concerns the facts              ""
    the fact "env" is bound to the host     that value, whatever the classifiers say
    all that fire agree                     their value
    some concern, none fires                unknown
    two that fire disagree                  conflict
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappings.globs import read_glob
from mappings.lookups import Told
from mappings.resolution import CONFLICTING_ENVIRONMENT, UNKNOWN_ENVIRONMENT

_VALUE = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Classifier:
    """One environment and what shows it."""

    value: str
    when: tuple[tuple[str, tuple[str, ...]], ...]
    """Fact name and case-folded globs."""


def environment_value(text: str) -> str:
    """Return `text` when it can name an environment; ValueError with the remedy otherwise."""
    if not _VALUE.fullmatch(text):
        raise ValueError(f'environment "{text}" is no name; write lower-case letters, digits, ".", "_", "-"')
    if text in (UNKNOWN_ENVIRONMENT, CONFLICTING_ENVIRONMENT):
        raise ValueError(f'environment "{text}" is what the gate says when it cannot tell; choose another')
    return text


def environment(classifiers: Sequence[Classifier], facts: Mapping[str, str], bound: str, told: Told) -> str:
    """Return the environment that `facts` and tables show; `bound` is the operator's word for the host, or ""."""
    if bound:
        return bound
    fired = set(told.environments)
    concerned = told.concerned
    for classifier in classifiers:
        present = 0
        matching = 0
        for name, globs in classifier.when:
            value = facts.get(name, "").casefold()
            matched = bool(value) and any(read_glob(glob).fits(value) for glob in globs)
            matching += matched
            # Every request has a host; a classifier about hosts concerns only those it names.
            present += matched if name == "host" else bool(value)
        concerned = concerned or present > 0
        if matching == len(classifier.when):
            fired.add(classifier.value)
    if len(fired) > 1:
        return CONFLICTING_ENVIRONMENT
    if fired:
        return fired.pop()
    return UNKNOWN_ENVIRONMENT if concerned else ""
