"""The shipped packs: code for APIs whose requests follow a rule, catalogues for those that are a list.

`shipped_packs` makes them. The YAML files beside this one are read by `mappings.loading`: they hold the intent
rules that turn operations into the small vocabulary of actions (docs/vocabulary.md), and the few route tables that
were written by hand.

A pack never makes a call sound milder than it is: what no rule names keeps its full operation name.
"""

import importlib
import importlib.util
from collections.abc import Mapping

from mappings.catalogues import Archive, CataloguePack
from mappings.recognition import Pack

_CODE = ("kubernetes", "git", "azure", "vault", "docker", "argocd", "mcp", "jsonrpc", "grpc", "graphql", "registry")
"""Packs without a catalogue: `PACK` of the module of that name."""

_WITH_CATALOGUE = {"aws": "AwsPack", "google": "GooglePack", "github": "GithubPack", "slack": "SlackPack"}
"""Packs that read more than method, path and query: made from the family's archive."""


def shipped_packs(archives: Mapping[str, Archive]) -> tuple[Pack, ...]:
    """Return every pack that is code or a catalogue."""
    packs: list[Pack] = []
    for name in _CODE:
        if importlib.util.find_spec(f"mappings.packs.{name}") is not None:
            packs.append(importlib.import_module(f"mappings.packs.{name}").PACK)
    for family, archive in sorted(archives.items()):
        if family in _WITH_CATALOGUE and importlib.util.find_spec(f"mappings.packs.{family}") is not None:
            packs.append(getattr(importlib.import_module(f"mappings.packs.{family}"), _WITH_CATALOGUE[family])(archive))
        else:
            packs.append(CataloguePack(archive))
    return tuple(packs)
