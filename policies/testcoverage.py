"""Which lines of the texts tests met: those that decided a case, and those that it met on the way to its answer.

    policies/deploy-v2.yaml:8:3    deny "infra:destroy"        met by no case

A deny that comes behind the deciding stage and says the same counts as met: a skill's author need not take the
policies away to test it. An allow that was not reached does not.

Counted are the lines of the lists deny, allow, approve, require and limits, in every text that is in force and in
those that it extends, whether an agent uses it or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mappings.documents import Document
from policies.rulebook import Activations, Candidate, Rulebook
from policies.values import Explanation, Outcome, PolicyError

KINDS = ("deny", "allow", "approve", "require", "limits")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a text."""

    kind: str
    """The list it stands in: "deny"."""
    text: str
    """The skill or policy: "deploy-v2"."""
    pattern: str
    place: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What tests met."""

    lines: tuple[Line, ...]
    met: frozenset[str]
    """Places."""

    @property
    def missed(self) -> tuple[Line, ...]:
        """The lines that no case met."""
        return tuple(line for line in self.lines if line.place not in self.met)

    @property
    def percent(self) -> int:
        """How many of a hundred lines were met, rounded down; 100 when there is none."""
        return 100 if not self.lines else (len(self.lines) - len(self.missed)) * 100 // len(self.lines)


def met_by(explanation: Explanation) -> set[str]:
    """Return the places that a case met."""
    denied = explanation.decision.outcome is Outcome.DENY
    met = [
        stage.place
        for stage in explanation.stages
        if not denied or stage.verdict != "not reached" or stage.name.endswith("deny")
    ]
    return {explanation.decision.rule, *met}


def lines_of(rules: Iterable[Document], activations: Activations | None = None) -> tuple[Line, ...]:
    """Return the lines of every text in force and of all that these extend; raise PolicyError."""
    book = Rulebook({}, complete=True, activations=activations)
    for document in rules:
        book.add(document)
    book.finish()
    if book.faults:
        raise PolicyError(book.faults)
    return tuple(line for candidate in counting(book) for line in _lines(candidate))


def counting(book: Rulebook) -> Sequence[Candidate]:
    """Return every text in force, and every text that these extend, each once, in the order of their names."""
    by_ref = {candidate.ref: candidate for versions in book.candidates.values() for candidate in versions.values()}
    in_force = [found for key in sorted(book.candidates) if (found := book.in_force(*key)) is not None]
    refs = dict.fromkeys(ref for candidate in in_force for ref in book.rules(candidate).parts)
    return [by_ref[ref] for ref in refs]


def _lines(candidate: Candidate) -> Iterator[Line]:
    for kind in KINDS:
        for index, entry in enumerate(getattr(candidate.file, kind)):
            pattern = entry if isinstance(entry, str) else entry.action
            yield Line(kind, candidate.ref.id, pattern, str(candidate.document.place([kind, index])))
