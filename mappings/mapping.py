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
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mappings.compiled import Compiled, Rule, Tunnel
from mappings.conditions import Answer, all_hold
from mappings.hostrules import HostRules, rank_of
from mappings.naming import MAX_OPERATIONS, NO_CAPTURES, TOO_MANY_OPERATIONS, Naming
from mappings.paths import split_path
from mappings.places import Document
from mappings.reading import Alternative, Reading, alternatives, form_may_override, ordinary
from mappings.recognition import Call, Pack, Recognition
from mappings.request import Request
from mappings.resolution import (
    ATTRIBUTES,
    CONFLICT,
    FAILED,
    UNMAPPED,
    UNREADABLE,
    Operation,
    Problem,
    Resolution,
    RuleRef,
)
from mappings.routes import Candidate, choose, method_rank
from mappings.tunnels import resolve_tunnel

_NO_RULE = Problem(UNMAPPED, "no rule names this request")
_UNREAD_FORM = Problem(UNREADABLE, "a form that was not read whole may name another method")

MAX_HOSTS = 1024
"""Hosts whose rules are kept at hand; an agent that makes up more of them pays for each."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that answers hang on, kept as evidence by its digest."""

    kind: Literal["mapping", "catalogue"]
    """`catalogue`: the index of a folder of catalogues, which holds the digest of each."""
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


def digest_of(texts: Iterable[tuple[str, str]]) -> str:
    """Return the digest of the mappings that are made of these texts, by id and digest."""
    named = "\n".join(sorted(f"{id_} {digest}" for id_, digest in texts))
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()


class Mappings:
    """A loaded set of mappings; immutable."""

    def __init__(self, compiled: Compiled, documents: Sequence[Document], catalogues: Sequence[Text] = ()) -> None:
        self._compiled = compiled
        self._hosts: dict[str, HostRules] = {}
        self.texts: tuple[Text, ...] = (
            *(Text("mapping", document.source, "", document.digest, document.text) for document in documents),
            *catalogues,
        )
        self.digest: str = digest_of((text.id, text.digest) for text in self.texts)

    @property
    def packs(self) -> tuple[str, ...]:
        """Names of the packs that hosts can be bound to, but for ``http``."""
        return tuple(self._compiled.packs)

    def needs_body(self, request: Request) -> bool:
        """Say whether naming a request with this head takes its body; ``request.body`` is None.

        Raises what a pack raises: whoever asks refuses the request.
        """
        if self._form_counts(request) is not False:
            return True
        every = [request, *(other.request for other in alternatives(request))]
        return any(self._needs_body(each) is not False for each in every)

    def family(self, host: str) -> str:
        """Return the shape of refusals on a host, whatever is asked of it; "" when it is bound to nothing."""
        try:
            return self._binding(host).binding.family
        except Exception:  # noqa: BLE001 - total: a refusal without its shape is one still
            return ""

    def tunnel(self, host: str, port: int) -> Tunnel | None:
        """Return what the operator lets through unread to a canonical host and port; None when it is to be read."""
        return self._compiled.tunnels.get((host, port))

    def resolve(self, request: Request) -> Resolution:
        """Return the operations of the request, or the problem."""
        try:
            if request.method == "CONNECT":
                return resolve_tunnel(self._compiled, request)
            first = self._resolve(request)
            if not isinstance(first, Resolution):
                raise TypeError("a request was resolved to nothing")
            # If these lines are removed, a deletion passes as a POST behind more padding than is read.
            if request.whole().body is None and self._form_counts(request) is not False:
                return Resolution((), _UNREAD_FORM, first.family, first.packs)
            if ordinary(request) is True:
                return first
            keeps = self._binding(request.host).keeps_slashes
            methods: set[str] = set()
            for other in alternatives(request):
                methods.add(other.request.method)
                if _agree(first, self._resolve(other.request), other, keeps) is not True:
                    why = f"two readings of this request differ: {other.why}"
                    return Resolution((), Problem(CONFLICT, why), first.family, first.packs)
            return replace(first, methods=tuple(sorted(methods - {request.method})))
        except Exception:  # noqa: BLE001 - total: what fails here must refuse, not pass
            return Resolution((), Problem(FAILED, "the request could not be resolved"), "")

    def explain(self, request: Request) -> tuple[Resolution, tuple[Considered, ...]]:
        """Return what `resolve` returns, and every rule that came near, the most specific first."""
        seen: list[Considered] = []
        try:
            if request.method != "CONNECT":
                self._resolve(request, seen)
        except Exception:  # noqa: BLE001 - total, as resolve
            seen.clear()
        return self.resolve(request), tuple(seen)

    # --- one reading ---

    def _resolve(self, request: Request, seen: list[Considered] | None = None) -> Resolution:
        here = self._binding(request.host)
        packs = here.binding.packs
        calls, problem, family = _recognised(here, request)
        if problem is None and len(calls) > MAX_OPERATIONS:
            problem = TOO_MANY_OPERATIONS
        if problem is not None:
            return Resolution((), problem, family, packs)
        sent = Reading(request)
        if len(calls) < 2:
            found = self._operations(here, *_read(sent, calls[0] if calls else None), seen)
            if isinstance(found, Problem):
                return Resolution((), found, family, packs)
            if len(found) == 1:
                return Resolution(found, None, family, packs)
            made = [found]
        else:
            made = []
            for call in calls:
                found = self._operations(here, *_read(sent, call), seen)
                if isinstance(found, Problem):
                    return Resolution((), found, family, packs)
                made.append(found)
        operations = _distinct(made)
        if len(operations) > MAX_OPERATIONS:
            return Resolution((), TOO_MANY_OPERATIONS, family, packs)
        return Resolution(operations, None, family, packs)

    def _binding(self, host: str) -> HostRules:
        here = self._hosts.get(host)
        if here is None:
            here = HostRules(self._compiled, host)
            if len(self._hosts) >= MAX_HOSTS:
                self._hosts.clear()
            self._hosts[host] = here
        return here

    def _operations(
        self, here: HostRules, reading: Reading, call: Call | None, seen: list[Considered] | None
    ) -> tuple[Operation, ...] | Problem:
        naming = Naming(reading, call, here.binding.facts, self._compiled)
        if naming.problem is not None:
            return naming.problem
        candidates = self._candidates(here, naming, every=seen is not None)
        if seen is None:
            chosen = choose(candidates)
        else:
            trace: list[tuple[Candidate[Rule], Answer]] = []
            chosen = choose(sorted(candidates, key=_rule_id), trace)
            seen.extend(_considered(chosen, trace))
        if isinstance(chosen, Problem):
            return chosen
        winners = len(chosen)
        if winners == 0:
            return _NO_RULE if call is None else naming.by_itself(call)
        if winners == 1:
            return naming.by_rule(chosen[0].item, chosen[0].captures, chosen[0].subject.facts)
        found: list[Operation] = []
        for candidate in sorted(chosen, key=_rule_id):
            made = naming.by_rule(candidate.item, candidate.captures, candidate.subject.facts)
            if isinstance(made, Problem):
                return made
            found.extend(made)
        return tuple(found)

    def _candidates(self, here: HostRules, naming: Naming, *, every: bool = False) -> list[Candidate[Rule]]:
        request = naming.reading.request
        subject = naming.subject
        operation = subject.operation
        found: list[Candidate[Rule]] = []
        if operation:
            if every:
                ranked = here.every(operation, request.method)
            else:
                ranked = here.ranked(operation, request.method, naming.attributes)
            found = [Candidate(each.rule, each.rank, each.predicates, subject, NO_CAPTURES) for each in ranked]
        if here.paths:
            found.extend(_by_path(here, naming, request).values())
        return found

    # --- before the body is there ---

    def _form_counts(self, request: Request) -> bool:
        """Say whether a form could turn the request into another, so that it has to be read whole.

        Files are sent to hosts whose API is known without being read: none of those takes a method from a part.
        """
        return form_may_override(request, parts=not self._binding(request.host).packs)

    def _needs_body(self, request: Request) -> bool:
        here = self._binding(request.host)
        inside = _inside(here, request)
        if inside is not None and any(pack.needs_body(inside) is not False for pack in here.packs):
            return True
        lookups = any(lookup.reads_body for lookup in self._compiled.lookups)
        if not here.reads_body and not lookups:
            return False
        calls, problem, _ = _recognised(here, request)
        if problem is not None:
            return False
        sent = Reading(request)
        for call in calls or (None,):
            reading, _ = _read(sent, call)
            naming = Naming(reading, call, here.binding.facts, self._compiled)
            if naming.reads_body:
                return True
            for candidate in self._candidates(here, naming):
                # With the body unread, a condition on it is in doubt, so only the head can say no.
                if candidate.item.reads_body and all_hold(candidate.predicates, candidate.subject) is not False:
                    return True
        return False


def _read(sent: Reading, call: Call | None) -> tuple[Reading, Call | None]:
    """Return a call with the reading that rules compare: of the path sent, or of the spelling its pack gave."""
    if call is None or call.path in ("", sent.request.path):
        return sent, call
    return Reading(sent.request, call.path), call


def _distinct(made: Iterable[tuple[Operation, ...]]) -> tuple[Operation, ...]:
    """Return all operations, those that say the same once."""
    operations: dict[tuple[str, str, str, str], Operation] = {}
    for operation in itertools.chain.from_iterable(made):
        key = (operation.name, operation.action, operation.target, operation.environment)
        operations.setdefault(key, operation)
    return tuple(operations.values())


def _by_path(here: HostRules, naming: Naming, request: Request) -> dict[int, Candidate[Rule]]:
    """Return a candidate for each rule that host and path fit: the closest of its templates speaks for it."""
    reading = naming.reading
    spellings = [reading.segments]
    if reading.path != request.path:
        # Second, so that it adds only rules written in that spelling.
        spellings.append(split_path(request.path))
    best: dict[int, Candidate[Rule]] = {}
    for segments in spellings:
        for closeness, bucket in here.paths:
            for found in bucket.find(segments, closeness):
                rule = found.item
                method = method_rank(rule.methods, request.method)
                if method is None:
                    continue
                rank = rank_of(rule, 0, found.literal_chars, closeness, method)
                known = best.get(id(rule))
                if known is None or rank > known.rank:
                    subject = naming.with_captures(found.captures)
                    best[id(rule)] = Candidate(rule, rank, rule.predicates, subject, found.captures)
    return best


def _rule_id(candidate: Candidate[Rule]) -> str:
    return candidate.item.ref.id


def _inside(here: HostRules, request: Request) -> Request | None:
    """Return the request as the API behind the host's prefix sees it; None when it does not reach that API."""
    prefix = here.binding.prefix
    if not prefix:
        return request
    return replace(request, path=request.path[len(prefix) :]) if request.path.startswith(f"{prefix}/") else None


def _recognised(here: HostRules, request: Request) -> tuple[tuple[Call, ...], Problem | None, str]:
    """Return the calls that the host's packs know, or a problem, and the shape its refusals have."""
    family = here.binding.family
    inside = _inside(here, request)
    if inside is None:
        return (), None, family
    calls: tuple[Call, ...] = ()
    for pack in here.packs:
        recognition = _recognise(pack, inside)
        if recognition.problem is not None:
            return (), recognition.problem, pack.family
        if recognition.calls and not calls:
            family = pack.family
        calls += recognition.calls
    if inside is not request:
        prefix = here.binding.prefix
        calls = tuple(replace(call, path=prefix + call.path) if call.path else call for call in calls)
    return calls, None, family


def _recognise(pack: Pack, request: Request) -> Recognition:
    try:
        # Were a cut body handed to a pack that takes it for whole, what stands behind the cut would be unseen.
        return pack.recognise(request if pack.reads_prefix else request.whole())
    except Exception:  # noqa: BLE001 - a pack that fails has recognised nothing, and that must refuse
        return Recognition((), Problem(FAILED, f'the pack "{pack.name}" could not read this request'))


def _agree(first: Resolution, other: Resolution, how: Alternative, keeps_slashes: bool) -> bool:
    unknown = other.problem is not None and other.problem.code == UNMAPPED
    if unknown and (how.lenient or (how.slashes and keeps_slashes)):
        return True
    if how.lenient and first.problem is not None:
        return True
    if first.problem is not None or other.problem is not None:
        return first.problem is not None and other.problem is not None and first.problem.code == other.problem.code
    # Not "==", by which two that were not made are alike.
    return not _essence(first, how.lenient) ^ _essence(other, how.lenient)


def _essence(resolution: Resolution, lenient: bool) -> set[tuple[str, ...]]:
    return {
        # Policies ask for what is known of an operation, too: a reading as a deletion is not the same as one as a read.
        (operation.action, operation.environment, "" if lenient else operation.target, *_known(operation))
        for operation in resolution.operations
    }


def _known(operation: Operation) -> Iterable[str]:
    return (f"{name}={operation.attributes.get(name, '')}" for name in sorted(ATTRIBUTES))


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
