"""Turns documents into one set of policies, or into every fault at once; pure, so it serves replay as well.

    agents.yaml:12:11: anchor "alise@acme.test" is not among the humans; did you mean "alice@acme.test"
    agents.yaml:15:10: skill "deploy-v3" does not exist; did you mean "deploy-v2"
    b.yaml:1:8: skill "deploy-v2" version 1 is already defined at a.yaml:1:8; give it another version
    policies/a.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version

It reads no file and never repairs anything: a set with one fault is no set.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from mappings.documents import Document, DocumentError, Fault, Place, parse
from policies.deciding import Policies
from policies.patterns import Matcher
from policies.rulebook import Rulebook, Seen
from policies.schema import REMOVED_TOKEN, AgentEntry, AgentsFile, HumanEntry
from policies.standing import Finding, PolicyRules, Rules, SkillRules, Standing
from policies.values import Agent, Human, Outcome, PolicyError, State, Text

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_TOKEN = re.compile(r"clm_[A-Za-z0-9_-]{16,}")


def compile_policies(agents: Document, rules: Iterable[Document], *, seen: Seen | None = None) -> Policies:
    """Return the policies that these documents say; raise PolicyError with every fault."""
    compiled, faults = compile_what_is_there(agents, rules, seen=seen)
    if compiled is None or faults:
        raise PolicyError(faults)
    return compiled


def compile_what_is_there(
    agents: Document | None, rules: Iterable[Document], *, seen: Seen | None = None, complete: bool = True
) -> tuple[Policies | None, list[Fault]]:
    """Return the policies, or None and the faults; not `complete` when some file could not even be read."""
    book = Rulebook(seen or {}, complete)
    for document in rules:
        book.add(document)
    policies = None if agents is None else _with_agents(book, agents)
    return (None if book.faults else policies), book.faults


def _with_agents(book: Rulebook, document: Document) -> Policies | None:
    """Put rules and agents together; None when the agents cannot be read."""
    try:
        file = parse(document, AgentsFile, error=PolicyError)
    except DocumentError as wrong:
        book.faults.extend(wrong.faults)
        return None
    registrar = _Registrar(book, document)
    humans = registrar.humans(file.humans)
    standings = registrar.standings(file.agents, humans)
    kept = _TOKEN.sub(REMOVED_TOKEN, _DIGEST.sub(REMOVED_TOKEN, document.text))
    texts = sorted(book.texts, key=lambda text: (text.kind, text.id, int(text.version)))
    texts.append(Text("agents", "agents", "", hashlib.sha256(kept.encode()).hexdigest(), kept))
    lines = "\n".join(f"{text.kind} {text.id} {text.version} {text.digest}" for text in texts)
    return Policies(standings, humans, texts, hashlib.sha256(lines.encode()).hexdigest())


class _Registrar:
    """Checks the agents against the humans and the rulebook."""

    def __init__(self, book: Rulebook, document: Document) -> None:
        self.book = book
        self.document = document
        self._shared: dict[tuple[tuple[str, ...], int], Rules] = {}

    def humans(self, entries: Sequence[HumanEntry]) -> dict[str, Human]:
        humans: dict[str, Human] = {}
        for index, entry in enumerate(entries):
            if entry.id in humans:
                self._twice("humans", index, entry.id)
            humans[entry.id] = Human(entry.id, entry.name, entry.org, entry.state)
        return humans

    def standings(self, entries: Sequence[AgentEntry], humans: Mapping[str, Human]) -> dict[str, Standing]:
        standings: dict[str, Standing] = {}
        owners: dict[str, str] = {}
        for index, entry in enumerate(entries):
            if entry.id in standings:
                self._twice("agents", index, entry.id)
            self._tokens(index, entry, owners)
            skill = self._skill(self.document.place(["agents", index, "skill"]), entry)
            anchor = humans.get(entry.anchor)
            if anchor is None:
                message = f'anchor "{entry.anchor}" is not among the humans'
                remedy = _near(entry.anchor, humans, 'add it under "humans"')
                self.book.fault(self.document.place(["agents", index, "anchor"]), message + remedy)
                continue
            applying = [rules for _, rules in sorted(self.book.policies.items()) if _applies(rules, entry)]
            place = str(self.document.place(["agents", index]))
            standings[entry.id] = _standing(entry, anchor, applying, self._rules(applying, skill), place)
        return standings

    def _tokens(self, index: int, entry: AgentEntry, owners: dict[str, str]) -> None:
        for number, token in enumerate(entry.tokens):
            owner = owners.setdefault(token, entry.id)
            if owner != entry.id and token != REMOVED_TOKEN:
                message = f'this token of agent "{entry.id}" is also one of "{owner}"'
                place = self.document.place(["agents", index, "tokens", number])
                self.book.fault(place, f'{message}; run "claiim agent rotate"')

    def _rules(self, applying: Sequence[PolicyRules], skill: SkillRules) -> Rules:
        key = (tuple(rules.ref.id for rules in applying), id(skill))
        return self._shared.setdefault(
            key,
            Rules(
                denying=tuple(rules for rules in applying if rules.deny),
                allowing=tuple(rules for rules in applying if rules.allow is not None),
                skill=skill,
            ),
        )

    def _twice(self, kind: str, index: int, name: str) -> None:
        entries = self.document.value[kind] if isinstance(self.document.value, dict) else []
        first = next(number for number, entry in enumerate(entries) if entry["id"] == name)
        line = self.document.place([kind, first]).line
        place = self.document.place([kind, index, "id"])
        self.book.fault(place, f'{kind[:-1]} "{name}" stands twice (first on line {line}); keep one')

    def _skill(self, place: Place, entry: AgentEntry) -> SkillRules:
        if entry.skill is None:
            return _no_skill(entry.id, str(place))
        name, _, version = entry.skill.partition("@")
        versions = self.book.skills.get(name)
        if versions is None:
            if self.book.complete:  # else it may stand in the file that could not be read
                remedy = "write one that does"
                self.book.fault(place, f'skill "{name}" does not exist' + _near(name, self.book.skills, remedy))
            return _no_skill(entry.id, str(place))
        wanted = int(version) if version else max(versions)
        if wanted not in versions:
            if self.book.complete:
                known = ", ".join(str(number) for number in sorted(versions))
                self.book.fault(place, f'skill "{name}" has no version {wanted}; versions here: {known}')
            return _no_skill(entry.id, str(place))
        return versions[wanted]


def _standing(
    entry: AgentEntry,
    anchor: Human,
    applying: Sequence[PolicyRules],
    rules: Rules,
    place: str,
) -> Standing:
    def barred(stage: str, subject: str, why: str, code: str) -> Finding:
        return Finding(Outcome.DENY, stage, f"{stage}:{subject} -- {why}", f"{stage}.{code}", rule=place)

    def unless_active(stage: str, subject: str, state: State) -> Finding | None:
        return None if state is State.ACTIVE else barred(stage, subject, state.value, state.value)

    anchor_inactive = unless_active("anchor", anchor.id, anchor.state)
    other_org = (
        None
        if entry.org == anchor.org
        else barred("org", entry.org, "agent and anchor belong to different organisations", "different")
    )
    agent = Agent(
        id=entry.id,
        anchor=entry.anchor,
        org=entry.org,
        state=entry.state,
        mode=entry.mode,
        pin=entry.skill or "",
        skill=rules.skill.ref,
        policies=tuple(policy.ref for policy in applying),
        created=entry.created,
        tokens=tuple(entry.tokens),
    )
    return Standing(
        agent=agent,
        place=place,
        inactive=unless_active("agent", entry.id, entry.state),
        wrong_token=barred("agent", entry.id, "wrong token", "wrong-token"),
        boundary=anchor_inactive or other_org,
        anchor_inactive=anchor_inactive,
        other_org=other_org,
        rules=rules,
    )


def _applies(rules: PolicyRules, entry: AgentEntry) -> bool:
    # The globs hold letters, digits, "._-" and "*" only, so fnmatch's "?" and "[" never come up.
    return any(fnmatchcase(entry.id, glob) for glob in rules.agents) and any(
        fnmatchcase(entry.org, glob) for glob in rules.orgs
    )


def _no_skill(agent: str, place: str) -> SkillRules:
    nothing: Matcher[Finding] = Matcher((), allow=False)
    finding = Finding(Outcome.DENY, "skill", f"agent:{agent} -- no skill", "agent.no-skill", rule=place)
    return SkillRules(None, nothing, nothing, finding)


def _near(name: str, known: Iterable[str], remedy: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"' if near else f"; {remedy}"
