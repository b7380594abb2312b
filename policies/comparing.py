"""What changes for actions between two versions of a text, or between two sets of texts for an agent; pure.

Not the lines are compared but what they say of each action of a list that is handed in, as far as that can be told
without a question: conditions are compared as they are written.

    deploy:staging      deny  -> allow                               gained
    infra:destroy       hold  -> deny                                lost
    deploy:production   allow -> allow when environment canary       lost
    pr:merge            hold (1 human) -> hold (2 humans)            changed

A wildcard reaches actions that no list holds: for each one that is written, an example is compared too (`examples`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.conditions import ALWAYS, Condition, Guard
from policies.patterns import read_action
from policies.rules import LimitRule, Requirement, Rule, Rules, TextRules
from policies.values import Hold, Mode

OTHER = "other"
"""Stands for a wildcard in the example of what it reaches."""


class Verdict(enum.IntEnum):
    """What comes of an action, from the least to the most."""

    DENY = 0
    HOLD = 1
    CONDITIONAL = 2
    """It hangs on the question."""
    ALLOW = 3


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one action."""

    verdict: Verdict
    words: str
    """ "allow when environment staging; hold (2 humans)"; the same words mean the same."""
    asked: tuple[str, ...] = ()
    """What else is asked of it: headers, limits, and what stays out of the record; sorted."""

    def __str__(self) -> str:
        return ", ".join((self.words, *self.asked))


@dataclass(frozen=True, slots=True)
class Difference:
    """One action of which something else is said."""

    action: str
    before: Said
    after: Said
    pattern: str
    """The pattern that decides on the side that says more; "" when only the absence of one does."""

    @property
    def direction(self) -> Literal["gained", "lost", "changed"]:
        """Whether more or less may be done than before."""
        if self.before.verdict == self.after.verdict:
            return "changed"
        return "gained" if self.after.verdict > self.before.verdict else "lost"


type Speaker = Callable[[str], tuple[Said, str]]
"""Returns what is said of an action, and the pattern that decides it."""


def compare(before: Speaker, after: Speaker, actions: Iterable[str]) -> Iterator[Difference]:
    """Yield every action of which the two do not say the same."""
    for action in actions:
        (old, old_pattern), (new, new_pattern) = before(action), after(action)
        if old != new:
            more = (new_pattern, old_pattern) if new.verdict >= old.verdict else (old_pattern, new_pattern)
            yield Difference(action, old, new, more[0] or more[1])


def text_speaker(text: TextRules | None, kind: str) -> Speaker:
    """Return what one text says; a skill that is not there denies, a policy that is not there does not mind."""
    if text is None:
        nothing = (_DENIED if kind == "skill" else _NO_OBJECTION), ""
        return lambda _: nothing
    return _Text(text, kind == "policy")


def agent_speaker(rules: Rules) -> Speaker:
    """Return what all texts that concern an agent say together."""
    texts = [_Text(each, True) for each in rules.policies if each.mode is Mode.ENFORCE] + [_Text(rules.skill, False)]

    def speak(action: str) -> tuple[Said, str]:
        found = [text(action) for text in texts]
        # By the words too: a deny that nobody can lift goes before one that two humans can.
        said, pattern = min(found, key=lambda each: (each[0].verdict, each[0].words))
        asked = tuple(sorted({each for one, _ in found for each in one.asked}))
        if said.verdict is Verdict.DENY:
            return said, pattern
        words = "; and ".join(dict.fromkeys(one.words for one, _ in found if one.words != _NO_OBJECTION.words))
        return Said(said.verdict, words, asked), pattern

    return speak


def examples(texts: Iterable[TextRules | None]) -> dict[str, str]:
    """Return an action for each pattern in some texts, with the pattern: what no list of known actions holds."""
    found: dict[str, str] = {}
    for text in texts:
        for pattern in _patterns(text) if text is not None else ():
            found.setdefault(pattern.replace("**", OTHER).replace("*", OTHER), pattern)
    return found


def _patterns(text: TextRules) -> Iterator[str]:
    for matcher in (text.deny, text.allow, text.approve, text.require, text.limits, text.redact):
        for pattern, _ in matcher.rules if matcher is not None else ():
            yield pattern


_DENIED = Said(Verdict.DENY, "deny")
_NO_OBJECTION = Said(Verdict.ALLOW, "no objection")


class _Text:
    """What one text says; actions that the same lines concern share one answer."""

    def __init__(self, text: TextRules, policy: bool) -> None:
        self._text = text
        self._policy = policy
        self._known: dict[object, tuple[Said, str]] = {}

    def __call__(self, asked: str) -> tuple[Said, str]:
        text = self._text
        action, _ = read_action(asked)
        deny, approvable = text.deny.match(action), text.approvable.match(action)
        allow = text.allow.match(action) if text.allow is not None else ()
        # Of its own lines only those that name a segment permit what is unknown there; all of them hold it back.
        approve = text.approve.match(action)
        require, limits, redact = text.require.match(action), text.limits.match(action), text.redact.match(action)
        # Rules are compared by identity, so the key is cheap and no two sets of lines share one.
        key = deny, approvable, allow, approve, require, limits, redact
        if key not in self._known:
            asks = tuple(sorted({*_required(require), *_limited(limits), *_redacted(redact)}))
            deciding = next(iter((*_absolute(deny), *approvable, *allow, *deny)), None)
            verdict, words = self._weigh(deny, approvable, allow, approve)
            # Of what is denied nothing else is asked; what stays out of the record stays out of it all the same.
            kept = tuple(sorted(_redacted(redact))) if verdict is Verdict.DENY else asks
            self._known[key] = Said(verdict, words, kept), deciding.pattern if deciding else ""
        return self._known[key]

    def _weigh(
        self, deny: Sequence[Rule], approvable: Sequence[Rule], allow: Sequence[Rule], approve: Sequence[Rule]
    ) -> tuple[Verdict, str]:
        if never := _absolute(deny):
            lifted = all(rule.overridable for rule in never)
            return Verdict.DENY, "deny but for break-glass" if lifted else "deny"
        verdict, words = self._permission(approvable, allow)
        if verdict is Verdict.DENY:
            return verdict, words
        held = _alternatives("hold", approve)
        if held:
            always = bool(_absolute(approve))
            if not self._policy and (always or not allow):
                words = held if always else f"{held}; otherwise deny"
            else:
                words = f"{words}; {held}"
            verdict = Verdict.HOLD if always else min(verdict, Verdict.CONDITIONAL)
        if denied := _alternatives("deny", deny):
            words, verdict = f"{words}; {denied}", min(verdict, Verdict.CONDITIONAL)
        return verdict, words

    def _permission(self, approvable: Sequence[Rule], allow: Sequence[Rule]) -> tuple[Verdict, str]:
        granted = _NO_OBJECTION.words if self._policy else "allow"
        if _absolute(allow) or (self._policy and self._text.allow is None):
            return Verdict.ALLOW, granted
        if allow:
            return Verdict.CONDITIONAL, _alternatives("allow", allow)
        if approvable:
            return Verdict.HOLD, granted
        return Verdict.DENY, "deny"


def _absolute(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules that hang on nothing."""
    return [rule for rule in rules if rule.guard is ALWAYS]


def _alternatives(verb: str, rules: Iterable[Rule]) -> str:
    """Return "allow when a or when b"; of what hangs on nothing, only that."""
    rules = list(rules)
    spelled = {_spelled(rule) for rule in _absolute(rules) or rules}
    return f"{verb} {' or '.join(sorted(spelled))}".rstrip() if rules else ""


def _spelled(rule: Rule) -> str:
    lifted = "(but for break-glass)" if rule.overridable else ""
    return " ".join(filter(None, (_held(rule.hold) if rule.hold else "", _guarded(rule.guard), lifted)))


def _held(hold: Hold) -> str:
    who = "" if hold.who == ("*",) else f" of {' '.join(hold.who)}"
    anchor = "" if hold.anchor else ", not its own"
    return f"({hold.approvers} human{'s' if hold.approvers > 1 else ''}{who}{anchor})"


def _required(rules: Iterable[Requirement]) -> Iterator[str]:
    for rule in rules:
        yield f"needs header {rule.header} like {rule.shown} {_guarded(rule.guard)}".rstrip()


def _guarded(guard: Guard) -> str:
    """Return the conditions; in whatever order their alternatives are written, the same ones read the same."""
    parts = [f"{word} {each.name} {_sorted(each.wanted)}" for word, each in _conditions(guard)]
    return "; ".join([*sorted(parts), *([f"until {guard.until.isoformat()}"] if guard.until else [])])


def _conditions(guard: Guard) -> Iterator[tuple[str, Condition]]:
    yield from (("when", each) for each in guard.when)
    yield from (("unless", each) for each in guard.unless)


def _sorted(wanted: str) -> str:
    return ", ".join(sorted(wanted.split(", ")))


def _limited(rules: Iterable[LimitRule]) -> Iterator[str]:
    for rule in rules:
        yield f"at most {rule.most} per {rule.per} for each {'human' if rule.human else 'agent'}"


def _redacted(lists: Iterable[Sequence[str]]) -> set[str]:
    return {f"{name} not recorded" for listed in lists for name in listed}


def grouped(differences: Iterable[Difference]) -> Mapping[tuple[str, str, str], Mapping[str, list[str]]]:
    """Return (direction, before, after) -> pattern -> actions, as people read it: what was gained comes first."""
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for each in differences:
        key = each.direction, str(each.before), str(each.after)
        found.setdefault(key, {}).setdefault(each.pattern, []).append(each.action)
    order = ("gained", "lost", "changed")
    return {key: found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key))}
