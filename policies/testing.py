"""Runs tests of skills and policies: puts each question to the texts and compares the answer; pure.

    policies/deploy-v2.test.yaml:7:3 production is refused: expected ALLOW, is DENY: policy:no-prod-v1 -- ...
    policies/deploy-v2.test.yaml:12:3 never infra:destroy: agent "ops-bot" may do "infra:destroy" by ...

A question is asked as if the agent had proven who it is. Which lines of the texts some case met is counted
(`policies.testcoverage`). It reads no file and knows no clock: a test that gives no time is asked at
`policies.testschema.DEFAULT_NOW`. What a raw request is called only the caller knows, who brings a `Resolver`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mappings.documents import Document, DocumentError, Fault, read_document
from policies.compiling import compile_policies
from policies.reading import read_file
from policies.rulebook import Activations
from policies.testcases import Cases, Resolver, Result
from policies.testcoverage import Coverage, lines_of
from policies.testschema import CasesError, CasesFile, InlineAgent
from policies.values import PolicyError


@dataclass(frozen=True, slots=True)
class FileResult:
    """What came of one file of tests."""

    source: str
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all of them."""

    files: tuple[FileResult, ...]
    coverage: Coverage

    @property
    def results(self) -> tuple[Result, ...]:
        """Every case and invariant."""
        return tuple(result for file in self.files for result in file.results)

    @property
    def failed(self) -> tuple[Result, ...]:
        """Those that failed."""
        return tuple(result for result in self.results if result.failures)


def run_tests(
    agents: Document | None,
    rules: Sequence[Document],
    tests: Sequence[Document],
    resolve: Resolver,
    *,
    known: Sequence[str] = (),
    activations: Activations | None = None,
) -> Report:
    """Run every test against the texts; raise PolicyError with every fault of the texts, CasesError of the tests.

    Without a registry only the agents that a file of tests gives itself exist; `known` are actions that an
    invariant names first when it does not hold.
    """
    lines = lines_of(rules, activations)
    registry = agents or read_document("version: 1\n", "agents.yaml", error=PolicyError)
    parsed = _parsed(tests, {line.text for line in lines})
    met: set[str] = set()
    files = []
    compiled = compile_policies(registry, rules, activations=activations)
    for document, file in parsed:
        policies = compiled
        if file.agents:
            policies = compile_policies(_with(registry, file, document), rules, activations=activations)
        cases = Cases(document, file, policies, resolve, met)
        files.append(FileResult(document.source, tuple(cases.results(known))))
    return Report(tuple(files), Coverage(lines, frozenset(met)))


def _parsed(tests: Sequence[Document], known: set[str]) -> list[tuple[Document, CasesFile]]:
    faults: list[Fault] = []
    parsed = []
    for document in tests:
        try:
            file = read_file(document, CasesFile)
        except DocumentError as wrong:
            faults.extend(wrong.faults)
            continue
        parsed.append((document, file))
        for name in file.tests:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                remedy = f'did you mean "{near[0]}"' if near else "name one that is loaded"
                faults.append(Fault(document.place(["tests"]), f'no skill or policy is called "{name}"; {remedy}'))
    if faults:
        raise CasesError(faults)
    return parsed


def _with(registry: Document, file: CasesFile, document: Document) -> Document:
    """Return the registry with the agents of a file of tests behind its own, each with its place in that file."""
    value = dict(registry.value) if isinstance(registry.value, dict) else {}
    own, humans = list(value.get("agents") or ()), list(value.get("humans") or ())
    known = {human.get("id") for human in humans if isinstance(human, dict)}
    places = dict(registry.places)
    places.setdefault(("agents",), document.place(["agents"]))
    for number, agent in enumerate(file.agents):
        if agent.anchor not in known:
            known.add(agent.anchor)
            places[("humans", len(humans))] = document.place(["agents", number])
            humans.append({"id": agent.anchor, "org": agent.org, "state": "active"})
        for path, place in document.places.items():
            if path[:2] == ("agents", number):
                places[("agents", len(own), *path[2:])] = place
        own.append(_entry(agent))
    return replace(registry, value={**value, "agents": own, "humans": humans}, places=places)


def _entry(agent: InlineAgent) -> dict[str, object]:
    entry = agent.model_dump(mode="json", exclude_none=True)
    return {**entry, "state": "active"}
