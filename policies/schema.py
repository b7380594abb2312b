"""What agents, skills and policies look like on disk; each field is checked here and nowhere else.

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

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mappings.actions import canonical_pattern
from policies.values import Mode, State

REMOVED_TOKEN = "removed"  # noqa: S105 -- stands where a hash was taken out
"""Stands for a token's hash in the text that is kept as evidence; no token has it as its digest."""
MAX_TOKENS = 4
"""Per agent; two are enough for a rotation without a gap."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PERSON = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
_GLOB = re.compile(r"[a-z0-9*][a-z0-9._*-]{0,63}")
_PIN = re.compile(rf"{_NAME.pattern}(?:@[1-9][0-9]{{0,8}})?")
_TOKEN_SHA256 = re.compile(r"[0-9a-f]{64}")


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


def _somebody(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs:
        raise ValueError("an empty list applies to nobody; name some, or remove the key to apply to all")
    return globs


def _token_list(value: Any) -> Any:
    # Before pydantic sees it: its own message would quote what it found, and that may be a token.
    if not isinstance(value, list):
        raise ValueError("expected a list of token hashes")
    return value


def _token_hash(value: Any) -> Any:
    if value != REMOVED_TOKEN and not (isinstance(value, str) and _TOKEN_SHA256.fullmatch(value)):
        raise ValueError('a token stands here as the SHA-256 that "claiim agent add" writes, never as itself')
    return value


def _few_tokens(tokens: list[str]) -> list[str]:
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"an agent has at most {MAX_TOKENS} tokens; remove the old ones")
    return tokens


type Name = Annotated[str, AfterValidator(_name)]
type Person = Annotated[str, AfterValidator(_person)]
type Pin = Annotated[str, AfterValidator(_pin)]
type Pattern = Annotated[str, AfterValidator(canonical_pattern)]
type Globs = Annotated[tuple[Annotated[str, AfterValidator(_glob)], ...], AfterValidator(_somebody)]
type Tokens = Annotated[
    list[Annotated[str, BeforeValidator(_token_hash)]],  # strict pydantic wants a list after a validator
    BeforeValidator(_token_list),
    AfterValidator(_few_tokens),
]
type Version = Annotated[int, Field(ge=1, le=999_999_999)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SkillFile(_Entry):
    """What one agent was made for: the actions it may do, and those it must never do."""

    skill: Name
    version: Version = 1
    description: str = ""
    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()


class AppliesTo(_Entry):
    """Whom a policy is about; both lists must hold when both are given."""

    agents: Globs = ("*",)
    orgs: Globs = ("*",)


class PolicyFile(_Entry):
    """What an organisation says to all of its agents, or to some."""

    policy: Name
    version: Version = 1
    description: str = ""
    applies_to: AppliesTo = AppliesTo()
    allow: tuple[Pattern, ...] = ()
    """Present: nothing else may be done. Absent: no restriction of this kind."""
    deny: tuple[Pattern, ...] = ()
    mode: Mode = Mode.ENFORCE

    @property
    def has_allow_list(self) -> bool:
        """Say whether an allow list was written; an empty one allows nothing."""
        return "allow" in self.model_fields_set


class HumanEntry(_Entry):
    """A person who answers for agents."""

    id: Person
    name: str = ""
    org: Name
    state: State


class AgentEntry(_Entry):
    """One agent, its human and its skill."""

    id: Name
    anchor: Person
    org: Name
    state: State
    skill: Pin | None = None
    mode: Mode = Mode.ENFORCE
    created: str = ""
    tokens: Tokens = []


class AgentsFile(_Entry):
    """The registry of humans and agents."""

    version: Literal[1]
    humans: tuple[HumanEntry, ...] = ()
    agents: tuple[AgentEntry, ...] = ()
