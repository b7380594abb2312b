"""Compiles the catalogue of Cloudflare's API from its Python SDK (``cloudflare:dns.records.create``).

Where a method serves accounts and zones alike it has a route for each, so that a rule sees ``account_id`` or
``zone_id`` and never a word that stands for either. Keys of stored objects, and networks, hold slashes that clients
send as ``%2F``: they take the rest of the path, so that both ways to read it lead to one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mappings.sources.compiling import Compiled
from mappings.sources.stainless import Client, Sent, compiled

PACKAGES = ("PyPI:cloudflare",)

HOSTS = ("api.cloudflare.com",)
PREFIX = "/client/v4"

_SLASHED = ("{key_name}", "{object_key}", "{ip_network_encoded}")
"""Parameters at the end of a path: developers.cloudflare.com says of each that it is sent encoded."""


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue."""
    client = Client(packages[PACKAGES[0]], "cloudflare", "Cloudflare")
    return compiled("cloudflare", client, map(_whole, client.sent()), hosts=HOSTS, prefixes=(PREFIX,))


def _whole(sent: Sent) -> Sent:
    """Return it with a parameter that may hold slashes taking the rest of the path."""
    paths = (f"{path[:-1]}+}}" if path.endswith(_SLASHED) else path for path in sent.paths)
    return replace(sent, paths=tuple(paths))
