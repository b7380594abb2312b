"""What a call or a winning rule makes of a request: its operations, with action, target and environment.

rule with each: InstanceId, two instances      two operations, one for each
rule with each: json:ids, nothing there        one operation, "-" in its target: never none
no rule                                        the operation's own name is the action
a template needs a body that cannot be read    a problem
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from mappings.actions import canonical_action
from mappings.bodies import MISSING, Pointer, look_up_all
from mappings.compiled import HTTP_PACK, Rule
from mappings.environments import Classifier, environment
from mappings.reading import Reading
from mappings.recognition import Call
from mappings.resolution import TOO_MANY, UNKNOWN_ENVIRONMENT, UNREADABLE, Operation, Problem
from mappings.templates import plain, printable, render_action, render_target

MAX_OPERATIONS = 200
"""Of one request; judging and recording more at once would let one request hold up all others."""

TOO_MANY_OPERATIONS = Problem(TOO_MANY, f"the request performs more than {MAX_OPERATIONS} operations; split it")


@dataclass(frozen=True, slots=True)
class Naming:
    """What is known about a request before a rule speaks."""

    reading: Reading
    call: Call | None
    bound: Mapping[str, str]
    """Facts the operator bound to the host."""
    classifiers: Sequence[Classifier]

    def by_rule(
        self, rule: Rule, captures: Mapping[str, str], facts: Mapping[str, str]
    ) -> Sequence[Operation] | Problem:
        """Return the operations a winning rule makes, never none."""
        request = self.reading.request
        shown = self._environment(captures)
        values = {"path": self.reading.path, **facts, "host": request.host, "method": request.method}
        values["env"] = shown or UNKNOWN_ENVIRONMENT
        name = self.call.name if self.call else f"{HTTP_PACK}:{request.method}"
        elements = self._elements(rule.each)
        if isinstance(elements, Problem):
            return elements
        found: list[Operation] = []
        for element in elements:
            values["each"] = element
            action = render_action(rule.action, values, self.reading)
            if isinstance(action, Problem):
                return action
            target = self._target() if rule.target is None else render_target(rule.target, values, self.reading)
            if isinstance(target, Problem):
                return target
            found.append(Operation(name, action, target, shown, rule.ref, facts))
        return found

    def by_itself(self, call: Call) -> Sequence[Operation] | Problem:
        """Return the operation of a call that no rule speaks for."""
        try:
            action = canonical_action(call.name)
        except ValueError:
            return Problem(UNREADABLE, "the request names an operation that no action can be written for")
        facts = {**call.captures, **self.bound}
        return (Operation(call.name, action, self._target(), self._environment({}), None, facts),)

    def _environment(self, captures: Mapping[str, str]) -> str:
        if not self.classifiers and "env" not in self.bound:
            return ""
        call = self.call
        trusted = {name: call.captures.get(name, "") for name in call.trusted} if call else {}
        facts = {**trusted, **captures, **self.bound, "host": self.reading.request.host}
        return environment(self.classifiers, facts, self.bound.get("env", ""))

    def _target(self) -> str:
        if self.call and self.call.target:
            return printable(self.call.target)
        return printable(self.reading.request.host + unquote(self.reading.path, errors="replace"))

    def _elements(self, each: str | Pointer | None) -> Sequence[str] | Problem:
        """Return what ``${each}`` stands for; never nothing, which would be no operation."""
        if each is None:
            return ("",)
        if isinstance(each, str):
            return (self.call.lists.get(each, ()) if self.call else ()) or ("",)
        body = self.reading.json()
        found = () if body is MISSING else body if isinstance(body, Problem) else look_up_all(body, each)
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
