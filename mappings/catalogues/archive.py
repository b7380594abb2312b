"""The files a catalogue is kept in: written the same for the same content, read member by member.

A catalogue is a zip file of JSON members, so that one host's or service's table is read without the others.
Beside them stands ``index.json``: for each family the file, its SHA-256, where its content came from, and what must
be known without opening it (hosts, how refusals look). A file that is not the one the index names is refused:
names of operations are evidence, and their table is part of it.

    index.json    {"cloudflare": {"file": "cloudflare.zip", "sha256": "...", "operations": 2718,
                                  "sources": [{"package": "cloudflare", "registry": "PyPI", "version": "5.9.0",
                                               "date": "2026-10-01", "licence": "Apache-2.0"}],
                                  "hosts": ["api.cloudflare.com"], ...}}
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

INDEX = "index.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip file can hold: the same content always gives the same file."""


class CatalogueError(Exception):
    """A catalogue's file is missing, unreadable or not the one its index names; one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Source:
    """A package that the content was compiled from."""

    package: str
    registry: str
    """``PyPI`` or ``npm``."""
    version: str
    date: str
    """When that version was published, ``YYYY-MM-DD``."""
    licence: str
    """SPDX identifier, as the package states it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a catalogue without opening its file."""

    family: str
    """First segment of every operation's name."""
    file: str
    sha256: str
    operations: int
    sources: tuple[Source, ...]
    hosts: tuple[str, ...] = ()
    """Host patterns bound to the pack without being asked."""
    refusals: str = ""
    """The shape callers expect a refusal in; "" is the family's own name."""
    prefixes: tuple[str, ...] = ("",)
    """What may stand before the path of a route without a host."""
    fold: tuple[str, ...] = ()
    """Captures that the API takes in any case; they become lower case."""
    keeps_slashes: bool = False
    """Whether the API documents identifiers that hold ``%2F``, which it never takes for a "/" of the path."""

    @property
    def date(self) -> str:
        """Of the oldest source."""
        return min(source.date for source in self.sources)


class Archive:
    """One catalogue's file, opened when a member is first asked for."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.header = header
        self._folder = folder

    def __getstate__(self) -> dict[str, object]:
        """What a copy in another process begins with: it opens the file itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        path = self._folder / self.header.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CatalogueError(f"{path}: cannot be read: {error.strerror}; install the gate anew") from None
        if hashlib.sha256(content).hexdigest() != self.header.sha256:
            raise CatalogueError(f"{path}: is not the file its index names; install the gate anew, or refresh it")
        return zipfile.ZipFile(io.BytesIO(content))

    @cached_property
    def members(self) -> frozenset[str]:
        """Names of the members."""
        return frozenset(self._file.namelist())

    def read(self, member: str) -> Any:
        """Return a member's JSON value; raise CatalogueError when there is none such."""
        try:
            return json.loads(self._file.read(member))
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CatalogueError(f"{self.header.file}: {member}: {error}; install the gate anew") from None


def read_folder(folder: Path) -> dict[str, Archive]:
    """Return the catalogues of a folder by family; raise CatalogueError when its index cannot be read."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
        return {family: Archive(folder, _header(family, row)) for family, row in index.items()}
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CatalogueError(f"{path}: is no index of catalogues: {error}; refresh it") from None


def _header(family: str, row: Mapping[str, Any]) -> Header:
    given = dict(row)
    sources = tuple(Source(**source) for source in given.pop("sources"))
    for name in ("hosts", "prefixes", "fold"):
        if name in given:
            given[name] = tuple(given[name])
    return Header(family=family, sources=sources, **given)


def write_catalogue(folder: Path, header: Header, members: Mapping[str, object]) -> Header:
    """Write a catalogue's file and its row of the index; `header.file` and `header.sha256` are set here."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(members):
            text = json.dumps(members[name], ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, text, compresslevel=9)
    content = buffer.getvalue()
    name = f"{header.family}.zip"
    (folder / name).write_bytes(content)
    row = asdict(header) | {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
    row.pop("family")
    path = folder / INDEX
    index = json.loads(path.read_bytes()) if path.exists() else {}
    index[header.family] = row
    path.write_text(json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    return _header(header.family, json.loads(json.dumps(row)))
