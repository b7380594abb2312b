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
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from mappings.documents import Document, DocumentError, Fault, Place
from policies.conditionschema import moment
from policies.deciding import Policies
from policies.nameless import registry_text
from policies.patterns import Matcher
from policies.reading import read_file
from policies.rulebook import Activations, Candidate, Rulebook, Seen, applies
from policies.rules import Finding, Rule, Rules, TextRules
from policies.schema import REMOVED_TOKEN, AgentEntry, AgentsFile, CrossGrantEntry, HumanEntry, PolicyFile, TokenEntry
from policies.standing import Boundaries, Standing
from policies.values import Agent, CrossGrant, Human, Mode, Organisation, Outcome, PolicyError, Token


def compile_policies(
    agents: Document,
    rules: Iterable[Document],
    *,
    seen: Seen | None = None,
    activations: Activations | None = None,
    kept: bool = False,
) -> Policies:
    """Return the policies that these documents say; raise PolicyError with every fault.

    `kept` ones are evidence: their digests are those of their texts as they are, whatever is kept of a registry today.
    """
    compiled, faults = compile_what_is_there(agents, rules, seen=seen, activations=activations, kept=kept)
    if compiled is None or faults:
        raise PolicyError(faults)
    return compiled


def compile_what_is_there(
    agents: Document | None,
    rules: Iterable[Document],
    *,
    seen: Seen | None = None,
    complete: bool = True,
    activations: Activations | None = None,
    kept: bool = False,
) -> tuple[Policies | None, list[Fault]]:
    """Return the policies, or None and the faults; not `complete` when some file could not even be read."""
    book = Rulebook(seen or {}, complete, activations)
    for document in rules:
        book.add(document)
    book.finish()
    policies = None if agents is None else _with_agents(book, agents, kept=kept)
    return (None if book.faults else policies), book.faults


def _with_agents(book: Rulebook, document: Document, *, kept: bool) -> Policies | None:
    """Put rules and agents together; None when the agents cannot be read."""
    try:
        file = read_file(document, AgentsFile)
    except DocumentError as wrong:
        book.faults.extend(wrong.faults)
        return None
    registrar = _Registrar(book, document)
    boundaries = registrar.boundaries(file)
    humans = registrar.humans(file.humans)
    standings = registrar.standings(file.agents, humans, boundaries)
    if book.faults:
        return None
    texts = sorted(book.texts, key=lambda text: (text.kind, text.id, int(text.version)))
    texts.append(registry_text(document, file, kept=kept))
    in_force = {key: found.ref for key in book.candidates if (found := book.in_force(*key)) is not None}
    lines = [f"{text.kind} {text.id} {text.version} {text.digest}" for text in texts]
    # Which versions count is part of which rules these are. Recorded decisions name this digest: were these lines
    # written otherwise one day, no replay of an older log would find its rules.
    lines += sorted(f"in force {kind} {name} {ref.version}" for (kind, name), ref in in_force.items())
    lines += sorted(f"never activated {ref.kind} {ref.digest}" for ref in book.unusable())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Policies(standings, humans, boundaries, texts, digest, in_force)


class _Registrar:
    """Checks the agents against the humans, the organisations and the rulebook."""

    def __init__(self, book: Rulebook, document: Document) -> None:
        self.book = book
        self.document = document
        self._shared: dict[tuple[tuple[str, ...], int], Rules] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        """Token or identity -> kind and id of whose it is."""
        self._organisations: dict[str, Organisation] = {}

    def boundaries(self, file: AgentsFile) -> Boundaries:
        for index, entry in enumerate(file.organisations):
            if entry.id in self._organisations:
                self._twice("organisations", index, entry.id)
            self._organisations[entry.id] = Organisation(entry.id, entry.name, entry.state, entry.owns)
        grants = [self._grant(index, entry) for index, entry in enumerate(file.cross_grants)]
        return Boundaries(self._organisations, grants)

    def _grant(self, index: int, entry: CrossGrantEntry) -> CrossGrant:
        for key in ("of", "into"):
            self._known_organisation(["cross_grants", index, key], getattr(entry, key))
        return CrossGrant(entry.of, entry.into, entry.agents, entry.actions, _moment(entry.until))

    def _known_organisation(self, path: list[str | int], name: str) -> None:
        # Where none is written down, the names alone say who belongs together.
        if self._organisations and name not in self._organisations:
            remedy = _near(name, self._organisations, 'add it under "organisations"')
            self.book.fault(self.document.place(path), f'organisation "{name}" is not among the organisations{remedy}')

    def humans(self, entries: Sequence[HumanEntry]) -> dict[str, Human]:
        humans: dict[str, Human] = {}
        for index, entry in enumerate(entries):
            if entry.id in humans:
                self._twice("humans", index, entry.id)
            self._known_organisation(["humans", index, "org"], entry.org)
            tokens = self._tokens("humans", index, entry.id, entry.tokens)
            humans[entry.id] = Human(entry.id, entry.name, entry.org, entry.state, _moment(entry.expires), tokens)
        return humans

    def standings(
        self, entries: Sequence[AgentEntry], humans: Mapping[str, Human], boundaries: Boundaries
    ) -> dict[str, Standing]:
        standings: dict[str, Standing] = {}
        in_force = self.book.policies
        for index, entry in enumerate(entries):
            if entry.id in standings:
                self._twice("agents", index, entry.id)
            self._known_organisation(["agents", index, "org"], entry.org)
            tokens = self._tokens("agents", index, entry.id, entry.tokens)
            for number, identity in enumerate(entry.identities):
                self._owned("agents", entry.id, identity, ["agents", index, "identities", number], "identity")
            skill = self._skill(self.document.place(["agents", index, "skill"]), entry)
            anchor = humans.get(entry.anchor)
            if anchor is None:
                message = f'anchor "{entry.anchor}" is not among the humans'
                remedy = _near(entry.anchor, humans, 'add it under "humans"')
                self.book.fault(self.document.place(["agents", index, "anchor"]), message + remedy)
                continue
            applying = [self.book.rules(each) for each in in_force if _applies(each, entry)]
            agent = Agent(
                id=entry.id,
                anchor=entry.anchor,
                org=entry.org,
                state=entry.state,
                mode=entry.mode,
                pin=entry.skill or "",
                skill=skill.ref,
                policies=tuple(rules.ref for rules in applying if rules.ref is not None),
                created=entry.created,
                tokens=tokens,
                identities=entry.identities,
                expires=_moment(entry.expires),
                labels=entry.labels,
            )
            place = str(self.document.place(["agents", index]))
            standings[entry.id] = Standing(agent, anchor, place, boundaries, self._rules(applying, skill))
        return standings

    def _tokens(self, kind: str, index: int, owner: str, entries: Sequence[str | TokenEntry]) -> tuple[Token, ...]:
        tokens = []
        for number, entry in enumerate(entries):
            token = Token(entry) if isinstance(entry, str) else _token(entry)
            if token.sha256 != REMOVED_TOKEN:
                self._owned(kind, owner, token.sha256, [kind, index, "tokens", number], "token")
            tokens.append(token)
        return tuple(tokens)

    def _owned(self, kind: str, owner: str, proof: str, path: list[str | int], what: str) -> None:
        first = self._owners.setdefault(proof, (kind, owner))
        if first != (kind, owner):
            message = f'this {what} of {kind[:-1]} "{owner}" is also one of {first[0][:-1]} "{first[1]}"'
            remedy = f'run "claiim {kind[:-1]} rotate"' if what == "token" else "remove one of the two"
            self.book.fault(self.document.place(path), f"{message}; {remedy}")

    def _rules(self, applying: Sequence[TextRules], skill: TextRules) -> Rules:
        key = (tuple(rules.ref.id for rules in applying if rules.ref), id(skill))
        return self._shared.setdefault(key, Rules(policies=tuple(applying), skill=skill))

    def _twice(self, kind: str, index: int, name: str) -> None:
        entries = self.document.value[kind] if isinstance(self.document.value, dict) else []
        first = next(number for number, entry in enumerate(entries) if entry["id"] == name)
        line = self.document.place([kind, first]).line
        place = self.document.place([kind, index, "id"])
        self.book.fault(place, f'{kind[:-1]} "{name}" stands twice (first on line {line}); keep one')

    def _skill(self, place: Place, entry: AgentEntry) -> TextRules:
        if entry.skill is None:
            return _no_skill(f"agent:{entry.id} -- no skill", "agent.no-skill", str(place))
        name, _, version = entry.skill.partition("@")
        versions = self.book.candidates.get(("skill", name), {})
        found = versions.get(int(version)) if version else self.book.in_force("skill", name)
        if not versions or (version and found is None):
            if self.book.complete:  # else it may stand in the file that could not be read
                self.book.fault(place, self.book.missing("skill", name, int(version or 0)))
            return _no_skill(f"agent:{entry.id} -- no skill", "agent.no-skill", str(place))
        if found is None or not self.book.usable(found):
            return _no_skill(f"skill:{name} -- not activated", "skill.not-active", str(place))
        return self.book.rules(found)


def _applies(candidate: Candidate, entry: AgentEntry) -> bool:
    return isinstance(candidate.file, PolicyFile) and applies(candidate.file.applies_to, entry)


def _token(entry: TokenEntry) -> Token:
    return Token(entry.sha256, _moment(entry.expires), entry.created)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


def _no_skill(reason: str, code: str, place: str) -> TextRules:
    nothing: Matcher[Rule] = Matcher((), allow=False)
    finding = Finding(Outcome.DENY, "skill", reason, code, rule=place)
    return TextRules(
        ref=None,
        mode=Mode.ENFORCE,
        until=None,
        deny=nothing,
        allow=nothing,
        approve=nothing,
        approvable=nothing,
        require=Matcher((), allow=False),
        limits=Matcher((), allow=False),
        redact=Matcher((), allow=False),
        not_allowed=finding,
        expired=finding,
    )


def _near(name: str, known: Iterable[str], remedy: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"' if near else f"; {remedy}"
