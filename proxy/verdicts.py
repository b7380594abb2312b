"""The values that a request becomes on its way: rules, head, judgements, case, verdict, ending. Nothing here decides.

    Head -> Decided -> Case -> (record) -> Verdict -> Ending          a request
    Inquiry -> Judgement -> (record) -> Checked                       a question that is asked first

None of them has a permissive default: an empty `Decided` holds nothing, a `Verdict` with neither answer nor route
forwards nothing. Whoever asks one of them a yes or no goes on by the exact `True` or `False` that lets least through:
what came of a fault is neither, and refuses.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from mappings import Mappings, Problem, Resolution
from policies import Credential, Decision, Outcome, Policies, Question
from proxy.approvals import Approval
from proxy.destinations import Route
from proxy.facts import Facts, Inbound
from proxy.identity import NO_ISSUERS, Issuers
from proxy.questions import WIRE
from proxy.refusals import Answer, Refusal
from proxy.uses import Charge

NOTHING = Resolution((), None, "")
"""What a request is read as that is refused before anything of it is named."""


@dataclass(frozen=True, slots=True)
class Book:
    """The rules in force; swapped as a whole on reload."""

    mappings: Mappings
    policies: Policies
    digest: str
    issuers: Issuers = NO_ISSUERS
    """Whose workload tokens are believed."""
    bundles: tuple[str, ...] = ()
    """The signed bundles that skills and policies came from."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request as far as its head tells, and whether its body must be read to name it."""

    inbound: Inbound
    credential: Credential
    facts: Facts | None
    problem: Problem | None
    """Why there are no facts."""
    needs_body: bool
    book: Book
    """The rules the head was read by; the body is judged by the same ones, unless it waits for a human."""
    started_ns: int
    at: datetime
    """When it came; the time that all of it is judged at."""
    may_hold: bool = False
    """Whether it may have to wait for a human."""
    flood: str = ""
    """What its refusal is counted for when there are too many of its kind to record each; "" where each is recorded."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about one operation of a request; of a request that is none, about it as a whole."""

    decision: Decision
    question: Question | None = None
    """None where no texts were asked."""
    pdp: str = ""
    """What the external PDP said; "" where it was not asked."""

    @property
    def denies(self) -> bool:
        """Say whether it stops the request, whatever humans say."""
        return self.decision.outcome is Outcome.DENY and self.decision.forwards is not True


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about a request."""

    resolution: Resolution
    judgements: list[Judgement]
    """One for each operation, at least one."""
    charges: list[Charge] = field(default_factory=list)
    """What it counts against, counted already."""

    @property
    def held(self) -> bool:
        """Say whether nothing but the word of humans is missing."""
        stopped = [each for each in self.judgements if each.decision.forwards is not True]
        return bool(stopped) and not any(each.denies is not False for each in stopped)

    @property
    def shared(self) -> bool:
        """Say whether it hangs on what all of a gate's processes have in common: words of humans, uses of limits."""
        return self.held or any(each.question is not None and bool(each.question.uses) for each in self.judgements)

    @property
    def forwards(self) -> bool:
        """Say whether all of it may go on, as far as was decided until now."""
        return bool(self.judgements) and all(each.decision.forwards is True for each in self.judgements)

    @property
    def redact(self) -> set[str]:
        """Return the fields that policies keep out of every record of it."""
        return {name for each in self.judgements if each.decision.redact for name in each.decision.redact}

    @property
    def approvers(self) -> tuple[str, ...]:
        """Return the humans whose word it hangs on."""
        return next((each.question.approvers for each in self.judgements if each.question), ())

    def refused(self, refusal: Decision) -> "Decided":
        """Return it with every operation refused alike: it cannot go on whatever the operations are.

        It counts against nothing; the charges of this one are still to be taken back.
        """
        # What a policy keeps out of the record stays out of it, whatever the refusal is.
        kept = [(each.decision.redact, each.pdp) for each in self.judgements]
        return Decided(self.resolution, [Judgement(replace(refusal, redact=redact), pdp=pdp) for redact, pdp in kept])


@dataclass(frozen=True, slots=True)
class Case:
    """A request and what was decided about it; not recorded yet, so it permits nothing."""

    head: Head
    facts: Facts | None
    decided: Decided
    approval: Approval | None = None
    """What it is allowed by: taken for this one run, and to be given back when nothing comes of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request. It forwards exactly when `route` is set and `answer` is not.

    Without either, another proxy may forward it: the one that asked.
    """

    answer: Answer | None
    facts: Facts | None
    route: Route | None
    chron_id: str
    record_ids: tuple[str, ...]
    refusal: Refusal | None
    """The words for an answer: of the refusal, or of the permission should the target fail."""
    started_ns: int
    error: str = ""
    """Why an allowed request could not be sent at all."""
    channel: str = WIRE
    family: str = ""
    """The shape of answers that the caller parses; "" for the plain one."""
    messages: frozenset[str] = frozenset()
    """The packs by which each message is judged that follows a WebSocket's upgrade; empty where none is."""
    ended: bool = False
    """Its outcome is on record already, by whoever judged it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a forwarded request."""

    result: str
    """`sent`, `failed` or `blocked`; `delegated` where another proxy was told that it may forward."""
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question that somebody asks before anything is done."""

    who: Credential
    action: str
    """Canonical."""
    target: str
    environment: str
    client: str
    asked_by: str = ""
    """Who asks about an agent that is somebody else; "" for the agent itself, which proves who it is."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to an inquiry."""

    decision: Decision
    action: str
    target: str
    chron_id: str
