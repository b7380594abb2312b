"""What a call or a winning rule makes of a request: its operations, with action, target and environment.

rule with each: InstanceId, two instances      two operations, one for each
rule with each: json:ids, nothing there        one operation, "-" in its target: never none
no rule                                        the operation's own name is the action
a template needs a body that cannot be read    a problem
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import unquote

from mappings.actions import canonical_action
from mappings.bodies import Pointer, look_up_all
from mappings.compiled import HTTP_PACK, Compiled, Rule
from mappings.conditions import Subject, all_hold
from mappings.environments import environment
from mappings.lookups import NOTHING_TOLD, Asked, asked, tell
from mappings.reading import Reading
from mappings.recognition import Call
from mappings.resolution import ATTRIBUTES, TOO_MANY, UNKNOWN_ENVIRONMENT, UNREADABLE, Operation, Problem
from mappings.templates import plain, printable, render_action, render_target

MAX_OPERATIONS = 200
"""Of one request; judging and recording more at once would let one request hold up all others."""

TOO_MANY_OPERATIONS = Problem(TOO_MANY, f"the request performs more than {MAX_OPERATIONS} operations; split it")


NO_CAPTURES: dict[str, str] = {}


class Naming:
    """What is known about a request, or one of its calls, before a rule speaks."""

    __slots__ = ("_asked", "_bound", "_compiled", "_told", "attributes", "call", "problem", "reading", "subject")

    def __init__(self, reading: Reading, call: Call | None, bound: Mapping[str, str], compiled: Compiled) -> None:
        self.reading = reading
        self.call = call
        self._bound = bound
        """Facts of the operator about the host."""
        self._compiled = compiled
        self.attributes = call.attributes if call else NO_CAPTURES
        """Of the operation."""
        self._told = _facts_of(call, self.attributes) if call else NO_CAPTURES
        self.subject = Subject(reading, call.name.casefold() if call else "", {**self._told, **bound})
        """What a rule without captures is compared with."""
        self._asked: tuple[Asked, ...] = ()
        self.problem: Problem | None = None
        """Why a table that concerns the call cannot be asked."""
        if compiled.lookups:
            found = asked(compiled.lookups, self.subject)
            if isinstance(found, Problem):
                self.problem = found
            elif found:
                self._asked = found
                self.subject = self.with_captures(NO_CAPTURES)

    @property
    def reads_body(self) -> bool:
        """Whether a table that may concern the call takes its key from the body."""
        return any(
            lookup.reads_body and all_hold(lookup.match, self.subject) is not False for lookup in self._compiled.lookups
        )

    def with_captures(self, captures: Mapping[str, str]) -> Subject:
        """Return what a rule with these captures of the path is compared with."""
        if not captures and not self._asked:
            return self.subject
        facts = {**self._told, **captures, **self._bound}
        if self._asked:
            # The operator's word for a host goes before his tables, and both before anything in the request.
            facts = {**facts, **tell(self._asked, facts).facts, **self._bound}
        return Subject(self.reading, self.subject.operation, facts)

    def by_rule(
        self, rule: Rule, captures: Mapping[str, str], facts: Mapping[str, str]
    ) -> tuple[Operation, ...] | Problem:
        """Return the operations a winning rule makes, never none."""
        request = self.reading.request
        shown = self._environment(captures)
        name = self.call.name if self.call else f"{HTTP_PACK}:{request.method}"
        if rule.fixed_action and rule.target is None:
            return (Operation(name, rule.fixed_action, self._target(), shown, rule.ref, facts),)
        values = {
            "path": self.reading.path,
            **facts,
            "host": request.host,
            "method": request.method,
            "env": shown or UNKNOWN_ENVIRONMENT,
        }
        elements = ("",) if rule.each is None else self._elements(rule.each)
        if isinstance(elements, Problem):
            return elements
        found: list[Operation] = []
        for element in elements:
            values["each"] = element
            action = rule.fixed_action or render_action(rule.action, values, self.reading)
            if isinstance(action, Problem):
                return action
            target = self._target() if rule.target is None else render_target(rule.target, values, self.reading)
            if isinstance(target, Problem):
                return target
            found.append(Operation(name, action, target, shown, rule.ref, facts))
        return tuple(found)

    def by_itself(self, call: Call) -> tuple[Operation, ...] | Problem:
        """Return the operation of a call that no rule speaks for."""
        action = _action_of(call.name)
        if action is None:
            return Problem(UNREADABLE, "the request names an operation that no action can be written for")
        return (Operation(call.name, action, self._target(), self._environment(NO_CAPTURES), None, self.subject.facts),)

    def _environment(self, captures: Mapping[str, str]) -> str:
        classifiers = self._compiled.classifiers
        bound = self._bound
        if not classifiers and not self._asked and "env" not in bound:
            return ""
        call = self.call
        trusted = {name: call.captures.get(name, "") for name in call.trusted - ATTRIBUTES} if call else {}
        facts = {**trusted, **captures, **bound}
        told = NOTHING_TOLD
        if self._asked:
            told = tell(self._asked, facts)
            facts = {**facts, **told.facts, **bound}
        facts["host"] = self.reading.request.host
        return environment(classifiers, facts, bound.get("env", ""), told)

    def _target(self) -> str:
        if self.call and self.call.target:
            return printable(self.call.target)
        path = self.reading.path
        return printable(self.reading.request.host + (unquote(path, errors="replace") if "%" in path else path))

    def _elements(self, each: str | Pointer) -> Sequence[str] | Problem:
        """Return what ``${each}`` stands for; never nothing, which would be no operation."""
        if isinstance(each, str):
            return (self.call.lists.get(each, ()) if self.call else ()) or ("",)
        body = self.reading.json()
        found = body if isinstance(body, Problem) else look_up_all(body.value, each)
        if isinstance(found, Problem):
            return found
        if len(found) > MAX_OPERATIONS:
            return TOO_MANY_OPERATIONS
        texts: list[str] = []
        for value in found:
            text = plain(value, each)
            if isinstance(text, Problem):
                return text
            texts.append(text)
        return texts or ("",)


def _facts_of(call: Call, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return what a call captured and what its pack says of the operation; no capture stands in for the latter."""
    captures = call.captures
    if not ATTRIBUTES.isdisjoint(captures):
        captures = {name: value for name, value in captures.items() if name not in ATTRIBUTES}
    return {**captures, **attributes}


@lru_cache(maxsize=8192)
def _action_of(name: str) -> str | None:
    """Return the action that an operation without a rule is; None when its name is outside the grammar."""
    try:
        return canonical_action(name)
    except ValueError:
        return None
