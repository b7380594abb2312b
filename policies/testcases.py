"""Asks the cases of one file of tests, and says why those failed that did; pure.

    production is refused: expected ALLOW, is DENY: policy:no-prod-v1 -- action not in allow list (...)
    three a day: no limit of this agent is called "policy:calm/wipe"; there are: policy:calm/wipes/86400s

A case that would pass whatever the texts say, because it names an agent or a limit that is not there, fails.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePath

from mappings.documents import Document
from policies.conditionschema import moment
from policies.deciding import Policies
from policies.invariants import violations
from policies.rules import PASSES
from policies.testcoverage import met_by
from policies.testschema import CaseEntry, CasesFile, ExceptionEntry, NeverEntry, RequestEntry
from policies.values import BreakGlass, Credential, Decision, Outcome, Question

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


class Cases:
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
        """Yield what came of each case and invariant; `known` as in `policies.invariants.violations`."""
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
        yield from self._unknown(case)
        yield from self._uncounted(case)

    def _unknown(self, case: CaseEntry) -> Iterator[str]:
        """Yield that nobody has this name, unless that is what is tested: else every expected DENY would pass."""
        known = self._policies.agents
        if case.agent not in known and case.code != "agent.unknown":
            near = difflib.get_close_matches(case.agent, known, n=1)
            remedy = (
                f'did you mean "{near[0]}"' if near else 'give it under "agents", or expect the code "agent.unknown"'
            )
            yield f'no agent is called "{case.agent}"; {remedy}'

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
        decisions = []
        charged: Counter[str] = Counter()
        for question in self._asked(case):
            if isinstance(question, Decision):
                decisions.append(question)
                continue
            counted = replace(question, uses=self._uses(case, question, charged))
            explanation = self._policies.explain(counted)
            decision = explanation.decision
            decisions.append(decision)
            self._met |= met_by(explanation)
            if decision.forwards:  # as in the gate, the next operation of the request sees it
                charged.update(limit.key for limit in decision.limits)
        order = [Outcome.DENY, Outcome.HOLD, Outcome.ALLOW]
        return min(decisions, key=lambda each: order.index(each.outcome))

    def _uses(self, case: CaseEntry, question: Question, charged: Mapping[str, int]) -> dict[str, int]:
        uses = {}
        for limit in self._policies.limits(case.agent, question.action):
            name = limit.key.partition(" ")[0]
            before = max((count for given, count in case.uses.items() if _counts(given, name)), default=0)
            uses[limit.key] = before + charged.get(limit.key, 0)
        return uses

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
        if case.request is None or standing is None or standing.out_of_action(at) is not PASSES:
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
