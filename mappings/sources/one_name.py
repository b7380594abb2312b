"""Gives every route of an SDK one name: SDKs offer the same request under several.

Of the methods that send one request, the name is that of the first by this order:

1. not marked as deprecated,
2. not below ``beta``: the beta twin sends the same, with a header that asks for unfinished fields,
3. a plain verb (``messages.create`` before ``messages.parse``),
4. fewest parts (``files.list`` before ``admin.files.list``),
5. shortest, then alphabetical.

The others lose the route, and those without any route are dropped and reported. A query that a path holds
(``/responses?beta=true``) tells operations apart only where the same path without it is another operation's;
elsewhere servers take the request without it too, and it is left off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_PLACE = re.compile(r"\{\w+\+?\}")
_PLAIN = frozenset({"create", "list", "retrieve", "get", "update", "edit", "delete"})


@dataclass(frozen=True, slots=True)
class Named:
    """A name and the requests it stands for."""

    name: str
    routes: tuple[str, ...]
    deprecated: bool = False

    @property
    def rank(self) -> tuple[object, ...]:
        """The lowest is preferred."""
        parts = self.name.split(".")
        return self.deprecated, "beta" in parts, parts[-1] not in _PLAIN, len(parts), len(self.name), self.name


def one_name_each(named: Iterable[Named]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the routes by the one name each has, and a line about every name that is gone."""
    everything = tuple(named)
    shapes: dict[str, Named] = {}
    for each in everything:
        for route in each.routes:
            held = shapes.setdefault(shape(route), each)
            if each.rank < held.rank:
                shapes[shape(route)] = each
    kept: dict[str, tuple[str, ...]] = {}
    gone: list[tuple[str, str]] = []
    for each in everything:
        own = tuple(route for route in each.routes if shapes[shape(route)].name == each.name)
        if own or not each.routes:
            kept[each.name] = tuple(_needed(route, shapes) for route in own)
        else:
            gone.append((each.name, shapes[shape(each.routes[0])].name))
    return kept, list(_told(gone))


def _told(gone: Iterable[tuple[str, str]]) -> Iterator[str]:
    twins = 0
    for name, instead in gone:
        if name == f"beta.{instead}":
            twins += 1
        else:
            yield f"{name} sends what {instead} sends"
    if twins:
        yield f"{twins} names below beta send what the names without beta send"


def shape(route: str) -> str:
    """Return a route without the names of its parameters, which make no difference to a request."""
    return _PLACE.sub(lambda match: "{+}" if "+" in match[0] else "{}", route)


def _needed(route: str, shapes: Mapping[str, Named]) -> str:
    bare = route.partition("?")[0]
    return route if shape(bare) in shapes else bare
