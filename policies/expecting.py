"""Which flips of a simulation were meant: a list of them in YAML, so that only the others are news.

version: 1
flips:
- {agents: [deploy-bot], actions: ["deploy:*"], from: ALLOW, to: HOLD, why: production needs a second look}
- {humans: ["*@acme.test"], actions: [infra:destroy], to: DENY}

expected.yaml:3:4: unknown key "agnets"; did you mean "agents"
expected.yaml:3:3: an expectation that leaves everything open hides every flip; give "actions", "agents" or "humans"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mappings.documents import Document
from policies.conditionschema import Entry
from policies.patterns import Matcher, read_action
from policies.reading import read_file
from policies.schema import Globs, Pattern, PersonGlobs
from policies.simulating import Change, Seen

type _Said = Literal["ALLOW", "DENY", "HOLD", "DENY observed", "HOLD observed"]


@dataclass(frozen=True, slots=True)
class Expected:
    """Flips that whoever changed the texts wants; everything that is given must fit."""

    place: str
    agents: Sequence[str]
    """Globs, as `humans`."""
    humans: Sequence[str]
    actions: Matcher[bool]
    then: str
    """What was said, "" for anything."""
    now: str

    def covers(self, change: Change) -> bool:
        """Say whether a flip is one of these."""
        return (
            self.then in ("", change.then.outcome)
            and self.now in ("", change.now.outcome)
            and any(fnmatchcase(change.agent, glob) for glob in self.agents)
            and any(fnmatchcase(change.human, glob) for glob in self.humans)
            and bool(self.actions.match(read_action(change.action)[0]))
        )


class _Flip(Entry):
    agents: Globs = ("*",)
    humans: PersonGlobs = ("*",)
    actions: tuple[Pattern, ...] = ("**",)
    from_: Annotated[_Said | None, Field(alias="from")] = None
    to: _Said | None = None
    why: str = ""


def _narrow(flip: _Flip) -> _Flip:
    if not flip.model_fields_set & {"agents", "humans", "actions"}:
        raise ValueError(
            'an expectation that leaves everything open hides every flip; give "actions", "agents" or "humans"'
        )
    return flip


class _Expectations(Entry):
    version: Literal[1]
    flips: tuple[Annotated[_Flip, AfterValidator(_narrow)], ...]


def read_expected(document: Document) -> list[Expected]:
    """Return the expectations of a file; raise PolicyError with every fault."""
    file = read_file(document, _Expectations)
    return [
        Expected(
            str(document.place(["flips", index])),
            flip.agents,
            flip.humans,
            # As in a deny list: a flip of what nobody could name is covered by a wildcard too.
            Matcher([(pattern, True) for pattern in flip.actions], allow=False),
            flip.from_ or "",
            flip.to or "",
        )
        for index, flip in enumerate(file.flips)
    ]


def unexpected(flips: Mapping[Change, Seen], expected: Sequence[Expected]) -> list[Change]:
    """Return the flips that nobody expects."""
    return [change for change in flips if not any(one.covers(change) for one in expected)]


def unmet(flips: Mapping[Change, Seen], expected: Sequence[Expected]) -> list[Expected]:
    """Return the expectations that no flip meets."""
    return [one for one in expected if not any(one.covers(change) for change in flips)]
