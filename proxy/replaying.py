"""Replay: makes recorded decisions again from what the Chron itself holds, and compares every field of them.

    decision        the rules of then, made again from the kept texts, answer the recorded question: the same or not
    mapping         the mapping text that the rules of then had holds the rule that the record names at that place, and
                    the rule can give that action. Which request it was named for is not kept

What is not the same is a `Difference`, whatever it came from: a record, a text or a load that was changed, or another
meaning of the rules in the version of this program. What cannot be made again is told with its reason
(`proxy.simulation.IN_WORDS`, `IN_WORDS` here). Nothing is written; no clock, no configuration is looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import chron
from chron.reading import FieldValue
from chron.ruletexts import mapping_of
from chron.sources import Source
from mappings.actions import MAX_ACTION_CHARS
from mappings.attesting import KeptRules
from policies import BreakGlass, Decision, Question
from proxy import simulation
from proxy.breakglass import grants
from proxy.pastrules import Fields, PastRules, RulesOfThen
from proxy.records import decision_fields
from proxy.simulation import left_out, recorded_question

type Values = Mapping[str, FieldValue | None]

IN_WORDS: Mapping[str, str] = {
    **simulation.IN_WORDS,
    "fault": "the decision failed inside the gate, which is a DENY; a fault is not made again",
    "rules not recorded": "no record says which texts were in force; the gate of then did not write it down",
}
"""Why a decision is not replayed, for people."""

DECIDED = (
    *("agent", "anchor", "org", "outcome", "mode", "reason", "code", "stage", "rule", "pattern"),
    *("policies", "observed", "untold", "exception", "limits"),
    *("policy", "policy_version", "skill", "skill_version"),
)
"""What is compared: everything that a decision says but its `error`, which names a line of this program.

Which texts those versions are is part of the rules. Records until 0.1.0 say it as well, and then it is compared.
"""


@dataclass(frozen=True, slots=True)
class Differing:
    """One field that is not as it was recorded; "" for what is not there."""

    name: str
    recorded: str
    again: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one decision."""

    record: Fields
    left_out: str = ""
    """Why it was not made again; then only its mapping was looked at."""
    again: Values = field(default_factory=dict)
    """The decision made again, as its record would have it."""
    differing: tuple[Differing, ...] = ()
    rule_found: bool = False
    """Whether the mapping text has the rule that named the request, and it can give that name."""


class Replay:
    """Replays the decisions of one Chron."""

    def __init__(self, path: Source) -> None:
        self._path = path
        self._rules = RulesOfThen(path)

    def decisions(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[Replayed]:
        """Yield what came of each decision of a time, oldest first."""
        for fields in chron.scan(self._path, {"decision"}, since=since, until=until):
            yield self.decision(fields)

    def decision(self, fields: Fields) -> Replayed:
        """Return what comes of one decision when it is made again."""
        every = (self._decided(fields, rules) for rules in self._rules.of(fields))
        found = next(every)
        return next((each for each in (found, *every) if not each.differing), found) if found.differing else found

    def _decided(self, fields: Fields, rules: PastRules | None) -> Replayed:
        misnamed = tuple(self._misnamed(fields, rules))
        named = "mapping_rule" in fields and bool(_mapping_text(fields, rules)) and not misnamed
        question = self._question(fields)
        if isinstance(question, str) or rules is None:
            why = question if isinstance(question, str) else "rules not recorded"
            return Replayed(fields, why, differing=misnamed, rule_found=named)
        if isinstance(rules.policies, str):
            unmade = Differing("rules_digest", str(fields["rules_digest"]), rules.policies)
            return Replayed(fields, differing=(unmade, *misnamed), rule_found=named)
        decision = rules.policies.decide_again(question)
        again = decision_fields(decision)
        return Replayed(fields, "", again, (*_differing(fields, again, decision), *misnamed), named)

    def _question(self, fields: Fields) -> Question | str:
        if _FAULT.items() <= fields.items():
            return "fault"
        return left_out(fields) or recorded_question(fields, self._grants if "exceptions" in fields else {})

    def _misnamed(self, fields: Fields, rules: PastRules | None) -> Iterator[Differing]:
        """Yield what the mapping texts do not bear out of the name that a request was given."""
        digest = _mapping_text(fields, rules)
        if digest is None or "mapping_rule" not in fields:
            return
        said = "mapping_digest" if "mapping_digest" in fields else "mapping_place"
        recorded = shown(fields.get(said))
        if rules is not None and rules.mappings is not None and digest not in rules.mappings.values():
            yield Differing(said, recorded, f"no mapping text in force had this {said.removeprefix('mapping_')}")
        text = self._rules.mapping(digest) if digest else None
        if isinstance(text, str):
            yield Differing(said, recorded, text)
        if not isinstance(text, KeptRules):
            return
        rule, pack, place, action = (str(fields.get(name, "")) for name in _NAMING)
        if len(action) <= MAX_ACTION_CHARS and (fault := text.fault(rule, pack, place, action)):
            yield Differing("mapping_rule", rule, fault)

    @cached_property
    def _grants(self) -> dict[str, BreakGlass]:
        return grants(record.fields for record in chron.find(self._path, kind="exception"))


_FAULT: Fields = {"code": "policy.error", "outcome": "DENY", "mode": "enforce"}
_NAMING = ("mapping_rule", "mapping_pack", "mapping_place", "action")


def _mapping_text(fields: Fields, rules: PastRules | None) -> str | None:
    """Return the digest of the text whose rule named a request, "" for none in force; None when it cannot be told."""
    if own := fields.get("mapping_digest"):  # which records had until 0.1.0
        return str(own)
    if rules is None or rules.mappings is None:
        return None
    return rules.mappings.get(mapping_of(str(fields.get("mapping_place", ""))), "")


def _differing(fields: Fields, again: Values, decision: Decision) -> Iterator[Differing]:
    of_texts = {"policy_digest": decision.policy, "skill_digest": decision.skill}
    made = {**again, **{name: ref.digest if ref else None for name, ref in of_texts.items() if name in fields}}
    for name in (*DECIDED, *of_texts):
        if fields.get(name) != made.get(name):
            yield Differing(name, shown(fields.get(name)), shown(made.get(name)))


def shown(value: FieldValue | None) -> str:
    """Return a field as people read it; "" for none."""
    return "" if value is None else str(value)
