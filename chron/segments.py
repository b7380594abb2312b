"""Sealed segments: files that hold a span of the log for good, each readable and provable without the others.

    make_segment(Path("state/chron.db"), Path("state/segments"), 1, 1204)      chron-1-1204.db, mode 0444
    sealed(Path("state/chron.db"))                                            the spans, and where their bodies are

A segment is a Chron file like any other with rows `first` to `last` and the kept texts that were known by then, and a
table that says what stood before it (`chron.beginning`). It is a copy: the live log keeps leaf and hash of every
record for ever, and the bodies until they are archived. So every reader and every proof needs one file, and a segment
can go to a disk that is written once.

It is written under another name, synced, and renamed: after a crash there is a whole one or none.
"""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chron import schema
from chron.beginning import Beginning, write_beginning
from chron.body import read_body
from chron.chain import genesis
from chron.emptied import LATER
from chron.errors import ChronError, NotOursError
from chron.merkle import Frontier
from chron.reading import connect
from chron.signed import SignedLog
from chron.sources import Connection, Source, file_of, on_server
from chron.storage import explained

SEAL, ERASURE = "seal", "erasure"
_ROWS_PER_READ = 4000
_MAKING = ".making"
_NAME = re.compile(r"chron-([1-9][0-9]*)-([1-9][0-9]*)\.db")
_ROWS = "SELECT seq, id, body, leaf, hash FROM chron WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_TEXTS = "SELECT seq, kind, id, version, digest, text FROM artefact WHERE seq <= ? ORDER BY seq"
_OF_KIND = f"SELECT body FROM chron WHERE kind = ? AND {schema.SELDOM} ORDER BY seq"  # noqa: S608 -- all texts are ours
_KEYS = f"SELECT body FROM chron WHERE kind = 'key' AND {schema.SELDOM} AND seq < ? ORDER BY seq"  # noqa: S608
_EMPTY = f"""
UPDATE chron SET body = NULL
WHERE body IS NOT NULL AND seq BETWEEN ? AND ? AND kind IN ({schema.listed(schema.EMPTIABLE)})"""  # noqa: S608
_INSERT = "INSERT INTO chron(seq, id, body, leaf, hash) VALUES (?, ?, ?, ?, ?)"
_INSERT_TEXT = "INSERT INTO artefact(seq, kind, id, version, digest, text) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A span that the log says was sealed."""

    first: int
    last: int
    at: str
    """When it was sealed."""
    state: str
    """"live": the log has its bodies too; "archived": the segment alone; "pruned": nobody."""
    folder: str = ""
    """Where the log says that it was moved to; "" when it was not."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return segment_name(self.first, self.last)

    def copies(self, folders: Sequence[Path]) -> list[Path]:
        """Its files in these folders and where the log says that it is; more than one while it is being moved."""
        return self._named(self.file, folders)

    def unfinished(self, folders: Sequence[Path]) -> list[Path]:
        """What a crash left of a file while it was written: it has plain text, too."""
        return self._named(self.file + _MAKING, folders)

    def _named(self, name: str, folders: Sequence[Path]) -> list[Path]:
        places = [*folders, Path(self.folder)] if self.folder else folders
        return [folder / name for folder in dict.fromkeys(places) if (folder / name).is_file()]

    def find(self, folders: Sequence[Path]) -> Path | None:
        """One of them; None when there is none."""
        return next(iter(self.copies(folders)), None)


def segment_name(first: int, last: int) -> str:
    """The name of the file that holds these records."""
    return f"chron-{first}-{last}.db"


def segment_span(name: str) -> tuple[int, int]:
    """The records that a file of this name holds; (0, 0) when it is no such name."""
    named = _NAME.fullmatch(name)
    return (int(named[1]), int(named[2])) if named else (0, 0)


def default_folder(path: Source) -> Path:
    """Where the segments of a log that is a file are unless somebody says otherwise."""
    return file_of(path, "its segments have no folder of their own").resolve().parent / "segments"


def known_folders(source: Source) -> list[Path]:
    """Where the segments of any log are looked for unless somebody says otherwise: beside it, and where it says.

    Raises ChronError for a log that cannot be read.
    """
    beside = [] if on_server(source) else [default_folder(source)]
    try:
        told = dict.fromkeys(each.folder for each in sealed(source))
    except sqlite3.Error as error:
        raise ChronError(f'cannot read chron "{source}": {error}; run "claiim chron verify {source}"') from error
    return beside + [Path(folder) for folder in told if folder]


def find_segment(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of a segment; None when none of the folders has it."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def sealed(path: Source) -> list[Sealed]:
    """The spans that a log says were sealed, oldest first."""
    with closing(connect(path)) as connection:
        moved = {state: _folders(connection, kind) for kind, state in (("archive", "archived"), ("prune", "pruned"))}
        found = [read_body(body) for (body,) in connection.execute(_OF_KIND, (SEAL,))]
    spans = []
    for fields in found:
        try:
            first, last, at = int(str(fields["first"])), int(str(fields["last"])), str(fields["ts"])
        except (KeyError, TypeError, ValueError) as error:
            raise NotOursError("a record of kind seal does not say what was sealed") from error
        name = segment_name(first, last)
        states = [state for state, names in moved.items() if name in names]
        folder = moved["archived"].get(name, "")
        spans.append(Sealed(first, last, at, states[-1] if states else "live", folder))
    return spans


def _folders(connection: Connection, kind: str) -> dict[str, str]:
    """The segments that records of a kind name, each with the folder that the last of them says it is in."""
    told = [read_body(body) for (body,) in connection.execute(_OF_KIND, (kind,))]
    return {str(fields.get("segment")): str(fields.get("folder", "")) for fields in told}


def make_segment(path: Source, folder: Path, first: int, last: int) -> Path:
    """Write the segment of a span that ends at a checkpoint; blocks. Raises ChronError.

    A file that is there already is left as it is.
    """
    target = folder / segment_name(first, last)
    if target.exists():
        return target
    making = target.with_name(target.name + _MAKING)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(connect(path)) as live, closing(sqlite3.connect(making, isolation_level=None)) as segment:
            _fill(segment, live, _beginning(live, first, last))
        _make_safe(making, target)
    except (OSError, sqlite3.Error) as error:
        raise ChronError(explained(target, error)) from error
    return target


def require_folder(folder: Path) -> None:
    """Raise ChronError unless it is there: one that is made where nothing is mounted would fill the wrong disk."""
    if not folder.is_dir():
        raise ChronError(f'there is no folder "{folder}" for segments; mount or make it, and try again')


def copy_segment(file: Path, folder: Path) -> None:
    """Copy a segment into a folder, perhaps on another disk, so that it stays there; blocks. Raises ChronError."""
    require_folder(folder)
    target = folder / file.name
    making = target.with_name(target.name + _MAKING)
    try:
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        shutil.copyfile(file, making)
        _make_safe(making, target)
    except OSError as error:
        raise ChronError(explained(target, error)) from error


def erase_copies(path: Source, folders: Sequence[Path]) -> int:
    """Let those bodies go from segments that the log says were erased; how many that were there alone. Blocks.

    The record of it stands behind the segment, so the segment gets a copy: it goes on verifying alone. What is done
    already is not done again, so this also finishes what a crash cut short.
    """
    with closing(connect(path)) as connection:
        erasures = _erasures(connection)
    gone = 0
    for each in sealed(path) if erasures else []:
        behind, erased = _behind(erasures, each.first, each.last), 0
        for file in each.copies(folders):
            if new := _not_in(file, behind):
                erased = _write_without(file, new)
        gone += erased if each.state == "archived" else 0
    return gone


def _erasures(connection: Connection) -> list[str]:
    return [body for (body,) in connection.execute(_OF_KIND, (ERASURE,))]


def _behind(erasures: Sequence[str], first: int, last: int) -> list[str]:
    """Those that stand behind a segment and concern records in it."""
    return [body for body in erasures if _concerns(json.loads(body), first, last)]


def _concerns(erasure: dict[str, int], first: int, last: int) -> bool:
    return erasure["seq"] > last and erasure["first"] <= last and first <= erasure["last"]


def _not_in(file: Path, erasures: Sequence[str]) -> list[str]:
    with closing(connect(file)) as segment:
        known = segment.execute(LATER).fetchall() if schema.has_table(segment, "later") else []
    return [body for body in erasures if (body,) not in known]


def _write_without(file: Path, erasures: Sequence[str]) -> int:
    making = file.with_name(file.name + _MAKING)
    try:
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        shutil.copyfile(file, making)
        with closing(sqlite3.connect(making, isolation_level=None)) as segment:
            # A copy that nobody reads yet: what is cut short is made again.
            segment.execute("PRAGMA journal_mode = OFF").close()
            gone = _erase(segment, erasures)
        _make_safe(making, file)
    except (OSError, sqlite3.Error) as error:
        raise ChronError(explained(file, error)) from error
    return gone


def _erase(segment: sqlite3.Connection, erasures: Sequence[str]) -> int:
    gone = 0
    segment.execute("BEGIN")
    segment.execute("CREATE TABLE IF NOT EXISTS later(body TEXT NOT NULL) STRICT")
    segment.execute("DROP TRIGGER chron_only_empty")
    for body in erasures:
        span = json.loads(body)
        segment.execute("INSERT INTO later(body) VALUES (?)", (body,))
        gone += segment.execute(_EMPTY, (span["first"], span["last"])).rowcount
    segment.execute(schema.GUARDS["chron_only_empty"])
    segment.execute("COMMIT")
    segment.execute("VACUUM")  # else the plain text stays in pages that are free now
    return gone


def _beginning(live: Connection, first: int, last: int) -> Beginning:
    log = SignedLog(live)
    over = log.checkpoint_of(last)
    if over is None:
        raise ChronError(f"no checkpoint is over exactly record {last}; seal the log with a key")
    before = log.checkpoint_before(first)
    tree = before.frontier.copy() if before else Frontier()
    while tree.size < first - 1:
        tree.extend(log.leaves(tree.size, min(tree.size + _ROWS_PER_READ, first - 1)))
    keys = tuple(json.loads(body) for (body,) in live.execute(_KEYS, (first,)))
    return Beginning(first, last, log.name, _hash_before(live, first), tree, keys, over.note)


def _hash_before(live: Connection, first: int) -> bytes:
    if first == 1:
        return genesis(str(live.execute("SELECT body->>'$.origin' FROM chron WHERE seq = 1").fetchone()[0]))
    return bytes(live.execute("SELECT hash FROM chron WHERE seq = ?", (first - 1,)).fetchone()[0])


def _fill(segment: sqlite3.Connection, live: Connection, beginning: Beginning) -> None:
    # Nobody reads it before it is whole and synced. No write-ahead log: it is read where nothing can be written.
    segment.execute("PRAGMA journal_mode = OFF").close()
    segment.execute("PRAGMA synchronous = OFF").close()
    segment.execute("BEGIN")
    schema.create_tables(segment)
    write_beginning(segment, beginning)
    for rows in _pages(live, beginning.first, beginning.last):
        segment.executemany(_INSERT, rows)
    segment.executemany(_INSERT_TEXT, live.execute(_TEXTS, (beginning.last,)).fetchall())
    schema.create_rest(segment)
    segment.execute("COMMIT")
    # Without them a segment that is made, or made again, after an erasure has holes that nothing in it explains.
    if erasures := _behind(_erasures(live), beginning.first, beginning.last):
        _erase(segment, erasures)


def _pages(live: Connection, first: int, last: int) -> Iterator[list[tuple[object, ...]]]:
    seq = first - 1
    while rows := live.execute(_ROWS, (seq, last, _ROWS_PER_READ)).fetchall():
        yield rows
        seq = rows[-1][0]
    if seq != last:
        raise ChronError(f"the log does not verify at record {seq + 1}: it is missing")


def _make_safe(making: Path, target: Path) -> None:
    """Sync the file, take everybody's right to write it, and give it its name."""
    descriptor = os.open(making, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o400)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    making.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
