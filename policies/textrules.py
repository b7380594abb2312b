"""Makes the compiled rules of one text from its file and the files it extends; checks nothing, decides nothing.

Each line keeps its own home: the reason and the place of an inherited line are those of the text it stands in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mappings.documents import Document
from mappings.globs import read_glob
from policies.conditions import ALWAYS, compile_guard
from policies.conditionschema import moment
from policies.patterns import Matcher
from policies.rules import Finding, LimitRule, Requirement, Rule, TextRules
from policies.schema import ApproveEntry, ApproversEntry, DenyEntry, PolicyFile, RuleEntry, SkillFile, window_s
from policies.values import Hold, Mode, Outcome, TextRef


@dataclass(frozen=True, slots=True)
class Part:
    """One of the texts that a text is put together from."""

    ref: TextRef
    document: Document
    file: SkillFile | PolicyFile

    @property
    def subject(self) -> str:
        """How reasons name it: "skill:deploy-v2"."""
        return f"{self.ref.kind}:{self.ref.id}"

    @property
    def policy(self) -> TextRef | None:
        """The reference, for policies only."""
        return self.ref if self.ref.kind == "policy" else None

    def place(self, *path: str | int) -> str:
        """Return where something stands in it."""
        return str(self.document.place(path))


def compile_text(parts: Sequence[Part]) -> TextRules:
    """Return the rules of the first part, the text itself, with the lines of all the others."""
    own = parts[0]
    stage = own.ref.kind
    listed = [part for part in parts if not isinstance(part.file, PolicyFile) or part.file.has_allow_list]
    return TextRules(
        ref=own.ref,
        mode=own.file.mode if isinstance(own.file, PolicyFile) else Mode.ENFORCE,
        until=_until(own.file.until),
        deny=Matcher(_rules(parts, "deny", Outcome.DENY), allow=False),
        allow=Matcher(_rules(listed, "allow", Outcome.ALLOW), allow=True) if listed else None,
        approve=Matcher(_rules(parts, "approve", Outcome.HOLD), allow=False),
        # What a wildcard may not permit, it may not put up for approval either.
        approvable=Matcher(_rules(parts, "approve", Outcome.HOLD), allow=True),
        require=Matcher(_requirements(parts), allow=False),
        limits=Matcher(_limits(parts), allow=False),
        redact=Matcher(_redactions(parts), allow=False),
        not_allowed=Finding(
            Outcome.DENY,
            stage,
            f"{own.subject} -- action not in allow list",
            f"{stage}.not-in-allow-list",
            rule=str(own.document.key_place(["allow"])),
            policy=own.policy,
        ),
        expired=Finding(
            Outcome.DENY, stage, f"{own.subject} -- expired", f"{stage}.expired", own.place("until"), policy=own.policy
        ),
        parts=tuple(part.ref for part in parts),
    )


def _until(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


_CODES = {Outcome.DENY: "denied", Outcome.HOLD: "needs-approval", Outcome.ALLOW: "allowed"}


def _rules(parts: Iterable[Part], kind: str, outcome: Outcome) -> Iterator[tuple[str, Rule]]:
    said = "action needs approval" if outcome is Outcome.HOLD else f"action in {kind} list"
    for part in parts:
        for index, entry in enumerate(getattr(part.file, kind)):
            pattern = entry if isinstance(entry, str) else entry.action
            finding = Finding(
                outcome,
                part.ref.kind,
                f"{part.subject} -- {said}",
                f"{part.ref.kind}.{_CODES[outcome]}",
                rule=part.place(kind, index),
                pattern=pattern,
                policy=part.policy,
            )
            yield pattern, _rule(pattern, entry, finding)


def _rule(pattern: str, entry: str | RuleEntry, finding: Finding) -> Rule:
    if isinstance(entry, str):
        return Rule(pattern, finding, ALWAYS, _hold(finding, ApproversEntry()))
    hold = _hold(finding, entry.approvers) if isinstance(entry, ApproveEntry) else None
    return Rule(
        pattern,
        finding,
        compile_guard(entry.when, entry.unless, _until(entry.until)),
        hold,
        isinstance(entry, DenyEntry) and entry.overridable == "break-glass",
        entry.why,
    )


def _hold(finding: Finding, approvers: ApproversEntry) -> Hold | None:
    if finding.outcome is not Outcome.HOLD:
        return None
    return Hold(finding.rule, finding.reason, approvers.count, approvers.who, approvers.anchor)


def _requirements(parts: Iterable[Part]) -> Iterator[tuple[str, Requirement]]:
    for part in parts:
        for index, entry in enumerate(part.file.require):
            yield (
                entry.action,
                Requirement(
                    entry.action,
                    entry.header,
                    tuple(read_glob(text) for text in entry.like),
                    " or ".join(f'"{text}"' for text in entry.like),
                    compile_guard(entry.when, entry.unless, _until(entry.until)),
                    part.subject,
                    part.ref.kind,
                    part.place("require", index),
                    part.policy,
                ),
            )


def _limits(parts: Iterable[Part]) -> Iterator[tuple[str, LimitRule]]:
    for part in parts:
        for index, entry in enumerate(part.file.limits):
            yield (
                entry.action,
                LimitRule(
                    entry.action,
                    f"{part.subject}/{entry.name}",
                    entry.most,
                    window_s(entry.per),
                    entry.per,
                    entry.of == "human",
                    part.subject,
                    part.ref.kind,
                    part.place("limits", index),
                    part.policy,
                ),
            )


def _redactions(parts: Iterable[Part]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for part in parts:
        if isinstance(part.file, PolicyFile):
            for entry in part.file.redact:
                yield entry.action, entry.fields
