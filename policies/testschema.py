"""What a file of tests looks like: questions with the answers they must have, and what must never be allowed.

    version: 1
    tests: deploy-v2
    agents:
    - {id: tester, org: acme, skill: deploy-v2}
    cases:
    - {name: staging goes, agent: tester, action: deploy:staging, expect: ALLOW}
    - {name: merge, agent: tester, request: {method: PUT, url: "https://api.github.com/..."}, expect: DENY}
    never:
    - {actions: ["infra:destroy"], why: nobody takes production away}

What is wrong in one:

    deploy-v2.test.yaml:6:3: case "staging goes" has an action and a request; keep one
    deploy-v2.test.yaml:8:30: "deploy:*" is a pattern, not an action; name one action without "*"
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mappings.actions import canonical_action
from policies.conditionschema import Entry, HeaderName, Moment, OneOrMany, Texts, one_or_many
from policies.schema import Globs, Label, Name, Pattern, Person, Pin
from policies.values import Mode, Outcome, PolicyError

DEFAULT_NOW = "2026-01-05T12:00:00Z"
"""A Monday at noon: a test has the same result on every day, so the day is part of it."""


_URL = re.compile(r"(?:https?|wss?)://[^/?#\s]+[^\s]*")


def _yes_or_no(value: object) -> object:
    return {True: "true", False: "false"}.get(value) if isinstance(value, bool) else value


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError(f'"{text}" is not a URL; write for example "https://api.github.com/repos/acme/web"')
    return text


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    wild = next((text for text in texts if "*" in text), "")
    if wild:
        raise ValueError(f'"{wild}" is not the name of an environment; name each, or leave the key out for all')
    return texts


class CasesError(PolicyError):
    """Files of tests that cannot be run; the texts may be fine."""


type Action = Annotated[str, AfterValidator(canonical_action)]
type Told = Annotated[str, BeforeValidator(_yes_or_no)]
type Attribute = Literal["method", "scheme", "host", "access", "executes", "mints"]


class InlineAgent(Entry):
    """An agent that only these tests know; it stands beside those of the registry."""

    id: Name
    org: Name = "test"
    skill: Pin | None = None
    anchor: Person = "anchor@test"
    """Becomes an active human of the same organisation where the registry has none of this name."""
    mode: Mode = Mode.ENFORCE
    labels: dict[Label, Label] = Field(default_factory=dict)


class RequestEntry(Entry):
    """A request as an agent would send it; the mappings name it first."""

    method: Annotated[str, Field(pattern="^[A-Z]+$")] = "GET"
    url: Annotated[str, AfterValidator(_url)]
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = ""


class ExceptionEntry(Entry):
    """A break-glass grant that is in force in a case."""

    action: Pattern
    target: str = "*"


class CaseEntry(Entry):
    """One question and its answer."""

    name: Annotated[str, Field(min_length=1)]
    agent: Name
    action: Action | None = None
    target: str = ""
    environment: str = ""
    attributes: dict[Attribute, Told] = Field(default_factory=dict)
    """What is not given could not be told."""
    headers: dict[HeaderName, str] = Field(default_factory=dict)
    """What is not given was not sent."""
    request: RequestEntry | None = None
    now: Moment | None = None
    client: str = ""
    uses: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """How often limits were used already, by name: "policy:calm/destroys". What is not given was not used."""
    approvers: tuple[Person, ...] = ()
    exceptions: tuple[ExceptionEntry, ...] = ()
    expect: Outcome
    reason: str | None = None
    code: str | None = None
    rule: str | None = None
    """Where the deciding line stands: "policies/deploy-v2.yaml:4", or with the column."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.action is None) == (self.request is None):
            said = "an action and a request; keep one" if self.action else 'neither "action" nor "request"; give one'
            raise ValueError(f'case "{self.name}" has {said}')
        if self.request is not None and (self.target or self.environment or self.attributes or self.headers):
            raise ValueError(
                f'case "{self.name}" has a request, which says "target", "environment", "attributes" and "headers" '
                "by itself; remove them"
            )
        return self


class NeverEntry(Entry):
    """What no agent may ever be allowed, whatever the conditions."""

    actions: Annotated[tuple[Pattern, ...], Field(min_length=1)]
    """As in a deny list: wildcards stand for anything."""
    agents: Annotated[Globs, BeforeValidator(one_or_many, json_schema_input_type=OneOrMany[str])] = ("*",)
    environment: Annotated[Texts, AfterValidator(_names)] = ()
    """Only where these are; without it, everywhere."""
    hold: bool = True
    """Whether it is fine that a human may say yes to it."""
    why: str = ""


class CasesFile(Entry):
    """Tests of skills and policies."""

    version: Literal[1]
    tests: Annotated[tuple[Name, ...], BeforeValidator(one_or_many, json_schema_input_type=OneOrMany[Name])] = ()
    """The skills and policies that these tests are about."""
    now: Moment = DEFAULT_NOW
    agents: tuple[InlineAgent, ...] = ()
    cases: tuple[CaseEntry, ...] = ()
    never: tuple[NeverEntry, ...] = ()
