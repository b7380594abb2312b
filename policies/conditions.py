"""Conditions of rules: does this hold of that question, does it not, or can it not be told?

There are three answers, because two would make a guess: where the question lacks what a condition asks for,
the answer is UNTOLD, and the caller turns it against the agent (a deny that is untold applies, an allow that
is untold does not). All parts of ``when`` must hold; ``unless`` takes the rule away when all of its parts hold.

    when: {environment: [production]}        environment "staging": NO      environment "unknown": UNTOLD
    unless: {client: ["10.0.0.0/8"]}         client "10.1.2.3": NO          client "": UNTOLD

It reads the question and nothing else: no clock, no network, no database of zones that is not the system's.
"""

from __future__ import annotations

import enum
import ipaddress
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from mappings.globs import SURELY, Glob, read_glob
from policies.conditionschema import Conditions, TimeWindow, clock_minutes
from policies.values import Question

CUT = "..."
"""Ends a text that was too long to be recorded whole: what was cut off is in no record, so no condition sees it."""
KEPT_OUT = "[redacted]"
"""Stands in a record for a text that was kept out of it; no condition can be told of it."""
MAX_TEXT_CHARS = 512
"""The longest text of a request that is recorded whole."""

_NO_ENVIRONMENT = frozenset({"", "unknown", "conflict"})
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_OF_A_DAY = 24 * 60


class Truth(enum.Enum):
    """Whether something holds of a question."""

    NO = "does not hold"
    UNTOLD = "cannot be told"
    YES = "holds"


type Check = Callable[[Question], Truth]


@dataclass(frozen=True, slots=True)
class Condition:
    """One part of ``when`` or ``unless``."""

    name: str
    """As it is written: "environment", "header.x-ticket"."""
    wanted: str
    """What is asked for, for people: "production, prod-*"."""
    check: Check

    def __str__(self) -> str:
        return f"{self.name} {self.wanted}"


@dataclass(frozen=True, slots=True)
class Guard:
    """When a rule counts: all of `when`, not all of `unless`, and before `until`."""

    when: tuple[Condition, ...]
    unless: tuple[Condition, ...]
    until: datetime | None

    def holds(self, question: Question) -> Truth:
        """Return whether the rule counts for this question."""
        if self.until is not None and question.at >= self.until:
            return Truth.NO
        met = all_hold(self.when, question)
        if met is Truth.NO or not self.unless:
            return met
        match all_hold(self.unless, question):
            case Truth.YES:
                return Truth.NO
            case Truth.NO:
                return met
            case _:
                return Truth.UNTOLD

    def untold(self, question: Question) -> Iterator[str]:
        """Yield the names of the conditions that cannot be told."""
        for condition in (*self.when, *self.unless):
            if condition.check(question) is Truth.UNTOLD:
                yield condition.name

    def __str__(self) -> str:
        parts = [*(f"when {each}" for each in self.when), *(f"unless {each}" for each in self.unless)]
        return "; ".join([*parts, *([f"until {self.until.isoformat()}"] if self.until else [])])


ALWAYS = Guard((), (), None)


def all_hold(conditions: Iterable[Condition], question: Question) -> Truth:
    """Return whether all of them hold; one that does not outweighs one that cannot be told."""
    result = Truth.YES
    for condition in conditions:
        truth = condition.check(question)
        if truth is Truth.NO:
            return truth
        if truth is not Truth.YES:
            result = Truth.UNTOLD
    return result


def compile_guard(when: Conditions | None, unless: Conditions | None, until: datetime | None) -> Guard:
    """Return the guard that a rule's keys mean; `ALWAYS` when there are none."""
    if when is None and unless is None and until is None:
        return ALWAYS
    return Guard(tuple(_compiled(when)), tuple(_compiled(unless)), until)


def _compiled(wanted: Conditions | None) -> Iterator[Condition]:
    if wanted is None:
        return
    if wanted.time is not None:
        yield Condition("time", _window_text(wanted.time), _time(wanted.time))
    if wanted.client is not None:
        yield Condition("client", ", ".join(wanted.client), _client(wanted.client))
    if wanted.target is not None:
        yield Condition("target", ", ".join(wanted.target), _target(wanted.target))
    if wanted.environment is not None:
        yield Condition("environment", ", ".join(wanted.environment), _environment(wanted.environment))
    for name in ("method", "scheme", "host", "access", "executes", "mints"):
        values = _as_texts(getattr(wanted, name))
        if values:
            fold = str.upper if name == "method" else str.lower
            yield Condition(name, ", ".join(values), _attribute(name, values, fold))
    for header, values in (wanted.header or {}).items():
        yield Condition(f"header.{header}", ", ".join(values), _header(header, values))


def _as_texts(value: object) -> tuple[str, ...]:
    match value:
        case None:
            return ()
        case bool():
            return ("true" if value else "false",)
        case str():
            return (value,)
        case _:
            return tuple(str(each) for each in value) if isinstance(value, tuple) else ()


def _time(window: TimeWindow) -> Check:
    zone, days = zoneinfo.ZoneInfo(window.zone), frozenset(window.days)
    begin, end = clock_minutes(window.from_), clock_minutes(window.to)

    def check(question: Question) -> Truth:
        local = question.at.astimezone(zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = _DAYS[local.weekday()], _DAYS[(local - timedelta(days=1)).weekday()]
        if begin < end:
            within = today in days and begin <= minute < end
        else:  # over midnight: the second part belongs to the day before
            within = (today in days and minute >= begin) or (yesterday in days and minute < end)
        return Truth.YES if within else Truth.NO

    return check


def always(window: TimeWindow) -> bool:
    """Say whether a time window leaves nothing out."""
    span = clock_minutes(window.to) - clock_minutes(window.from_)
    return len(set(window.days)) == len(_DAYS) and span == _MINUTES_OF_A_DAY


def _window_text(window: TimeWindow) -> str:
    days = "" if len(set(window.days)) == len(_DAYS) else f"{' '.join(window.days)} "
    return f"{days}{window.from_}-{window.to} {window.zone}"


def _client(networks: Sequence[str]) -> Check:
    allowed = [ipaddress.ip_network(text) for text in networks]

    def check(question: Question) -> Truth:
        address = _address(question.client)
        if address is None:
            return Truth.UNTOLD
        return Truth.YES if any(address in network for network in allowed) else Truth.NO

    return check


@lru_cache(maxsize=4096)
def _address(client: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a client's address, None when it is none; remembered, since reading one costs as much as deciding."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    # A listener for both families shows an IPv4 client as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
    return getattr(address, "ipv4_mapped", None) or address


def _globs(texts: Sequence[str]) -> tuple[Glob, ...]:
    return tuple(read_glob(text) for text in texts)


def _target(texts: Sequence[str]) -> Check:
    globs = _globs(texts)

    def check(question: Question) -> Truth:
        return fits(globs, question.target) if question.target else Truth.UNTOLD

    return check


def fits(globs: Iterable[Glob], text: str) -> Truth:
    """Say whether one of the globs fits a text of a request; of one that stands in no record only "*" can be told."""
    if any(not any(glob.pieces) and len(glob.pieces) > 1 for glob in globs):
        return Truth.YES
    if is_cut(text) is not False:
        return Truth.UNTOLD
    return Truth.YES if any(SURELY[glob.fits(text)] for glob in globs) else Truth.NO


def is_cut(text: str) -> bool:
    """Say whether a text of a request stands in no record: it was too long, or kept out."""
    return text == KEPT_OUT or (len(text) > MAX_TEXT_CHARS and text.endswith(CUT))


def _environment(texts: Sequence[str]) -> Check:
    globs = _globs([text.lower() for text in texts])

    def check(question: Question) -> Truth:
        environment = question.environment.lower()
        if environment in _NO_ENVIRONMENT:
            return Truth.UNTOLD
        return Truth.YES if any(SURELY[glob.fits(environment)] for glob in globs) else Truth.NO

    return check


def _attribute(name: str, texts: Sequence[str], fold: Callable[[str], str]) -> Check:
    globs = _globs([fold(text) for text in texts])

    def check(question: Question) -> Truth:
        value = question.attributes.get(name)
        return fits(globs, fold(value)) if value else Truth.UNTOLD

    return check


def _header(name: str, texts: Sequence[str]) -> Check:
    globs, key = _globs(texts), f"header.{name}"

    def check(question: Question) -> Truth:
        value = question.attributes.get(key)
        if value is None:
            return Truth.UNTOLD
        # "" stands for a header that was not sent, and no glob is met by what is not there.
        return fits(globs, value) if value else Truth.NO

    return check
