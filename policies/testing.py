"""Runs tests of skills and policies: puts each question to the texts and compares the answer; pure.

    policies/deploy-v2.test.yaml:7:3 production is refused: expected ALLOW, is DENY: policy:no-prod-v1 -- ...
    policies/deploy-v2.test.yaml:12:3 never infra:destroy: agent "ops-bot" may do "infra:destroy" by ...

A question is asked as if the agent had proven who it is. Which lines of the texts some case met is counted
(`policies.testcoverage`). It reads no file and knows no clock: a test that gives no time is asked at
`policies.testschema.DEFAULT_NOW`. What a raw request is called only the caller knows, who brings a `Resolver`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePath

from mappings.documents import Document, DocumentError, Fault, read_document
from policies.compiling import compile_policies
from policies.conditionschema import moment
from policies.deciding import Policies
from policies.invariants import violations
from policies.reading import read_file
from policies.rulebook import Activations
from policies.testcoverage import Coverage, lines_of, met_by
from policies.testschema import CaseEntry, CasesError, CasesFile, ExceptionEntry, InlineAgent, NeverEntry, RequestEntry
from policies.values import BreakGlass, Credential, Decision, Outcome, PolicyError, Question

type Refused = tuple[str, str]
"""Code and reason of a request that no rule can be asked about."""
type Resolver = Callable[[RequestEntry, Question, Policies], Sequence[Question] | Refused]
"""Makes the questions of a raw request, each like the one it is given."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case or invariant."""

    name: str
    place: str
    """ "policies/deploy-v2.test.yaml:7:3"."""
    failures: tuple[str, ...]
    """Why it failed; none when it passed."""


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
        run = _Run(document, file, policies, resolve, met)
        files.append(FileResult(document.source, tuple(run.results(known))))
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


class _Run:
    """One file of tests against one set of texts."""

    def __init__(
        self, document: Document, file: CasesFile, policies: Policies, resolve: Resolver, met: set[str]
    ) -> None:
        self._document = document
        self._file = file
        self._policies = policies
        self._resolve = resolve
        self._met = met
        """Places of the lines that some case met."""

    def results(self, known: Sequence[str]) -> Iterator[Result]:
        for index, case in enumerate(self._file.cases):
            place = str(self._document.place(["cases", index]))
            yield Result(case.name, place, tuple(self._failures(case)))
        for index, never in enumerate(self._file.never):
            place = str(self._document.place(["never", index]))
            yield Result(_title(never), place, tuple(violations(self._policies, never, known)))

    def _failures(self, case: CaseEntry) -> Iterator[str]:
        decision = self._answer(case)
        if decision.outcome is not case.expect:
            where = f" ({decision.rule})" if decision.rule else ""
            yield f"expected {case.expect.value}, is {decision.outcome.value}: {decision.reason}{where}"
        for name in ("reason", "code"):
            expected, found = getattr(case, name), getattr(decision, name)
            if expected is not None and found != expected:
                yield f'expected {name} "{expected}", is "{found}"'
        if case.rule is not None and not same_place(case.rule, decision.rule):
            yield f'expected rule "{case.rule}", is "{decision.rule or "none"}"'
        yield from self._uncounted(case)

    def _uncounted(self, case: CaseEntry) -> Iterator[str]:
        """Yield which of the uses given count towards nothing: a misspelt limit would leave a test without meaning."""
        standing = self._policies.standings.get(case.agent)
        texts = standing.rules.texts if standing else ()
        limits = {limit.name for text in texts for _, limit in text.limits.rules}
        for name in case.uses:
            if not any(_counts(name, limit) for limit in limits):
                there = ", ".join(sorted(limits)) or "none"
                yield f'no limit of this agent is called "{name}"; there are: {there}'

    def _answer(self, case: CaseEntry) -> Decision:
        """Return what decides about a case: of several operations the first that is refused, else held."""
        asked = self._asked(case)
        decisions = []
        uses = dict(case.uses)
        for question in asked:
            if isinstance(question, Decision):
                decisions.append(question)
                continue
            counted = replace(question, uses=self._uses(question, uses))
            explanation = self._policies.explain(counted)
            decision = explanation.decision
            decisions.append(decision)
            self._met |= met_by(explanation)
            if decision.forwards:  # as in the gate, the next operation of the request sees it
                for limit in decision.limits:
                    name = limit.key.partition(" ")[0]
                    uses[name] = uses.get(name, 0) + 1
        order = [Outcome.DENY, Outcome.HOLD, Outcome.ALLOW]
        return min(decisions, key=lambda each: order.index(each.outcome))

    def _uses(self, question: Question, uses: Mapping[str, int]) -> dict[str, int]:
        limits = self._policies.limits(question.credential.agent, question.action)
        names = {limit.key: limit.key.partition(" ")[0] for limit in limits}
        return {
            key: max((count for given, count in uses.items() if _counts(given, name)), default=0)
            for key, name in names.items()
        }

    def _asked(self, case: CaseEntry) -> Sequence[Question | Decision]:
        at = moment(case.now or self._file.now)
        sent = {f"header.{name}": case.headers.get(name, "") for name in {*self._policies.headers, *case.headers}}
        question = Question(
            credential=Credential(case.agent, ""),
            action=case.action or "",
            target=case.target,
            environment=case.environment,
            at=at,
            client=case.client,
            attributes={**{str(name): value for name, value in case.attributes.items()}, **sent},
            approvers=case.approvers,
            exceptions=tuple(_grant(case.agent, number, each, at) for number, each in enumerate(case.exceptions, 1)),
        )
        standing = self._policies.standings.get(case.agent)
        if case.request is None or standing is None or standing.inactive(at) or standing.boundary(at):
            return [question]  # who may not act at all is refused before the request is read
        asked = self._resolve(case.request, question, self._policies)
        match asked:
            case (str(code), str(reason)):
                return [self._policies.refuse(question.credential, code, reason, at)]
            case _:
                return [each for each in asked if isinstance(each, Question)]


def _counts(given: str, limit: str) -> bool:
    """Say whether uses that a test gives are those of a limit; a test may leave the end of its name out."""
    return limit == given or limit.startswith(f"{given}/")


def _title(never: NeverEntry) -> str:
    where = f" in {' or '.join(never.environment)}" if never.environment else ""
    return f"never {', '.join(never.actions)}{where}"


def _grant(agent: str, number: int, entry: ExceptionEntry, at: datetime) -> BreakGlass:
    around = timedelta(minutes=30)  # in force at that time; how long a grant may last is no matter of texts
    humans = ("first@test", "second@test")
    return BreakGlass(
        f"bgl_{number}", agent, entry.action, entry.target, at - around, at + around, humans, "a test supposes it"
    )


def same_place(expected: str, found: str) -> bool:
    """Say whether a place as a test writes it, "deploy-v2.yaml:4", is one as a decision names it."""
    file, line, column = _parts(expected)
    there, its_line, its_column = _parts(found)
    wanted, parts = PurePath(file).parts, PurePath(there).parts
    return line == its_line and column in ("", its_column) and bool(wanted) and parts[-len(wanted) :] == wanted


def _parts(place: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(.*?):([0-9]+)(?::([0-9]+))?", place)
    return (found[1], found[2], found[3] or "") if found else (place, "", "")
