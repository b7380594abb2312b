"""Every operation of Datadog's API, as its own Python client sends it, on two sites.

Shown: what every endpoint sends is named by its operation id, on the host that the client sends it to. The wanted
name is worked out from what the client offers: ids that stand in one chapter only, or in the chapter of one name in
both versions, are names; the others are told apart by version. Not shown: what the server takes beside it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from case import Case
from fetch import package
from sdks import Sent, captured
from sdks.cases import VALUE

from mappings.sources.datadog import endpoints
from mappings.sources.python_ast import Sources

SAMPLE_EVERY = 12

_READS = frozenset({"GET", "HEAD"})


def cases() -> Iterator[Case]:
    """Yield them all."""
    sent = [each for each in captured("datadog_endpoints", "PyPI:datadog-api-client") if isinstance(each, Sent)]
    group = "the client" if sent else "templates"
    sent = sent or list(_by_template())
    names = _names(sent)
    for each in sent:
        yield Case(each.method, each.url, frozenset({f"datadog:{names[each.name]}"}), group=group)


def _by_template() -> Iterator[Sent]:
    for each in endpoints(Sources(package("PyPI:datadog-api-client").folder)):
        url = f"https://{each.hosts[0] if each.hosts else 'api.datadoghq.com'}{re.sub(r'{[^}]*}', VALUE, each.path)}"
        yield Sent(f"{each.version}/{each.chapter}/{each.operation}", each.method, url, False)


def _names(sent: list[Sent]) -> dict[str, str]:
    """Return the operation's name by version, chapter and id."""
    meanings = defaultdict(set)
    for each in sent:
        _, chapter, operation = each.name.split("/")
        meanings[operation].add((chapter, each.method in _READS))
    names = {}
    for each in sent:
        version, _, operation = each.name.split("/")
        names[each.name] = operation if len(meanings[operation]) == 1 else f"{version}.{operation}"
    return names
