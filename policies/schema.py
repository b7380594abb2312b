"""What agents, skills and policies look like on disk; each field is checked here and nowhere else.

A rule is a pattern, or a mapping with the pattern as ``action`` and what narrows it (`policies.conditionschema`).

A skill, a policy and the registry, in little:

    skill: deploy-v2            policy: no-prod-v1             version: 1
    version: 1                  version: 1                     humans:
    allow: [deploy:staging]     applies_to: {orgs: [acme]}     - {id: alice@acme.test, org: acme, ...}
    deny: [deploy:production]   allow: [deploy:staging]        agents:
                                mode: enforce                  - {id: deploy-bot, ...}

What is wrong in them:

    agents.yaml:9:5: unknown key "ancor"; did you mean "anchor"
    agents.yaml:14:7: a token stands here as the SHA-256 that "claiim agent add" writes, never as itself
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from mappings.actions import canonical_pattern
from policies.conditionschema import Conditions, Entry, HeaderName, Moment, SomeTexts, Texts
from policies.values import Mode, State

REMOVED_TOKEN = "removed"  # noqa: S105 -- stands where a hash was taken out
"""Stands for a token's hash in the text that is kept as evidence; no token has it as its digest."""
MAX_TOKENS = 4
"""Per agent or human; two are enough for a rotation without a gap."""
MAX_EXTENDS = 16
"""Texts that one text may be put together from, directly; and how many may stand one upon the other."""
MAX_LIMIT = 10_000
"""Uses that one limit may count: each is a time that is kept in memory."""
MAX_WINDOW_S = 31 * 86_400
"""The longest window: the gate reads this much of the Chron when it starts."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PERSON = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
_GLOB = re.compile(r"[a-z0-9*][a-z0-9._*-]{0,63}")
_PIN = re.compile(rf"{_NAME.pattern}(?:@[1-9][0-9]{{0,8}})?")
_TOKEN_SHA256 = re.compile(r"[0-9a-f]{64}")
_PERSON_GLOB = re.compile(r"[a-z0-9*][a-z0-9._@+*-]{0,127}")
_VERSION_PIN = re.compile(rf"{_NAME.pattern}@[1-9][0-9]{{0,8}}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}")
_WINDOW = re.compile(r"minute|hour|day|week|[1-9][0-9]{0,5}[smhdw]")
_IDENTITY = re.compile(
    r"cert-sha256:[0-9a-f]{64}|spiffe://[a-z0-9._-]+(?:/[A-Za-z0-9._-]+)+|jwt:[^#\s]+#[^\s]+"
    r"|listener:[a-z0-9][a-z0-9._-]{0,63}|address:[0-9a-f.:]+"
)
"""https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity for the second kind."""


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" is not a name; use up to 64 of a-z, 0-9 and ._- and begin with a letter or digit')
    return text


def _person(text: str) -> str:
    if not _PERSON.fullmatch(text):
        raise ValueError(f'"{text}" does not name a person; use lower case, for example "alice@acme.test"')
    return text


def _pin(text: str) -> str:
    if not _PIN.fullmatch(text):
        raise ValueError(f'"{text}" does not name a skill; write "deploy-v2" or "deploy-v2@1"')
    return text


def _glob(text: str) -> str:
    if not _GLOB.fullmatch(text):
        raise ValueError(f'"{text}" is not a name or a name with "*"; write for example "deploy-*"')
    return text


def _person_glob(text: str) -> str:
    if not _PERSON_GLOB.fullmatch(text):
        raise ValueError(f'"{text}" is not a person or persons with "*"; write for example "*@acme.test"')
    return text


def _version_pin(text: str) -> str:
    if not _VERSION_PIN.fullmatch(text):
        raise ValueError(f'"{text}" does not name a version; write "base-v1@1", so that what is built on it stays')
    return text


def _identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise ValueError(
            f'"{text}" is not an identity; write "cert-sha256:<64 hex digits>", "spiffe://DOMAIN/PATH", '
            '"jwt:<issuer>#<subject>", "listener:<name>" or "address:<IP address>"'
        )
    if text.startswith("address:"):
        _one_address(text)
    return text


def _one_address(text: str) -> None:
    """Raise ValueError unless an address is written in the one way in which connections are named."""
    try:
        canonical = f"address:{ipaddress.ip_address(text.removeprefix('address:'))}"
    except ValueError:
        raise ValueError(f'"{text}" names no IP address; write for example "address:10.77.0.2"') from None
    if canonical != text:
        raise ValueError(f'"{text}" is another spelling of "{canonical}"; write that')


def _window(text: str) -> str:
    found = _WINDOW.fullmatch(text)
    if not found or not 0 < window_s(text) <= MAX_WINDOW_S:
        raise ValueError(f'"{text}" is not a window; write minute, hour, day, week, or for example "15m" (at most 31d)')
    return text


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WINDOW_WORDS = {"minute": "1m", "hour": "1h", "day": "1d", "week": "1w"}


def window_s(text: str) -> int:
    """Return the seconds of a window as it is written: "week", "15m"."""
    number, unit = re.fullmatch(r"([0-9]+)([smhdw])", _WINDOW_WORDS.get(text, text)).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS_S[unit]


def _somebody(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs:
        raise ValueError("an empty list applies to nobody; name some, or remove the key to apply to all")
    return globs


def _token_list(value: Any) -> Any:
    # Before pydantic sees it: its own message would quote what it found, and that may be a token.
    if not isinstance(value, list):
        raise ValueError("expected a list of token hashes")
    return value


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f'"{text}" is not a label; use up to 63 of a-z, 0-9 and ._/-')
    return text


def _token_hash(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if value != REMOVED_TOKEN and not (isinstance(value, str) and _TOKEN_SHA256.fullmatch(value)):
        raise ValueError('a token stands here as the SHA-256 that "claiim agent add" writes, never as itself')
    return value


def _few_tokens[T](tokens: list[T]) -> list[T]:
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"at most {MAX_TOKENS} tokens; remove the old ones")
    return tokens


def _written(state: State) -> State:
    if state is State.EXPIRED:
        raise ValueError('"expired" is what comes of "expires"; write that, or "suspended"')
    return state


def _written_as(value: Any) -> str:
    return "mapping" if isinstance(value, dict) else "text"


type Name = Annotated[str, AfterValidator(_name)]
type Person = Annotated[str, AfterValidator(_person)]
type PersonGlobs = Annotated[tuple[Annotated[str, AfterValidator(_person_glob)], ...], AfterValidator(_somebody)]
type Pin = Annotated[str, AfterValidator(_pin)]
type VersionPin = Annotated[str, AfterValidator(_version_pin)]
type Pattern = Annotated[str, AfterValidator(canonical_pattern)]
type Globs = Annotated[tuple[Annotated[str, AfterValidator(_glob)], ...], AfterValidator(_somebody)]
type Label = Annotated[str, AfterValidator(_label)]
type Window = Annotated[str, AfterValidator(_window)]
type Identity = Annotated[str, AfterValidator(_identity)]
type Version = Annotated[int, Field(ge=1, le=999_999_999)]


class TokenEntry(Entry):
    """One token, by its digest."""

    sha256: Annotated[str, BeforeValidator(_token_hash)]
    expires: Moment | None = None
    created: str = ""


type TokenText = Annotated[str, BeforeValidator(_token_hash)]
type Tokens = Annotated[
    list[
        Annotated[
            Annotated[TokenText, Tag("text")] | Annotated[TokenEntry, Tag("mapping")],
            Discriminator(_written_as),
        ]
    ],  # strict pydantic wants a list after a validator
    BeforeValidator(_token_list),
    AfterValidator(_few_tokens),
]


class RuleEntry(Entry):
    """A rule that is more than a pattern."""

    action: Pattern
    when: Conditions | None = None
    """All of it must hold."""
    unless: Conditions | None = None
    """It does not count when all of this holds."""
    until: Moment | None = None
    """It counts until then."""
    why: str = ""
    """For those who read the text, and for the agent that meets it."""


class DenyEntry(RuleEntry):
    """A rule of a deny list."""

    overridable: Literal["never", "break-glass"] = "never"
    """Whether two humans together may make an exception."""


class ApproversEntry(Entry):
    """Who has to say yes."""

    count: Annotated[int, Field(ge=1, le=10)] = 1
    who: PersonGlobs = ("*",)
    anchor: bool = True
    """Whether the human who answers for the agent may be one of them."""


class ApproveEntry(RuleEntry):
    """A rule of an approve list."""

    approvers: ApproversEntry = ApproversEntry()


class RequireEntry(RuleEntry):
    """What a request must bring with it."""

    header: HeaderName
    like: SomeTexts = ("*",)


class LimitEntry(Entry):
    """How often something may be done."""

    id: Name | None = None
    """What its count goes by when the text changes; without one, its action."""
    action: Pattern
    most: Annotated[int, Field(ge=0, le=MAX_LIMIT)]
    per: Window
    of: Literal["agent", "human"] = "agent"
    """Whose uses are added up: one agent's, or those of all agents that a human answers for."""

    @property
    def name(self) -> str:
        """What its uses are counted by, within its text."""
        # The window is part of it: what was forgotten after a day cannot be counted for a week.
        return f"{self.id or f'{self.action}/{self.of}'}/{window_s(self.per)}s"


class RedactEntry(Entry):
    """What of a request stays out of the Chron."""

    action: Pattern
    fields: Annotated[tuple[Literal["path", "query_keys", "target"], ...], AfterValidator(_somebody)]


type Rules[E: RuleEntry] = tuple[
    Annotated[Annotated[Pattern, Tag("text")] | Annotated[E, Tag("mapping")], Discriminator(_written_as)], ...
]


class _TextFile(Entry):
    """What skills and policies have in common."""

    version: Version = 1
    description: str = ""
    extends: Annotated[tuple[VersionPin, ...], Field(max_length=MAX_EXTENDS)] = ()
    """Texts whose every line counts as if it stood here; nothing of them can be taken away, nor ends by itself."""
    until: Moment | None = None
    allow: Rules[RuleEntry] = ()
    deny: Rules[DenyEntry] = ()
    approve: Rules[ApproveEntry] = ()
    """What a human has to say yes to, each time."""
    require: tuple[RequireEntry, ...] = ()
    limits: tuple[LimitEntry, ...] = ()


class SkillFile(_TextFile):
    """What one kind of agent was made for: the actions it may do, and those it must never do."""

    skill: Name
    """`until`: from then on it allows nothing."""


class AppliesTo(Entry):
    """Whom a policy is about; everything that is given must hold."""

    agents: Globs = ("*",)
    orgs: Globs = ("*",)
    labels: dict[Label, Globs] = Field(default_factory=dict)
    """Each of these labels the agent has, with one of these values."""


class PolicyFile(_TextFile):
    """What an organisation says to all of its agents, or to some."""

    policy: Name
    """`until`: from then on it says nothing."""
    applies_to: AppliesTo = AppliesTo()
    redact: tuple[RedactEntry, ...] = ()
    mode: Mode = Mode.ENFORCE

    @property
    def has_allow_list(self) -> bool:
        """Say whether an allow list was written: then nothing else may be done; an empty one allows nothing."""
        return "allow" in self.model_fields_set


type WrittenState = Annotated[State, AfterValidator(_written)]


class HumanEntry(Entry):
    """A person who answers for agents."""

    id: Person
    name: str = ""
    org: Name
    state: WrittenState
    expires: Moment | None = None
    tokens: Tokens = Field(default_factory=list)


class OrganisationEntry(Entry):
    """Whose agents, humans and targets these are."""

    id: Name
    name: str = ""
    state: WrittenState = State.ACTIVE
    owns: Texts = ()
    """Globs of its targets."""


class CrossGrantEntry(Entry):
    """One organisation's agents may act in another."""

    of: Name
    into: Name
    agents: Globs = ("*",)
    actions: tuple[Pattern, ...] = ("**",)
    until: Moment | None = None


class AgentEntry(Entry):
    """One agent, its human and its skill."""

    id: Name
    anchor: Person
    org: Name
    state: WrittenState
    skill: Pin | None = None
    mode: Mode = Mode.ENFORCE
    created: str = ""
    expires: Moment | None = None
    labels: dict[Label, Label] = Field(default_factory=dict)
    identities: tuple[Identity, ...] = ()
    tokens: Tokens = Field(default_factory=list)


class AgentsFile(Entry):
    """The registry of organisations, humans and agents."""

    version: Literal[1]
    organisations: tuple[OrganisationEntry, ...] = ()
    cross_grants: tuple[CrossGrantEntry, ...] = ()
    humans: tuple[HumanEntry, ...] = ()
    agents: tuple[AgentEntry, ...] = ()
