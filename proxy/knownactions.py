"""Every action that requests can come to have a name of: the vocabulary, the operator's own words, every operation.

For tools that compare or check rules without a request; some 48,000 names, in the canonical form.
"""

import re
from collections.abc import Iterator

from mappings.actions import canonical_action
from mappings.inventory import known_operations, written_rules
from mappings.loading import catalogues_in_use, load_compiled
from mappings.vocabulary import WORDS
from proxy.config import Config

ENVIRONMENTS = ("production", "staging", "development", "test", "unknown", "conflict")
"""Stand where an action is written with an environment; the last two are what the mappings say in its place."""

_VARIABLE = re.compile(r"\$\{[^{}]*\}")


def known_actions(config: Config) -> list[str]:
    """Return them, sorted, each once. Reads every catalogue, which takes some seconds; raises DocumentError."""
    return sorted({action for text in _written(config) if (action := _canonical(text))})


def _written(config: Config) -> Iterator[str]:
    compiled, documents = load_compiled(config.mappings, config.catalogues)
    templates = {*WORDS, *(rule.action for document in documents for rule in written_rules(document))}
    for template in templates:
        yield from {_VARIABLE.sub(value, template) for value in ENVIRONMENTS}
    archives = catalogues_in_use(config.catalogues)
    for name, pack in compiled.packs.items():
        for operation in known_operations(pack, archives.get(name)) or ():
            yield operation.name


def _canonical(text: str) -> str:
    try:
        return canonical_action(text)
    except ValueError:
        return ""  # an operation that no action can be, and so no rule either
