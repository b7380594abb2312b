"""Resolving: one request in, the operations it performs out, or the problem that keeps us from saying.

In order: which packs the host is bound to; which calls they recognise; for each call, and for the request
as such when there is none, which rule wins; what the winner makes of it. Then everything again for each
other way to read the request, and a different answer is a conflict. `Mappings.resolve` is pure and total:
it never raises, and what goes wrong inside is a problem, which is a refusal.

    PATCH k8s.prod/apis/apps/v1/namespaces/production/deployments/web
        kubernetes:patch:apps/deployments, rule k8s-rollout: deploy:production, k8s/prod-eu/production/web
    GET evil.test/x                          mapping.unmapped
    POST app.terraform.io/api/v2/runs, body not read, a rule reads is-destroy        mapping.unreadable
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mappings.compiled import Binding, Compiled, Rule
from mappings.conditions import Answer, Subject, all_hold
from mappings.hosts import covers, specificity
from mappings.naming import MAX_OPERATIONS, TOO_MANY_OPERATIONS, Naming
from mappings.paths import split_path
from mappings.places import Document
from mappings.reading import Alternative, Reading, alternatives
from mappings.recognition import Call, Pack, Recognition
from mappings.request import Request
from mappings.resolution import CONFLICT, UNMAPPED, UNREADABLE, Operation, Problem, Resolution, RuleRef
from mappings.routes import Candidate, choose, method_rank

_NO_RULE = Problem(UNMAPPED, "no rule names this request")
_UNBOUND = Binding((), {}, "")


@dataclass(frozen=True, slots=True)
class Text:
    """A text that answers hang on, kept as evidence by its digest."""

    kind: Literal["mapping"]
    id: str
    version: str
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class Considered:
    """A rule that was compared with a request, and how it fared."""

    rule: RuleRef
    verdict: Literal["won", "less specific", "does not hold", "cannot be told"]
    detail: str
    operation: str
    """The call it was compared for; "" when no pack recognised any."""


class Mappings:
    """A loaded set of mappings; immutable."""

    def __init__(self, compiled: Compiled, documents: Sequence[Document]) -> None:
        self._compiled = compiled
        self.texts = tuple(
            Text("mapping", document.source, "", document.digest, document.text) for document in documents
        )
        named = "\n".join(sorted(f"{text.id} {text.digest}" for text in self.texts))
        self.digest: str = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def packs(self) -> tuple[str, ...]:
        """Names of the packs that hosts can be bound to, but for ``http``."""
        return tuple(self._compiled.packs)

    def needs_body(self, request: Request) -> bool:
        """Say whether naming a request with this head takes its body; ``request.body`` is None."""
        try:
            every = [request, *(other.request for other in alternatives(request))]
            return any(self._needs_body(each) for each in every)
        except Exception:  # noqa: BLE001 - reading a body too many costs time; one too few costs the answer
            return True

    def resolve(self, request: Request) -> Resolution:
        """Return the operations of the request, or the problem."""
        try:
            first = self._resolve(request)
            for other in alternatives(request):
                if not _agree(first, self._resolve(other.request), other):
                    why = f"two readings of this request differ: {other.why}"
                    return Resolution((), Problem(CONFLICT, why), first.family)
            return first
        except Exception:  # noqa: BLE001 - total: what fails here must refuse, not pass
            return Resolution((), Problem(UNREADABLE, "the request could not be resolved"), "")

    def explain(self, request: Request) -> tuple[Resolution, tuple[Considered, ...]]:
        """Return what `resolve` returns, and every rule that came near, the most specific first."""
        seen: list[Considered] = []
        try:
            self._resolve(request, seen)
        except Exception:  # noqa: BLE001 - total, as resolve
            seen.clear()
        return self.resolve(request), tuple(seen)

    # --- one reading ---

    def _resolve(self, request: Request, seen: list[Considered] | None = None) -> Resolution:
        binding = self._binding(request.host)
        calls, problem = self._recognised(binding, request)
        if problem is None and len(calls) > MAX_OPERATIONS:
            problem = TOO_MANY_OPERATIONS
        if problem is not None:
            return Resolution((), problem, binding.family)
        operations: dict[tuple[str, str, str, str], Operation] = {}
        for call, reading in _readings(request, calls):
            found = self._operations(binding, reading, call, seen)
            if isinstance(found, Problem):
                return Resolution((), found, binding.family)
            for operation in found:
                # Two winners that say the same are one operation.
                key = (operation.name, operation.action, operation.target, operation.environment)
                operations.setdefault(key, operation)
            if len(operations) > MAX_OPERATIONS:
                return Resolution((), TOO_MANY_OPERATIONS, binding.family)
        return Resolution(tuple(operations.values()), None, binding.family)

    def _binding(self, host: str) -> Binding:
        for index in (self._compiled.bound, self._compiled.offered):
            for _, binding in index.find(host):
                return binding
        return _UNBOUND

    def _recognised(self, binding: Binding, request: Request) -> tuple[tuple[Call, ...], Problem | None]:
        calls: tuple[Call, ...] = ()
        for name in binding.packs:
            pack = self._compiled.packs.get(name)
            if pack is None:
                continue
            recognition = _recognise(pack, request)
            if recognition.problem is not None:
                return (), recognition.problem
            calls += recognition.calls
        return calls, None

    def _operations(
        self, binding: Binding, reading: Reading, call: Call | None, seen: list[Considered] | None
    ) -> Sequence[Operation] | Problem:
        candidates = self._candidates(binding, reading, call)
        trace: list[tuple[Candidate[Rule], Answer]] | None = None if seen is None else []
        if trace is not None:
            candidates.sort(key=_rule_id)
        chosen = choose(candidates, trace)
        if seen is not None and trace is not None:
            seen.extend(_considered(chosen, trace))
        if isinstance(chosen, Problem):
            return chosen
        naming = Naming(reading, call, binding.facts, self._compiled.classifiers)
        if not chosen:
            return _NO_RULE if call is None else naming.by_itself(call)
        found: list[Operation] = []
        for candidate in sorted(chosen, key=_rule_id):
            made = naming.by_rule(candidate.item, candidate.captures, candidate.subject.facts)
            if isinstance(made, Problem):
                return made
            found.extend(made)
        return found

    def _candidates(self, binding: Binding, reading: Reading, call: Call | None) -> list[Candidate[Rule]]:
        request = reading.request
        operation = call.name.casefold() if call else ""
        told = call.captures if call else {}
        subject = Subject(reading, operation, {**told, **binding.facts})
        # One candidate for a rule: the closest of its templates and patterns speaks for it.
        best: dict[int, Candidate[Rule]] = {}

        def consider(rule: Rule, op: int, literal: int, host: int, captures: dict[str, str]) -> None:
            method = method_rank(rule.methods, request.method)
            if method is None or (rule.scope and rule.scope not in binding.packs):
                return
            rank = (not rule.scope, rule.json_count, rule.text_count, op, literal, host, method)
            known = best.get(id(rule))
            if known is None or rank > known.rank:
                own = subject
                if captures:
                    # The operator's word for a host goes before anything read from the request.
                    own = replace(subject, facts={**told, **captures, **binding.facts})
                best[id(rule)] = Candidate(rule, rank, rule.predicates, own, captures)

        bound = binding is not _UNBOUND
        spellings = [reading.segments]
        if reading.path != request.path:
            # Second, so that it adds only rules written in that spelling.
            spellings.append(split_path(request.path))
        for segments in spellings:
            for found in self._compiled.paths.find(request.host, segments, bound=bound):
                consider(found.item, 0, found.literal_chars, found.host, found.captures)
        if operation:
            for rule, exactness, literal in self._compiled.operations.find(operation):
                host = _host_rank(rule.hosts, request.host)
                if host is not None:
                    consider(rule, exactness, literal, host, {})
        return list(best.values())

    # --- before the body is there ---

    def _needs_body(self, request: Request) -> bool:
        binding = self._binding(request.host)
        packs = [pack for name in binding.packs if (pack := self._compiled.packs.get(name))]
        if any(pack.needs_body(request) for pack in packs):
            return True
        calls, problem = self._recognised(binding, request)
        if problem is not None:
            return False
        for call, reading in _readings(request, calls):
            for candidate in self._candidates(binding, reading, call):
                # With the body unread, a condition on it is in doubt, so only the head can say no.
                holds = all_hold(candidate.predicates, candidate.subject)
                if candidate.item.reads_body and holds is not False:
                    return True
        return False


def _readings(request: Request, calls: tuple[Call, ...]) -> Iterator[tuple[Call | None, Reading]]:
    """Yield each call, or None when there is none, with the reading that rules compare."""
    sent = Reading(request)
    for call in calls or (None,):
        respelt = call is not None and call.path not in ("", request.path)
        yield call, Reading(request, call.path) if call and respelt else sent


def _rule_id(candidate: Candidate[Rule]) -> str:
    return candidate.item.ref.id


def _recognise(pack: Pack, request: Request) -> Recognition:
    try:
        # Were a cut body handed to a pack that takes it for whole, what stands behind the cut would be unseen.
        return pack.recognise(request if pack.reads_prefix else request.whole())
    except Exception:  # noqa: BLE001 - a pack that fails has recognised nothing, and that must refuse
        return Recognition((), Problem(UNREADABLE, f'the pack "{pack.name}" could not read this request'))


def _host_rank(patterns: tuple[str, ...], host: str) -> int | None:
    if not patterns:
        return 0
    return max((specificity(pattern) for pattern in patterns if covers(pattern, host)), default=None)


def _agree(first: Resolution, other: Resolution, how: Alternative) -> bool:
    if how.lenient:
        if other.problem is not None and other.problem.code == UNMAPPED:
            return True
        if first.problem is not None:
            return True
    if first.problem is not None or other.problem is not None:
        return first.problem is not None and other.problem is not None and first.problem.code == other.problem.code
    return _essence(first, how.lenient) == _essence(other, how.lenient)


def _essence(resolution: Resolution, lenient: bool) -> set[tuple[str, ...]]:
    return {
        (operation.action, operation.environment, "" if lenient else operation.target)
        for operation in resolution.operations
    }


def _considered(
    chosen: list[Candidate[Rule]] | Problem, trace: list[tuple[Candidate[Rule], Answer]]
) -> Iterable[Considered]:
    winners = [] if isinstance(chosen, Problem) else chosen
    for candidate, answer in trace:
        rule = candidate.item.ref
        operation = candidate.subject.operation
        if isinstance(answer, Problem):
            yield Considered(rule, "cannot be told", answer.message, operation)
        elif not answer:
            yield Considered(rule, "does not hold", "", operation)
        elif any(candidate is winner for winner in winners):
            yield Considered(rule, "won", "", operation)
        else:
            yield Considered(rule, "less specific", "", operation)
