"""Looks at everything that is loaded for what nobody can have meant; pure, and never part of a decision.

What it looks for stands in `policies.lintchecks`. It is asked only about a set of texts that loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath

from mappings.documents import Document, DocumentError
from policies.compiling import compile_policies
from policies.deciding import Policies
from policies.knownactions import KnownActions
from policies.lintchecks import Lint
from policies.lintlines import lint_lines, written
from policies.lintregistry import lint_registry
from policies.lintsite import SiteView, lint_text, lint_words
from policies.reading import read_file
from policies.rulebook import Activations, Candidate, Rulebook
from policies.schema import AgentsFile
from policies.testcoverage import counting
from policies.testschema import CasesFile

type Hits = Mapping[str, frozenset[str]]
"""Digest of a text -> places, "name.yaml:9:3", of its lines that decided something."""


def lint(
    agents: Document,
    rules: Sequence[Document],
    tests: Sequence[Document],
    *,
    at: datetime,
    known: KnownActions,
    activations: Activations | None = None,
    hits: Hits | None = None,
) -> list[Lint]:
    """Return every finding, in the order of places; raise PolicyError when the texts do not load."""
    policies = compile_policies(agents, rules, activations=activations)
    book = Rulebook({}, complete=True, activations=activations)
    for document in rules:
        book.add(document)
    book.finish()
    tested = frozenset(_tested(tests, {name: agent.pin for name, agent in policies.agents.items()}))
    site = SiteView(policies, book, agents, read_file(agents, AgentsFile), at, known, tested)
    found = list(lint_registry(site))
    for candidate in _obeyed(book, policies):
        found += lint_lines(candidate, book.rules(candidate), at)
        found += lint_text(site, candidate)
        if hits is not None and candidate.ref.digest in hits:
            found += _never_hit(candidate, hits[candidate.ref.digest])
    for candidate in _waiting(book):
        found += [*lint_lines(candidate, book.rules(candidate), at), *lint_words(site, candidate)]
    return sorted(set(found), key=_order)


def _obeyed(book: Rulebook, policies: Policies) -> list[Candidate]:
    """Return every text that is in force, extended by one that is, or pinned by an agent."""
    obeyed = {candidate.ref: candidate for candidate in counting(book)}
    for agent in policies.agents.values():
        if agent.skill is not None and agent.skill not in obeyed:
            obeyed[agent.skill] = book.candidates["skill", agent.skill.id][agent.skill.version]
    return list(obeyed.values())


def _waiting(book: Rulebook) -> Iterator[Candidate]:
    """Yield the newest version of each text that is not in force yet: what is wrong in it is best told before it is."""
    for key, versions in book.candidates.items():
        in_force, newest = book.in_force(*key), versions[max(versions)]
        if in_force is None or newest.ref.version > in_force.ref.version:
            yield newest


def _order(found: Lint) -> tuple[str, int, int, str, str]:
    file, line, column = found.place.rsplit(":", 2)
    return file, int(line), int(column), found.check, found.message


def _tested(tests: Sequence[Document], pins: Mapping[str, str]) -> Iterator[str]:
    """Yield the texts that tests are about: those they name, and the skills of the agents in their cases."""
    for document in tests:
        try:
            file = read_file(document, CasesFile)
        except DocumentError:
            continue  # "claiim policy test" tells what is wrong with it
        yield from file.tests
        own = {agent.id: agent.skill or "" for agent in file.agents}
        for case in file.cases:
            yield (own.get(case.agent) or pins.get(case.agent, "")).partition("@")[0]


def _never_hit(candidate: Candidate, decided: frozenset[str]) -> Iterator[Lint]:
    # A policy's allow list decides by what is not in it, so its lines never stand in a record.
    kinds = ("deny", "approve") if candidate.ref.kind == "policy" else ("deny", "allow", "approve")
    for line in written(candidate, *kinds):
        if short_place(line.place) not in decided:
            told = f'"{line.pattern}" decided nothing in the time looked at; take it out if nobody needs it'
            yield Lint("never-hit", line.place, told)


def short_place(place: str) -> str:
    """Return a place without the folders, which differ between where a text was decided by and where it is read."""
    file, line, column = place.rsplit(":", 2)
    return f"{PurePath(file).name}:{line}:{column}"
