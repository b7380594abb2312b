"""The values that go into a decision and come out of it; all frozen, none decides anything.

`Question` in, `Decision` out. A decision names everything that led to it, so that the record can be read
years later without the files that were loaded then.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from mappings.documents import DocumentError


class PolicyError(DocumentError):
    """Agents, skills or policies that cannot be used; holds every fault with its place."""


class Outcome(enum.Enum):
    """What a decision says; there is no other answer and no default."""

    DENY = "DENY"
    HOLD = "HOLD"
    """It may be done once a human has said so; until then it is not."""
    ALLOW = "ALLOW"


class Mode(enum.Enum):
    """Whether a denial stops the call or is only written down."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class State(enum.Enum):
    """Whether an agent, a human or an organisation may act at all."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    """Never written: what its ``expires`` makes of any other state."""
    SUSPENDED = "suspended"
    PENDING = "pending"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a caller says it is, and what it presented to prove it."""

    agent: str
    token_sha256: str
    """SHA-256 of the presented token, lower-case hex, "" without one; the token itself goes no further."""
    identities: tuple[str, ...] = ()
    """What was proven by other means, each verified before it comes here: "cert-sha256:<hex>" and
    "spiffe://..." of a client certificate, "jwt:<issuer>#<subject>" of a signed workload token, "listener:<name>" and
    "address:<IP>" of a listener that only one agent can reach."""
    expires: datetime | None = None
    """When what proved `identities` ends; aware, UTC."""


def credential(agent: str, token: str) -> Credential:
    """Return the credential for an agent's name and its token."""
    return Credential(agent, token_digest(token))


def token_digest(token: str) -> str:
    """Return the SHA-256 by which a token is known, lower-case hex."""
    # surrogatepass: bytes that are not UTF-8 reach us as lone surrogates and must end in "wrong token".
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class TextRef:
    """One version of a policy or skill, by the digest of its text."""

    kind: Literal["policy", "skill"]
    id: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it was obeyed, to be kept by digest so that a past decision can be decided again."""

    kind: Literal["policy", "skill", "agents"]
    id: str
    version: str
    """The version number as text; empty for the agents."""
    digest: str
    text: str
    source: str
    """Where it was read, as the places of its lines begin."""
    usable: bool = True
    """Whether it may count where it is named: with activation required, only what was activated."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whose agents, humans and targets these are."""

    id: str
    name: str
    state: State
    owns: tuple[str, ...]
    """Globs of the targets that are its own; agents of others need a cross-grant to act on them."""


@dataclass(frozen=True, slots=True)
class CrossGrant:
    """One organisation's agents may act in another: on its targets, and answered for by its humans."""

    of: str
    """The organisation whose agents these are."""
    into: str
    agents: tuple[str, ...]
    """Globs of agents' names."""
    actions: tuple[str, ...]
    """Action patterns; what none of them matches stays inside the boundary."""
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Token:
    """One of the tokens that prove an agent or a human."""

    sha256: str
    """Lower-case hex of its digest."""
    expires: datetime | None = None
    created: str = ""

    def valid(self, at: datetime) -> bool:
        """Say whether it still counts."""
        return self.expires is None or at < self.expires


@dataclass(frozen=True, slots=True)
class Human:
    """A person who answers for agents: their anchor."""

    id: str
    name: str
    org: str
    state: State
    expires: datetime | None = None
    tokens: tuple[Token, ...] = field(default=(), repr=False)
    """What the person proves an approval with."""

    def state_at(self, at: datetime) -> State:
        """Return the state that counts at a time."""
        return state_at(self.state, self.expires, at)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent as the registry knows it."""

    id: str
    anchor: str
    org: str
    state: State
    mode: Mode
    pin: str
    """The skill as written: "deploy-v2", "deploy-v2@1", or empty."""
    skill: TextRef | None
    """The version the pin means in this set of texts."""
    policies: tuple[TextRef, ...]
    """Every policy that applies to it."""
    created: str
    tokens: tuple[Token, ...] = field(repr=False)
    identities: tuple[str, ...] = ()
    """Proofs beside tokens: client certificates and workload identities, as in `Credential.identities`."""
    expires: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def state_at(self, at: datetime) -> State:
        """Return the state that counts at a time."""
        return state_at(self.state, self.expires, at)


def state_at(state: State, expires: datetime | None, at: datetime) -> State:
    """Return what a written state is at a time: an end that has come makes it expired, unless it is revoked."""
    ended = expires is not None and at >= expires
    return State.EXPIRED if ended and state is not State.REVOKED else state


def written_moment(at: datetime | None) -> str:
    """Return a time as it is written into files and records, in UTC; "" for none."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """An exception that two humans made for one agent, for a while; see `policies.exceptions`."""

    id: str
    """The grant, as its records name it: "bgl_..."."""
    agent: str
    action: str
    """A canonical action pattern."""
    target: str
    """A glob."""
    since: datetime
    until: datetime
    by: tuple[str, str]
    """The two humans, the one who asked first."""
    reason: str


NO_ATTRIBUTES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Question:
    """May this agent do this? All that the answer depends on besides the texts, so it has one answer.

    Everything here is recorded as it stands here, so that the question can be put again.
    """

    credential: Credential
    action: str
    target: str
    environment: str
    at: datetime
    """When it was asked; timezone-aware, UTC."""
    client: str
    """The address it was asked from."""
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES, hash=False)
    """What is known of the request: "method", "scheme", "host", "port", "access", "executes", "mints"
    ("true" or "false"), and "header.<name>" for the headers that texts ask about. A name that is absent could
    not be told."""
    uses: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How often each limit that concerns this question was used within its window, by `Limit.key`; a
    limit that is absent was not counted, and counts as reached."""
    approvers: tuple[str, ...] = ()
    """Humans who said yes to exactly this request."""
    exceptions: tuple[BreakGlass, ...] = ()
    """Break-glass grants of this agent that have begun and not ended."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who has to say yes before a held action may be done."""

    rule: str
    """The place of the line that asks for it, "file:line:col"."""
    reason: str
    """"skill:deploy-v2 -- action needs approval"."""
    approvers: int
    """How many different humans."""
    who: tuple[str, ...]
    """Globs of the humans who may."""
    anchor: bool
    """Whether the human who answers for the agent may be one of them."""

    def eligible(self, human: str, anchor: str) -> bool:
        """Say whether this human's word counts."""
        return (self.anchor or human != anchor) and any(fnmatchcase(human, glob) for glob in self.who)

    def satisfied(self, approvers: Iterable[str], anchor: str) -> bool:
        """Say whether enough of those who may have said yes; each human counts once."""
        return len({human for human in approvers if self.eligible(human, anchor) is True}) >= self.approvers


@dataclass(frozen=True, slots=True)
class Limit:
    """How often something may be done within a window that slides."""

    key: str
    """Which limit of which text for whom: "policy:calm/destroy/604800s human:alice@acme.test"."""
    most: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and everything that led to it."""

    outcome: Outcome
    mode: Mode
    """OBSERVE: a denial is recorded and forwarded. Never OBSERVE where identity, anchor or org failed."""
    reason: str
    """For people, stable: "policy:no-prod-v1 -- action not in allow list"."""
    code: str
    """For programs: "policy.not-in-allow-list"."""
    stage: str
    """Which stage decided: agent, anchor, org, policy, skill, or what `refuse` was called for."""
    agent: str
    anchor: str
    org: str
    rule: str
    """Where the deciding line stands: "policies/no-prod.yaml:7:5"; empty when no line decided."""
    pattern: str
    """The deciding pattern; empty when the absence of one decided."""
    policy: TextRef | None
    """The deciding policy, when a policy decided."""
    skill: TextRef | None
    """The agent's skill, whichever stage decided."""
    policies: tuple[TextRef, ...]
    """Every policy that applies to the agent."""
    error: str
    """What went wrong inside; empty in every sound decision."""
    observed: str = ""
    """What policies in observe mode would have denied, "; " between them."""
    untold: str = ""
    """Conditions that could not be told, "; " between them: each counted against the agent."""
    holds: tuple[Hold, ...] = ()
    """What has to be approved; of a HOLD never empty, of an ALLOW what was."""
    limits: tuple[Limit, ...] = ()
    """The limits that this counts against when it goes on."""
    redact: tuple[str, ...] = ()
    """Fields that a policy wants kept out of the record, sorted."""
    exception: str = ""
    """The break-glass grant without which this would not be an ALLOW."""

    @property
    def forwards(self) -> bool:
        """Say whether the call may go on to its target."""
        return self.outcome is Outcome.ALLOW or self.mode is Mode.OBSERVE


type Verdict = Literal["pass", "deny", "would deny", "hold", "allow", "not reached", "not asked"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of an explanation."""

    name: str
    verdict: Verdict
    detail: str
    place: str
    note: str = ""
    """What narrows the line, or would have made it count: "when environment production"."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with every stage that led to it."""

    decision: Decision
    stages: tuple[Stage, ...]
    nearest_allow: str
    """The allow pattern most like the action, with its place; empty when none is like it."""
    changes: tuple[str, ...] = ()
    """What would turn this decision, one thing after the other; empty when nothing that is known here can."""

    @property
    def change(self) -> str:
        """The same in one line."""
        if len(self.changes) < 2:
            return "".join(self.changes)
        steps = "; ".join(f"{number}. {step}" for number, step in enumerate(self.changes, 1))
        return f"{len(self.changes)} changes are needed: {steps}"
