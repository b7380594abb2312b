"""What a simulation says, as one document with a digest: the same simulation of the same past has the same digest.

    {"version": 1, "texts": ["skill:deploy-v2@3:5e0f..."], "rules": "77aa...", "since": "...", "decisions": 4127,
     "decided": 4100, "flips": 3, "not_decided": {"unnamed": 27}, "changes": [{"agent": "deploy-bot", ...}], ...}

The digest is the SHA-256 of the document as canonical JSON (RFC 8785; there are no floats in it), without its own line
end. It names what a human vouched for: a record of it says that this was seen, not that it was right.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import chron
from chron.sources import Source
from chron.times import time_text
from policies import TextRef
from policies.drafting import Drafted
from policies.simulating import Change, Seen, Tally, Told
from proxy.simulation import Replay, Then, tallied

type Report = dict[str, Any]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """Which texts are put before which past."""

    path: Source
    """The Chron."""
    drafted: Drafted
    since: datetime
    until: datetime
    agent: str = ""
    """The only one reported; "" for all."""
    registry: Literal["now", "other", "then"] = "now"
    """The registry that was compiled in: the configured one, another one, or for each decision that of its time."""
    then: Then | None = None
    """Finds the texts with the registry of a record's time."""

    def run(self) -> Tally:
        """Return what changed; blocks as long as it takes to read the log."""
        replay = Replay(
            self.path,
            self.drafted.policies,
            since=self.since,
            until=self.until,
            standing=self.registry != "now",
            then=self.then,
        )
        return tallied(replay.decisions(), self.agent)

    def report(self, tally: Tally, *, reasons: bool) -> Report:
        """Return what is to be said of it; with `reasons` also what is answered the same for another reason."""
        flips = tally.flips()
        shown = tally.changes if reasons else flips
        return {
            "version": VERSION,
            "texts": [spelled(ref) for ref in self.drafted.drafts],
            "rules": self.drafted.policies.digest,
            "registry": self.registry,
            "agent": self.agent,
            "since": time_text(self.since),
            "until": time_text(self.until),
            "decisions": tally.decisions,
            "decided": tally.decided,
            "flips": sum(seen.count for seen in flips.values()),
            "other_reasons": sum(seen.count for change, seen in tally.changes.items() if not change.flips),
            "not_decided": dict(sorted(tally.left_out.items())),
            "erased": chron.erased(self.path),
            "changes": [_described(change, seen) for change, seen in sorted(shown.items(), key=_order)],
        }


def spelled(ref: TextRef) -> str:
    """Return a version with its digest."""
    return f"{ref.kind}:{ref.id}@{ref.version}:{ref.digest}"


def canonical(report: Report) -> str:
    """Return the text that is hashed and written."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(report: Report) -> str:
    """Return the SHA-256 of a report, lower-case hex."""
    return hashlib.sha256(canonical(report).encode("utf-8", "surrogatepass")).hexdigest()


def summary_of(report: Report) -> dict[str, object]:
    """Return what is recorded of a report."""
    kept = ("since", "until", "decisions", "flips")
    return {"report": digest_of(report), "texts": report["texts"], **{name: report[name] for name in kept}}


def _order(item: tuple[Change, Seen]) -> tuple[str, ...]:
    change, seen = item
    return (change.human, change.agent, change.action, change.then.outcome, change.now.outcome, seen.first)


def _described(change: Change, seen: Seen) -> Mapping[str, object]:
    return {
        "human": change.human,
        "agent": change.agent,
        "action": change.action,
        "from": change.then.outcome,
        "to": change.now.outcome,
        "count": seen.count,
        "first": seen.first,
        "last": seen.last,
        "then": _told(change.then),
        "now": _told(change.now),
    }


def _told(told: Told) -> Mapping[str, str]:
    return {"reason": told.reason, "code": told.code, "rule": told.rule}
