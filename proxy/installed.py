"""Find the packages that catalogues are compiled from where this machine has them; nothing is fetched or imported.

Python packages: those installed beside the gate, or in the folders given: a virtual environment, a site-packages
folder, an unpacked wheel. npm packages only in folders given: an unpacked archive, a package, a node_modules.

    PyPI:botocore            .venv/lib/python3.13/site-packages, version 1.44.9 of its METADATA
    npm:@octokit/openapi     node_modules/@octokit/openapi/package.json
"""

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from mappings.catalogues import Source

_FIRST_PLAUSIBLE_YEAR = 2000
"""Archives without times hold 1980 (zip) or 1985 (npm); that is no date of anything."""


@dataclass(frozen=True, slots=True)
class Found:
    """A package on this machine."""

    reference: str
    """As compilers write it: ``PyPI:botocore``."""
    folder: Path
    """Holds the package's own files: ``folder/botocore``, or of npm ``folder/package.json``."""
    version: str
    licence: str
    dated: str
    """Day its files came here, ``YYYY-MM-DD``: it was published on that day or before. "" when they do not say."""

    def source(self, date: str) -> Source:
        """Return it as a catalogue's index names it."""
        registry, _, name = self.reference.partition(":")
        return Source(name, registry, self.version, date, self.licence)


def find(reference: str, folders: Sequence[Path]) -> Found | None:
    """Return the package; None when it is nowhere. With folders, only they are looked at."""
    registry, _, name = reference.partition(":")
    return _python(reference, name, folders) if registry == "PyPI" else _npm(reference, name, folders)


def _python(reference: str, name: str, folders: Sequence[Path]) -> Found | None:
    given = [
        place for folder in folders for place in (folder, *folder.glob("lib/python3*/site-packages"), *_in(folder))
    ]
    found = metadata.distributions(name=name, path=[str(place) for place in given]) if folders else _here(name)
    for distribution in found:
        stated = distribution.metadata
        licence = stated.get("License-Expression") or stated.get("License") or "not stated"
        files = Path(str(distribution.locate_file("")))
        described = next(
            iter(files.glob(f"{_file_name(stated['Name'])}-{distribution.version}.dist-info/METADATA")), files
        )
        return Found(reference, files, distribution.version, licence.partition("\n")[0], _dated(described))
    return None


def _here(name: str) -> Iterable[metadata.Distribution]:
    try:
        return [metadata.distribution(name)]
    except metadata.PackageNotFoundError:
        return []


def _file_name(name: str) -> str:
    """Return the name as folders have it (packaging.python.org, "Binary distribution format", escaping)."""
    return name.replace("-", "_").replace(".", "_")


def _npm(reference: str, name: str, folders: Sequence[Path]) -> Found | None:
    for folder in folders:
        places = (folder, folder / name, folder / "node_modules" / name, *_in(folder))
        for place in (inner for outer in places for inner in (outer, outer / "package")):
            described = place / "package.json"
            try:
                stated = json.loads(described.read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(stated, dict) and stated.get("name") == name:
                licence = str(stated.get("license") or "not stated")
                return Found(reference, place, str(stated.get("version") or "0"), licence, _dated(described))
    return None


def _in(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(each for each in folder.iterdir() if each.is_dir())


def _dated(path: Path) -> str:
    try:
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return ""
    return at.date().isoformat() if at.year >= _FIRST_PLAUSIBLE_YEAR else ""


@contextlib.contextmanager
def laid_out(found: Iterable[Found]) -> Iterator[dict[str, Path]]:
    """Give the folder of each package as compilers want it: a wheel's as it is, of npm the one that holds "package"."""
    with contextlib.ExitStack() as stack:
        folders: dict[str, Path] = {}
        for each in found:
            folders[each.reference] = each.folder
            if each.reference.startswith("npm:"):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claiim-npm-")))
                (folder / "package").symlink_to(each.folder.resolve(), target_is_directory=True)
                folders[each.reference] = folder
        yield folders
