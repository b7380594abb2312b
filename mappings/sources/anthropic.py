"""Compiles the catalogue of Anthropic's API from its Python SDK (``anthropic:messages.create``).

``client.beta`` sends what the client itself sends, with a header that asks for unfinished fields: such a twin has
the plain name, and what exists only below ``beta`` keeps its own. Claude on other clouds has other hosts and paths
and is not this family.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mappings.sources.compiling import Compiled
from mappings.sources.stainless import Client, compiled

PACKAGES = ("PyPI:anthropic",)

HOSTS = ("api.anthropic.com",)


def compile_catalogue(packages: Mapping[str, Path]) -> Compiled:
    """Return the catalogue."""
    client = Client(packages[PACKAGES[0]], "anthropic", "Anthropic")
    return compiled("anthropic", client, client.sent(), hosts=HOSTS)
