"""Compiles the shipped catalogues: fetches the pinned packages and writes mappings/catalogues/data/.

build.py                  all of them
build.py github slack     these
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from fetch import package  # noqa: E402 - found by the line above

from mappings.catalogues import SHIPPED, Header, Source, write_catalogue  # noqa: E402
from mappings.sources import COMPILERS, compiler  # noqa: E402


def build(family: str) -> None:
    """Compile one family and write its file."""
    references, compile_catalogue = compiler(family)
    packages = {reference: package(reference) for reference in references}
    compiled = compile_catalogue({reference: each.folder for reference, each in packages.items()})
    sources = tuple(Source(p.name, p.registry, p.version, p.date, p.licence) for p in packages.values())
    header = Header(
        family=family,
        file="",
        sha256="",
        operations=compiled.operations,
        sources=sources,
        hosts=compiled.hosts,
        refusals=compiled.refusals,
        prefixes=compiled.prefixes,
        fold=compiled.fold,
        keeps_slashes=compiled.keeps_slashes,
    )
    written = write_catalogue(SHIPPED, header, compiled.members)
    size = (SHIPPED / written.file).stat().st_size
    print(f"{family:<12} {compiled.operations:>7,} operations {size:>9,} bytes")
    for note in compiled.notes:
        print(f"  {note}")


if __name__ == "__main__":
    for family in sys.argv[1:] or COMPILERS:
        build(family)
