"""Every operation of Anthropic's API, as its own Python client sends it.

Shown: what the client sends under a method's name is named so, beta twins under the plain name, with the query
``?beta=true`` that older clients send and without. Not shown: what the server takes beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from case import Case
from fetch import package
from sdks import captured
from sdks.cases import cases_of

from mappings.sources.one_name import Named
from mappings.sources.stainless import Client

SAMPLE_EVERY = 4


def cases() -> Iterator[Case]:
    """Yield them all."""
    client = Client(package("PyPI:anthropic").folder, "anthropic", "Anthropic")
    templates = [Named(each.name, each.routes, each.deprecated) for each in client.sent() if each.paths]
    answers = captured("stainless", "PyPI:anthropic", "anthropic", "Anthropic", "httpx2")
    for case in cases_of("anthropic", answers, templates, "https://api.anthropic.com"):
        yield case
        if "?" not in case.url:
            yield Case(case.method, f"{case.url}?beta=true", case.wanted, group="with ?beta=true")
    # Exchanges an identity for a token, before the first request of a client that has no key.
    yield Case(
        "POST", "https://api.anthropic.com/v1/oauth/token", frozenset({"anthropic:oauth.token"}), group="by hand"
    )
