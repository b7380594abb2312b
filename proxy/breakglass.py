"""Exceptions (break-glass): two humans let one agent do one thing to one target, for a while.

    REQUESTED --another human--> ACTIVE --time or a human--> ENDED
        \\--a human--> REFUSED    \\-- the request itself waits an hour, then it is LAPSED

What is asked for cannot be changed afterwards, so the second human approves what the first one wrote. At most sixty
minutes, a reason, two different humans who may both speak for what the agent does; the human who answers for it may be
one of them. A grant counts while both may still speak. It lifts only what `policies` lets it lift: a deny marked
`overridable: break-glass`, and that nothing allows the action. Pure but for `ExceptionDesk`, which records.
"""

import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ulid import ULID

from chron import Chron, ChronError, redacted_text
from policies import BreakGlass, Human, Policies
from proxy.approvals import ApprovalError
from proxy.questions import FieldValues, recorded
from proxy.timers import Later, call_at, loop_later
from proxy.vouching import may_speak

_log = logging.getLogger(__name__)

MAX_MINUTES = 60
WAITS = timedelta(hours=1)
"""How long a request for an exception may wait for its second human."""
LOOK_BACK = 3 * WAITS
"""How far back one can matter: it waited, it was in force, and it is still shown."""


class Stand(enum.Enum):
    """Where an exception stands."""

    REFUSED = "refused"
    LAPSED = "lapsed"
    ENDED = "ended"
    REQUESTED = "requested"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class AgentException:
    """One exception, from its request to its end."""

    id: str
    agent: str
    action: str
    """A canonical action pattern."""
    target: str
    """A glob."""
    minutes: int
    reason: str
    by: str
    at: datetime
    approved_by: str = ""
    since: datetime | None = None
    """When the second human said yes."""
    refused: bool = False
    ended: datetime | None = None
    """When somebody ended it early."""

    @property
    def until(self) -> datetime:
        """When it ends by itself; of a request, when it lapses."""
        return self.since + timedelta(minutes=self.minutes) if self.since else self.at + WAITS

    def stand(self, at: datetime) -> Stand:
        """Return where it stands at a time."""
        if self.refused:
            return Stand.REFUSED
        if self.since is None:
            return Stand.LAPSED if at >= self.until else Stand.REQUESTED
        return Stand.ENDED if self.ended is not None or at >= self.until else Stand.ACTIVE

    def granted(self, by: str, at: datetime) -> "AgentException":
        """Return it with the second human's yes; raises ApprovalError when that does not count."""
        if self.stand(at) is not Stand.REQUESTED:
            raise ApprovalError(f"exception.{self.stand(at).value}", f"{self.id} is {self.stand(at).value}")
        # If this line is removed, one human is two.
        if by == self.by:
            raise ApprovalError("exception.second-human", f"{by} asked for it; somebody else has to approve it")
        return replace(self, approved_by=by, since=at)

    @property
    def grant(self) -> BreakGlass:
        """Return what decisions see of it; of one that was not granted, something that is never in force."""
        since, people = self.since or self.until, (self.by, self.approved_by)
        return BreakGlass(self.id, self.agent, self.action, self.target, since, self.until, people, self.reason)


def fields_of(event: str, one: AgentException, by: str = "") -> FieldValues:
    """Return the record of something that happened to an exception."""
    return {
        "event": event,
        "exception": one.id,
        "agent": one.agent,
        "action": one.action,
        "target": one.target,
        "minutes": one.minutes,
        "reason": recorded(redacted_text(one.reason)),
        "by": by or one.by,
        "requested_by": one.by,
        "approved_by": one.approved_by or None,
        "at": _written(one.at),
        "since": _written(one.since) if one.since else None,
        "until": _written(one.until) if one.since else None,
        "ended": _written(one.ended) if one.ended else None,
    }


def _written(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def from_records(records: Iterable[Mapping[str, str | int | bool]]) -> dict[str, AgentException]:
    """Return the exceptions that records of kind `exception` tell of, by id, as the last one of each left it."""
    found: dict[str, AgentException] = {}
    for fields in records:
        since, ended = str(fields.get("since", "")), str(fields.get("ended", ""))
        name = str(fields["exception"])
        over = name in found and (found[name].refused or found[name].ended is not None)
        if over:
            continue  # an end is an end, in whatever order records were written
        found[name] = AgentException(
            id=name,
            agent=str(fields["agent"]),
            action=str(fields["action"]),
            target=str(fields["target"]),
            minutes=int(fields["minutes"]),
            reason=str(fields["reason"]),
            by=str(fields["requested_by"]),
            at=datetime.fromisoformat(str(fields["at"])),
            approved_by=str(fields.get("approved_by", "")),
            since=datetime.fromisoformat(since) if since else None,
            refused=fields["event"] == "refused",
            ended=datetime.fromisoformat(ended) if ended else None,
        )
    return found


def grants(records: Iterable[Mapping[str, str | int | bool]]) -> dict[str, BreakGlass]:
    """Return every grant that records tell of, by id: what a past decision names is put back into its question."""
    found: dict[str, BreakGlass] = {}
    for fields in records:
        if fields.get("event") != "granted":
            continue
        name, agent, action, target, by, second, reason = (str(fields.get(each, "")) for each in _GRANTED)
        since, until = (datetime.fromisoformat(str(fields[each])) for each in ("since", "until"))
        found[name] = BreakGlass(name, agent, action, target, since, until, (by, second), reason)
    return found


_GRANTED = ("exception", "agent", "action", "target", "requested_by", "approved_by", "reason")


async def _counts_already() -> None:
    """Where one process decides, it knows."""


class ExceptionDesk:
    """The exceptions of one gate: asked for, granted and ended here, each by record; lives in its event loop."""

    def __init__(self, chron: Chron, *, session: str, now: Callable[[], datetime], later: Later = loop_later) -> None:
        self._chron = chron
        self._session = session
        self._now = now
        self._later = later
        self._all: dict[str, AgentException] = {}
        self._told: set[str] = set()
        """Those whose end by time is on record."""
        self.changed: Callable[[], Awaitable[None]] = _counts_already
        """Awaited when a grant begins or ends: what is said counts everywhere when whoever said it is answered."""

    def __iter__(self) -> Iterator[AgentException]:
        self.sweep()
        return iter(sorted(self._all.values(), key=lambda one: (one.at, one.id)))

    def active(self, policies: Policies, agent: str, at: datetime) -> tuple[BreakGlass, ...]:
        """Return the grants that count for an agent now; a grant counts while both its humans may speak."""
        if not self._all:  # what nearly every question meets
            return ()
        mine = (one for one in self._all.values() if one.agent == agent and one.stand(at) is Stand.ACTIVE)
        return tuple(
            one.grant for one in mine if all(may_speak(policies, human, agent, at) is True for human in one.grant.by)
        )

    def get(self, exception_id: str) -> AgentException:
        """Return an exception; raises ApprovalError when there is none."""
        if exception_id not in self._all:
            raise ApprovalError("exception.unknown", f'there is no exception "{exception_id}"')
        return self._all[exception_id]

    async def request(
        self, human: Human, policies: Policies, *, agent: str, action: str, target: str, minutes: int, reason: str
    ) -> AgentException:
        """Ask for an exception; raises ApprovalError, or ChronError when it cannot be recorded."""
        at = self._now()
        if agent not in policies.agents:
            raise ApprovalError("exception.agent", f'agent "{agent}" does not exist')
        self._must_speak(policies, human, agent, at)
        name = f"bgl_{str(ULID()).lower()}"
        one = AgentException(name, agent, action, target, minutes, reason, human.id, at)
        await self._chron.append("exception", self._said("requested", one, human))
        self._all[name] = one
        return one

    async def approve(self, exception_id: str, human: Human, policies: Policies) -> AgentException:
        """Take the second human's yes, durable before it counts; raises as `request`."""
        one, at = self.get(exception_id), self._now()
        self._must_speak(policies, human, one.agent, at)
        granted = one.granted(human.id, at)
        await self._chron.append("exception", self._said("granted", granted, human))
        self._must_be_same(one)  # refused while it was being written
        self._all[exception_id] = granted
        self._watch(granted)
        await self.changed()
        return granted

    async def end(self, exception_id: str, human: Human, policies: Policies) -> AgentException:
        """Refuse a request or end a grant: counts at once, durable when this returns; raises as `request`."""
        one, at = self.get(exception_id), self._now()
        self._must_speak(policies, human, one.agent, at)
        match one.stand(at):
            case Stand.REQUESTED:
                event, over = "refused", replace(one, refused=True)
            case Stand.ACTIVE:
                event, over = "ended", replace(one, ended=at)
            case stand:
                raise ApprovalError(f"exception.{stand.value}", f"{exception_id} is {stand.value}")
        self._all[exception_id] = over
        await self.changed()
        await self._chron.append("exception", self._said(event, over, human))
        return over

    def adopt(self, ones: Iterable[AgentException]) -> None:
        """Know these and no others: in a process where nobody asks for one, as the one where they do has them."""
        self._all = {one.id: one for one in ones}

    def restore(self, records: Iterable[Mapping[str, str | int | bool]]) -> None:
        """Take over what the log says, at the start."""
        self._all |= from_records(records)
        self._told |= {name for name, one in self._all.items() if one.ended is not None}
        self.sweep()
        for one in self._all.values():
            if one.stand(self._now()) is Stand.ACTIVE:
                self._watch(one)

    def _watch(self, one: AgentException) -> None:
        call_at(one.until, self.sweep, now=self._now, later=self._later)

    def sweep(self) -> None:
        """Write down what has ended by time since the last look, and forget what is long over."""
        at = self._now()
        for one in list(self._all.values()):
            if one.stand(at) is Stand.ENDED and one.id not in self._told:
                self._told.add(one.id)
                ended = one if one.ended else replace(one, ended=one.until)
                self._all[one.id] = ended
                if one.ended is None:
                    self._note(ended)
            if at >= one.at + LOOK_BACK:
                del self._all[one.id]
                self._told.discard(one.id)

    def _note(self, one: AgentException) -> None:
        try:
            self._chron.note("exception", {**fields_of("ended", one, "time"), "session": self._session})
        except ChronError as error:
            # It has ended all the same: its record says until when it was.
            _log.error("the end of %s could not be recorded: %s", one.id, error)

    def _said(self, event: str, one: AgentException, human: Human) -> FieldValues:
        return {**fields_of(event, one, human.id), "session": self._session}

    def _must_be_same(self, one: AgentException) -> None:
        if self._all.get(one.id) is not one:
            raise ApprovalError("exception.changed", f"{one.id} was decided by somebody else meanwhile")

    def _must_speak(self, policies: Policies, human: Human, agent: str, at: datetime) -> None:
        if may_speak(policies, human.id, agent, at) is not True:
            raise ApprovalError("exception.not-eligible", f"{human.id} has no say in what {agent} does")
