"""Cases from what a client sent, under the names its methods go by, with templates for what it could not be made to.

The wanted name is worked out from the captured requests alone: methods that sent the same request share one name,
by the order of `mappings.sources.one_name`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from case import Case

from mappings.sources.one_name import Named, one_name_each, shape
from sdks import Refused, Sent

VALUE = "x1"
_SENT, _TEMPLATE = "the client", "templates"


def cases_of(family: str, answers: Iterable[Sent | Refused], templates: Iterable[Named], base: str) -> Iterator[Case]:
    """Yield a case for every request sent, and one for every template of a method that sent none."""
    sent = [each for each in answers if isinstance(each, Sent)]
    seen = {each.name for each in sent}
    rest = [each for each in templates if each.name not in seen]
    if sent:
        shown = ", ".join(each.name for each in rest[:5])
        print(f"{family}: {len(seen)} methods called, {len(rest)} by template: {shown}", file=sys.stderr)
    requests = [(each.name, each.method, each.url, each.deprecated, _SENT) for each in sent]
    for each in rest:
        for route in each.routes:
            method, path = re.sub(r"\{\w+\}", VALUE, route).split(" ")
            url = f"{base}{path}" if path.startswith("/") else f"https://{path}"
            requests.append((each.name, method, url, each.deprecated, _TEMPLATE))
    owners = _owners(requests)
    for _, method, url, _, group in requests:
        yield Case(method, url, frozenset({f"{family}:{owners[_route(method, url)]}"}), group=group)


def _owners(requests: Iterable[tuple[str, str, str, bool, str]]) -> dict[str, str]:
    """Return the one name of every request."""
    routes: dict[str, tuple[set[str], bool]] = {}
    for name, method, url, deprecated, _ in requests:
        held, known = routes.get(name, (set(), False))
        routes[name] = ({*held, _route(method, url)}, deprecated or known)
    named = [Named(name, tuple(sorted(held)), deprecated) for name, (held, deprecated) in routes.items()]
    whole = {route: name for name, held in one_name_each(named)[0].items() for route in held}
    # A query that tells nothing apart is taken off when names are given.
    return {
        route: whole[route] if route in whole else whole[route.partition("?")[0]]
        for each in named
        for route in each.routes
    }


def _route(method: str, url: str) -> str:
    parts = urlsplit(url)
    beta = "?beta=true" if "beta=true" in parts.query.split("&") else ""
    return shape(f"{method} {parts.path}{beta}")
