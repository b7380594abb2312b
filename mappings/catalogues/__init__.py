"""The catalogues: every operation of the big infrastructure APIs, compiled from the providers' own descriptions.

They are data (`data/`, written by `make catalogues`, never by hand) and the code that reads it: a table from
method and path to operation. Nothing here decides what an operation means, and nothing is loaded before a
request for it comes.
"""

from functools import cache
from pathlib import Path

from mappings.catalogues.archive import INDEX, Archive, CatalogueError, Header, Source, read_folder, write_catalogue
from mappings.catalogues.pack import CataloguePack
from mappings.catalogues.routes import Entry, Operation, Routes, read_rows
from mappings.catalogues.table import Hit, RouteTable

__all__ = [
    "INDEX",
    "SHIPPED",
    "Archive",
    "CatalogueError",
    "CataloguePack",
    "Entry",
    "Header",
    "Hit",
    "Operation",
    "RouteTable",
    "Routes",
    "Source",
    "read_folder",
    "read_rows",
    "shipped",
    "write_catalogue",
]

SHIPPED = Path(__file__).parent / "data"


@cache
def shipped() -> dict[str, Archive]:
    """Return the catalogues that came with the gate, by family."""
    return read_folder(SHIPPED)
