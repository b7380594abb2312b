"""Every operation of OpenAI's API, as its own Python client sends it.

Shown: what the client sends under a method's name is named so, on its own host and in one region. Not shown: what
the server takes beside what the client sends. The few methods that made-up arguments do not satisfy are tried by
the template they hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from case import Case
from fetch import package
from sdks import captured
from sdks.cases import cases_of

from mappings.sources.one_name import Named
from mappings.sources.openai import connections
from mappings.sources.stainless import Client

SAMPLE_EVERY = 4


def cases() -> Iterator[Case]:
    """Yield them all."""
    client = Client(package("PyPI:openai").folder, "openai", "OpenAI")
    sent = (*client.sent(), *connections(client))
    templates = [Named(each.name, each.routes, each.deprecated) for each in sent]
    answers = captured("stainless", "PyPI:openai", "openai", "OpenAI", "httpx2")
    for case in cases_of("openai", answers, templates, "https://api.openai.com/v1"):
        yield case
        elsewhere = case.url.replace("//api.", "//eu.api.", 1)
        yield Case(case.method, elsewhere, case.wanted, group="another region")
