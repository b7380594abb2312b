"""Looks a rule up in a mapping text that was kept, to attest what a record says of it; pure.

A request is not kept, so what it was named cannot be worked out again. What can: that the text of this digest holds
this rule at this place, and that the rule can give this action at all.

    the text has no rule "deploy" at 14:3
    the rule says "deploy:${env}", which is never "infra:destroy"
"""

from __future__ import annotations

import re

from mappings.documents import read_document
from mappings.inventory import pack_of, written_rules, written_tunnels
from mappings.places import Fault, PackError
from mappings.templates import Template, read_action_template


class KeptRules:
    """The rules of one kept text; raises PackError for a text that cannot be read or is not the one of the digest."""

    def __init__(self, text: str, digest: str) -> None:
        document = read_document(text, "kept", error=PackError)
        if document.digest != digest:
            raise PackError([Fault(document.place(), 'has another digest; run "claiim chron verify"')])
        self._pack = pack_of(document)
        written = (*written_rules(document), *written_tunnels(document))
        self._rules = {(rule.id, _position(rule.place)): rule for rule in written}
        self._patterns: dict[str, re.Pattern[str]] = {}

    def fault(self, id_: str, pack: str, place: str, action: str) -> str:
        """Say what of a record is not as the text has it; "" when all is."""
        position = _position(place)
        rule = self._rules.get((id_, position))
        if rule is None or pack != self._pack:
            return f'the text has no rule "{id_}" at {position}'
        if rule.action not in self._patterns:
            self._patterns[rule.action] = _pattern(read_action_template(rule.action))
        if self._patterns[rule.action].fullmatch(action):
            return ""
        return f'the rule says "{rule.action}", which is never "{action}"'


def _position(place: str) -> str:
    """Return line and column; under which name a text was read is no part of it."""
    return ":".join(place.rsplit(":", 2)[1:])


def _pattern(template: Template) -> re.Pattern[str]:
    """Return what a template can give: a value never adds a segment (`mappings.templates`)."""
    parts = [re.escape(part) if isinstance(part, str) else "[^:]+" for part in template.parts]
    return re.compile("".join(parts))
