"""What the lint looks for: every check with its id, how grave it is, and what it finds; docs/lint.md says the same.

A check finds what the loader accepts and nobody can have meant. Errors are lines that can never do what they say;
warnings are what a person should look at; infos are advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

type Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked for."""

    severity: Severity
    finds: str
    """What, in one line."""


CHECKS: Mapping[str, Check] = {
    "dead-allow": Check("error", "a line that allows, all of which the same text denies"),
    "never-counts": Check("error", "a line that allows unless what always holds, so that it never does"),
    "always-true": Check("warning", "a condition that leaves nothing out"),
    "anchor-inactive": Check("warning", "an active agent whose human is not active"),
    "cross-grant-ended": Check("warning", "a cross-grant past its end"),
    "disagreement": Check("warning", "a line of a skill that policies keep from every agent that has the skill"),
    "duplicate": Check("warning", "a line that stands twice in a list, with the same conditions"),
    "ended": Check("warning", "a text, a line, an agent or a human past its end"),
    "expires-soon": Check("warning", "an agent, a human or the last token of one that ends within 14 days"),
    "idle-rule": Check("warning", "a requirement, a limit or an approval for what nobody may do anyhow"),
    "limit-of-zero": Check("warning", "a limit that is reached before the first use"),
    "no-approver": Check("warning", "an approval that fewer active humans may give than are needed"),
    "no-exception": Check("warning", "a deny that two humans may lift, where no two active humans have tokens"),
    "no-skill": Check("warning", "an active agent without a skill"),
    "pinned-elsewhere": Check("warning", "an agent or a text pinned to a version that is not the one in force"),
    "reaches-production": Check("warning", 'a line with "**" that lets an agent through to a production action'),
    "shadowed": Check("warning", "a line that a broader one of the same list, without conditions, makes needless"),
    "unknown-action": Check("warning", "a pattern that no known action fits, and that is nearly one that does"),
    "unused-skill": Check("warning", "a skill that no agent has and no text extends"),
    "untested-skill": Check("warning", "a skill that agents have and no test is about"),
    "deny-without-why": Check("info", "a line that denies without saying why"),
    "never-hit": Check("info", "a line that decided nothing for 90 days, by the Chron"),
    "unnamed-action": Check("info", "a pattern that no known action fits; agents that ask first may still use it"),
}
"""By id; ids are stable, since reports and suppressions name them."""


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding."""

    check: str
    place: str
    """ "policies/deploy-v2.yaml:9:3"."""
    message: str

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return CHECKS[self.check].severity

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.check}]"
