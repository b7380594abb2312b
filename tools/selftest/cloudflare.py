"""Every operation of Cloudflare's API: as its own Python client sends it, and as the client's documentation lists it.

Shown: both agree with the catalogue, method by method; the documentation (``api.md`` beside the resources) was
written from the API's description and not from the code that the catalogue is compiled from. Not shown: what the
server takes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from case import Case
from fetch import package
from sdks import captured
from sdks.cases import cases_of

from mappings.sources.one_name import Named
from mappings.sources.stainless import Client

SAMPLE_EVERY = 20

_BASE = "https://api.cloudflare.com/client/v4"
_LISTED = re.compile(r'<code title="(\w+) ([^"]+)">client\.([\w.]+)\.<a [^>]*>(\w+)</a>')


def cases() -> Iterator[Case]:
    """Yield them all."""
    folder = package("PyPI:cloudflare").folder
    client = Client(folder, "cloudflare", "Cloudflare")
    templates = [Named(each.name, each.routes, each.deprecated) for each in client.sent()]
    answers = captured("stainless", "PyPI:cloudflare", "cloudflare", "Cloudflare", "httpx")
    yield from cases_of("cloudflare", answers, templates, _BASE)
    deprecated = {each.name for each in templates if each.deprecated}
    for case in cases_of("cloudflare", (), documented(folder, deprecated), _BASE):
        yield Case(case.method, case.url, case.wanted, group="its documentation")


def documented(folder: Path, deprecated: set[str]) -> Iterator[Named]:
    """Yield what the documentation lists."""
    for path in sorted(folder.rglob("api.md")):
        for method, template, way, name in _LISTED.findall(path.read_text("utf-8")):
            full = f"{way}.{name}"
            words = ("accounts", "zones") if "{accounts_or_zones}" in template else ("",)
            routes = tuple(f"{method.upper()} {template.replace('{accounts_or_zones}', word)}" for word in words)
            yield Named(full, routes, full in deprecated)
