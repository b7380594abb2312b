"""What the packs know: families, the operations of each, and which actions their rules may give an operation.

For tools and documentation; no request comes here. What a rule makes of an operation may depend on the request (a
condition on its body, its query, a fact of its path), so an operation may have several doors: the rules that hold
whatever the request is, and those above them that hold for some requests.

    github:pulls/merge          pr:merge, always
    terraform:runs/create       infra:destroy and infra:apply, each for some requests
    github:users/get            nothing: no rule speaks for it, and it keeps its own name
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mappings.actions import pattern_regex
from mappings.catalogues import Archive
from mappings.catalogues.routes import ACCESS_OF_LETTER, EXECUTES, MINTS
from mappings.compiled import Compiled, Rule
from mappings.conditions import FactHolds, Not, OperationIs, Predicate, Subject
from mappings.places import Document
from mappings.reading import Reading
from mappings.recognition import Call, Pack
from mappings.request import Request
from mappings.routepack import RoutePack
from mappings.routes import method_rank
from mappings.tunnels import TUNNEL_OPEN

_ATTRIBUTES = frozenset({"access", "executes", "mints", "known"})
"""Facts that an operation has by itself (`Call.attributes`), whatever the request."""

_NO_REQUEST = Reading(Request("GET", "https", "none.invalid", 443, "/", (), (), b""))
"""For conditions on the operation itself, which look at no request."""

_SERVICES = "index.json"
"""The member that lists services, in a catalogue with one member for each."""

_VARIABLE = re.compile(r"\$\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Known:
    """An operation that a pack lists."""

    name: str
    """With the family: ``github:pulls/merge``."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """As `mappings.recognition.Call.attributes` says it; nothing when the pack lists names alone."""
    methods: frozenset[str] = frozenset()
    """The methods it may be sent by; nothing when they are not known."""


@dataclass(frozen=True, slots=True)
class Door:
    """A rule that may speak for an operation."""

    rule: Rule
    always: bool
    """Whether it does for every request; otherwise it depends on what the request holds."""

    @property
    def action(self) -> str:
        """The action as the rule writes it: ``deploy:${env}``."""
        return self.rule.action.text


def known_operations(pack: Pack, archive: Archive | None = None) -> tuple[Known, ...] | None:
    """Return the operations a pack lists, sorted; None when it names requests by rule and lists none.

    A pack of code may say them itself, as calls (`known_operations`); one made from a catalogue is listed from its
    archive. Raises CatalogueError when that cannot be read.
    """
    said: Callable[[], Iterable[Call]] | None = getattr(pack, "known_operations", None)
    if said is not None:
        found = [Known(call.name, call.attributes) for call in said()]
    elif archive is not None:
        found = [known for known, _ in catalogued(archive)]
    elif isinstance(pack, RoutePack):
        found = [Known(name) for name in pack.operations]
    else:
        return None
    return tuple(sorted(found, key=lambda known: known.name))


def catalogued(archive: Archive) -> Iterator[tuple[Known, tuple[str, ...]]]:
    """Yield every operation of a catalogue once, with its routes as far as they are written as texts.

    Two that the wire cannot tell apart have one name; what is known of the graver one holds for both.
    """
    found: dict[str, tuple[Known, tuple[str, ...]]] = {}
    for name, letter, traits, routes in _by_service(archive) if _SERVICES in archive.members else _rows(archive):
        full = f"{archive.header.family}:{name}"
        call = Call(full, {}, access=ACCESS_OF_LETTER[letter], executes=EXECUTES in traits, mints=MINTS in traits)
        known = found.get(full)
        if known is None or known[0].attributes.get("access") in ("read", "list"):
            texts = tuple(text for text in routes if isinstance(text, str))
            found[full] = Known(full, call.attributes, _methods(texts)), texts
    yield from found.values()


def _methods(routes: Iterable[str]) -> frozenset[str]:
    found = {route.partition(" ")[0] for route in routes}
    # RFC 9110 section 9.3.2: HEAD asks for what GET would answer, and is named so.
    return frozenset(found | {"HEAD"}) if "GET" in found else frozenset(found)


def _rows(archive: Archive) -> Iterator[tuple[str, str, str, Sequence[object]]]:
    """Yield name, access letter, traits and routes of each row, wherever in a member lists of rows stand."""
    for member in sorted(archive.members):
        yield from _rows_in(archive.read(member))


def _rows_in(content: object) -> Iterator[tuple[str, str, str, Sequence[object]]]:
    if isinstance(content, dict):
        for value in content.values():
            yield from _rows_in(value)
    for row in content if isinstance(content, list) else ():
        match row:
            case [str(name), str(letter), str(traits), *behind] if letter in ACCESS_OF_LETTER:
                yield name, letter, traits, behind[0] if behind and isinstance(behind[0], list) else ()


def _by_service(archive: Archive) -> Iterator[tuple[str, str, str, Sequence[object]]]:
    """Yield the same of a catalogue with a member for each service (`mappings.sources.aws`)."""
    for service, (signing_name, *_) in archive.read(_SERVICES)["services"].items():
        for letter, traits, operations in archive.read(f"{service}.json"):
            rows = [(text, "") for text in operations.split()] if isinstance(operations, str) else operations
            for text, route, *_ in rows:
                yield f"{signing_name}:{text.partition('=')[0]}", letter, traits, (route,) if route else ()


def doors(compiled: Compiled, operation: Known) -> tuple[Door, ...]:
    """Return every rule that may name the operation, the most specific first; () when it always keeps its own name."""
    shipped = compiled.pack_rules.get(operation.name.partition(":")[0])
    ranked: dict[tuple[int, ...], list[Rule]] = {}
    for rules in (compiled.rules, shipped() if shipped else None):
        for rule, exactness, literal in rules.operations.find(operation.name.casefold()) if rules else ():
            # The order of `Mappings`, as far as it is known without a request.
            rank = (int(not rule.scope), rule.json_count, rule.text_count, exactness, literal)
            ranked.setdefault(rank, []).append(rule)
    found: list[Door] = []
    for best in sorted(ranked, reverse=True):
        settled = False
        for rule in ranked[best]:
            holds = _holds(rule, operation)
            if holds is not False:
                found.append(Door(rule, holds is True))
                settled = settled or holds is True
        if settled:
            # What is less specific than a rule that always holds never speaks.
            break
    return tuple({id(door.rule): door for door in found}.values())


def keeps_its_name(found: tuple[Door, ...]) -> bool:
    """Return whether an operation with these doors may keep its own name."""
    return not any(door.always for door in found)


def _holds(rule: Rule, operation: Known) -> bool | None:
    """Return whether the rule holds for every request of the operation, for none, or (None) for some."""
    answers = [_all(rule.predicates, operation), None if rule.hosts else True, _by_method(rule, operation)]
    return _together(answers)


def _by_method(rule: Rule, operation: Known) -> bool | None:
    if rule.methods is None:
        return True
    fits = {method_rank(rule.methods, method) is not None for method in operation.methods}
    return fits.pop() if len(fits) == 1 else None


def _together(answers: Iterable[bool | None]) -> bool | None:
    told = list(answers)
    if False in told:
        return False
    return None if None in told else True


def _all(predicates: tuple[Predicate, ...], operation: Known) -> bool | None:
    return _together(_answer(predicate, operation) for predicate in predicates)


def _answer(predicate: Predicate, operation: Known) -> bool | None:
    match predicate:
        case Not(predicates):
            answer = _all(predicates, operation)
            return None if answer is None else not answer
        case OperationIs():
            pass
        case FactHolds(name) if name in _ATTRIBUTES and operation.attributes:
            pass
        case _:
            return None
    told = predicate.holds(Subject(_NO_REQUEST, operation.name.casefold(), operation.attributes))
    return told if isinstance(told, bool) else None


# --- by rule ---


@dataclass(frozen=True, slots=True)
class Written:
    """A rule as its document writes it, for packs that list no operations."""

    id: str
    patterns: tuple[str, ...]
    """Its ``op``, unexpanded; () for a rule that names requests by host, method or path."""
    action: str
    place: str


def written_rules(document: Document) -> Iterator[Written]:
    """Yield the rules of a compiled document."""
    value = document.value
    rules = value.get("rules") if isinstance(value, dict) else None
    for at, rule in enumerate(rules or ()):
        op = rule["match"].get("op", ())
        patterns = (op,) if isinstance(op, str) else tuple(op)
        yield Written(rule["id"], patterns, rule["action"], str(document.place(("rules", at))))


def written_tunnels(document: Document) -> Iterator[Written]:
    """Yield the tunnels of a compiled document, each as the rule that it is: what it is called and its one action."""
    value = document.value
    tunnels = value.get("tunnels") if isinstance(value, dict) else None
    for at, tunnel in enumerate(tunnels or ()):
        yield Written(tunnel["id"], (TUNNEL_OPEN,), TUNNEL_OPEN, str(document.place(("tunnels", at))))


def pack_of(document: Document) -> str:
    """Return the pack a document is about; "" for an operator's file."""
    return str(document.value.get("pack", "")) if isinstance(document.value, dict) else ""


def fitting(word: str, actions: Iterable[str]) -> frozenset[str]:
    """Return which of these actions of rules a word means: the same text, or what becomes it in some environment.

    Of several, those that write most of it out: ``deploy:rollback-staging`` means ``deploy:rollback-${env}``.
    """
    folded = word.lower()
    found: dict[str, int] = {}
    for action in actions:
        pattern = _VARIABLE.sub("*", action.lower())
        if action.lower() == folded:
            return frozenset({action})
        if re.fullmatch(pattern_regex(pattern), folded):
            found[action] = len(pattern)
    longest = max(found.values(), default=0)
    return frozenset(action for action, chars in found.items() if chars == longest)
