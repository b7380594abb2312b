"""Finding what is filed under a host and a path, and choosing among what was found.

Used twice: for the routes of YAML packs and for the rules. Choosing knows no file order: candidates carry a
rank, the highest rank with an answer other than "no" wins, and equals win together. A candidate whose
answer is in doubt and that would win, or tie, if it held makes the whole choice a problem: "cannot be read"
is never "does not match".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mappings.conditions import Answer, Predicate, Subject, all_hold
from mappings.hosts import HostIndex
from mappings.paths import PathIndex
from mappings.pathtemplates import Template
from mappings.resolution import Problem

Rank = tuple[int, ...]


@dataclass(slots=True)  # made for every request, as Candidate, and freezing would cost more than making
class Found[T]:
    """An item that host and path fit, and how closely."""

    item: T
    captures: dict[str, str]
    literal_chars: int
    host: int
    """Specificity of the host pattern, 0 when it names no host."""


@dataclass(slots=True)
class Bucket[T]:
    """What is filed under one host pattern."""

    paths: PathIndex[T] = field(default_factory=PathIndex)
    any_path: list[T] = field(default_factory=list)

    def find(self, segments: tuple[str, ...] | None, host: int) -> Iterable[Found[T]]:
        """Yield what fits the path; `host` is how closely the pattern names the host."""
        for item in self.any_path:
            yield Found(item, {}, 0, host)
        if segments is not None:
            for template, item, captures in self.paths.find(segments):
                yield Found(item, captures, template.literal_chars, host)


class RouteIndex[T]:
    """Items by host pattern and path template."""

    def __init__(self) -> None:
        self._hosts: HostIndex[Bucket[T]] = HostIndex()
        self._anywhere: Bucket[T] | None = None

    def add(self, item: T, hosts: Sequence[str], templates: Sequence[Template]) -> None:
        """File an item; no hosts means any bound host, no templates any path."""
        for bucket in [self._bucket(host) for host in hosts] or [self._everywhere()]:
            if not templates:
                bucket.any_path.append(item)
            for template in templates:
                bucket.paths.add(template, item)

    def at(self, host: str, *, bound: bool) -> tuple[tuple[int, Bucket[T]], ...]:
        """Return what is filed for a host, and how closely; what names no host only when the host is `bound`."""
        anywhere = ((0, self._anywhere),) if bound and self._anywhere is not None else ()
        return (*anywhere, *self._hosts.find(host))

    def find(self, host: str, segments: tuple[str, ...] | None, *, bound: bool) -> list[Found[T]]:
        """Return everything that fits; what names no host only when the host is `bound`."""
        return [found for closeness, bucket in self.at(host, bound=bound) for found in bucket.find(segments, closeness)]

    def _everywhere(self) -> Bucket[T]:
        if self._anywhere is None:
            self._anywhere = Bucket()
        return self._anywhere

    def _bucket(self, pattern: str) -> Bucket[T]:
        bucket = self._hosts.get(pattern)
        if bucket is None:
            bucket = Bucket()
            self._hosts.put(pattern, bucket)
        return bucket


def method_rank(methods: frozenset[str] | None, method: str) -> int | None:
    """Return how closely a method fits those a rule or route lists; None when it does not."""
    if methods is None:
        return 0
    if method in methods:
        return 2
    # RFC 9110 section 9.3.2: HEAD asks for what GET would answer.
    return 1 if method == "HEAD" and "GET" in methods else None


@dataclass(slots=True)
class Candidate[T]:
    """Something that may win."""

    item: T
    rank: Rank
    predicates: tuple[Predicate, ...]
    subject: Subject
    captures: dict[str, str]


def choose[T](
    candidates: list[Candidate[T]], trace: list[tuple[Candidate[T], Answer]] | None = None
) -> list[Candidate[T]] | Problem:
    """Return the winners, none when nothing holds, or the problem that leaves the choice open."""
    if len(candidates) > 1:
        candidates.sort(key=_rank, reverse=True)
    winners: list[Candidate[T]] = []
    doubt: Problem | None = None
    best: Rank | None = None
    for candidate in candidates:
        if best is not None and candidate.rank != best and trace is None:
            break
        answer = all_hold(candidate.predicates, candidate.subject) if candidate.predicates else True
        if trace is not None:
            trace.append((candidate, answer))
        if answer is False or (best is not None and candidate.rank != best):
            continue
        best = candidate.rank
        if isinstance(answer, Problem):
            doubt = doubt or answer
        elif answer is True:
            winners.append(candidate)
        else:
            raise TypeError("whether a rule holds was answered neither yes nor no")
    return doubt or winners


def _rank[T](candidate: Candidate[T]) -> Rank:
    return candidate.rank
