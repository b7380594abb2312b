"""Every operation of Stripe's API, as its own Python client sends it.

Shown: what every service method sends is named so, on the host that the client sends it to. Not shown: what the
server takes beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from case import Case
from fetch import package
from sdks import captured
from sdks.cases import cases_of

from mappings.sources.python_ast import Sources
from mappings.sources.stripe import named

SAMPLE_EVERY = 5


def cases() -> Iterator[Case]:
    """Yield them all."""
    templates = named(Sources(package("PyPI:stripe").folder))
    yield from cases_of("stripe", captured("stripe_services", "PyPI:stripe"), templates, "https://api.stripe.com")
