"""What keeps a log from growing for ever: seal what is there, move old bodies out, let the oldest go.

    seal(chron, folder)                    a segment with all records since the last one
    archive(chron, folders, before)        bodies older than that are in their segments alone
    archive(chron, folders, before, to)    and those are moved to another disk
    prune(chron, folders, before, said)    and these segments are removed

Each step is recorded before it is done, and done only when what it relies on was read back and verified. A record that
stands and a step that does not is finished by doing the same again. One at a time: the rest waits (`chron.keeping`).
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from chron import schema
from chron.body import Fields
from chron.errors import ChronError
from chron.keeping import identity
from chron.ledger import PRAGMAS
from chron.lock import WriterLock
from chron.log import Chron
from chron.notes import parse_note
from chron.reading import connect
from chron.recovery import undecided
from chron.segments import (
    SEAL,
    Sealed,
    copy_segment,
    erase_copies,
    make_segment,
    require_folder,
    sealed,
    sync_folder,
)
from chron.signed import SignedLog
from chron.sources import Connection, Source
from chron.storage import explained
from chron.times import time_text
from chron.verification import verify

_OWN_KINDS = (SEAL, "checkpoint", "archive", "emptied", "clock")
"""What sealing, archiving and the mere passing of time leave in the log: no reason to seal again."""
_NEW = f"SELECT 1 FROM chron WHERE seq >= ? AND (kind IS NULL OR kind NOT IN ({schema.listed(_OWN_KINDS)})) LIMIT 1"  # noqa: S608
_EMPTIABLE = f"SELECT count(*) FROM chron WHERE kind IN ({schema.listed(schema.EMPTIABLE)})"  # noqa: S608 -- ours
_BELONGING = "SELECT seq FROM chron WHERE ref = ? AND kind IN ('outcome', 'segment')"


def seal(chron: Chron, folder: Path) -> Path | None:
    """Sign a checkpoint and write a segment of what it covers since the last one; None when that is nothing. Blocks."""
    with chron.keeping:
        done = sealed(chron.path)
        for each in done:
            if each.state == "live":
                _made(chron, folder, each)  # what a crash kept from being written
        first = done[-1].last + 1 if done else 1
        if not _anything_new(chron.path, first):
            return None
        last = parse_note(chron.checkpoint()).checkpoint().size
        chron.write(SEAL, {"first": first, "last": last})
        return _made(chron, folder, Sealed(first, last, "", "live"))


def archive(chron: Chron, folders: Sequence[Path], before: datetime, to: Path | None = None) -> list[Sealed]:
    """Let the bodies go that are older and in a segment which verifies; which segments these are. Blocks.

    With `to` the segments are moved into that folder, also those that were archived before; the log says where.
    """
    moved = []
    if to is not None:
        require_folder(to := to.resolve())
    with chron.keeping:
        for each in _older(chron.path, before, ("live", "archived") if to else ("live",)):
            file = each.find(folders)
            if each.state == "archived" and (file is None or each.folder == str(to)):
                continue  # nobody knows where it is, or it is there
            if each.state == "live" and _undecided(chron.path, each):
                break
            _whole(chron.path, folders[0], each, file)
            chron.empty("archive", [(each.first, each.last)], {"segment": each.file, "folder": str(to) if to else None})
            moved.append(each)
        move(chron, folders)
    return moved


def move(chron: Chron, folders: Sequence[Path]) -> None:
    """Move segments to where the log says that they are; also those that a crash left. Blocks.

    It is said first: of a copy that the log does not know nothing could be erased.
    """
    with chron.keeping:
        for each in sealed(chron.path):
            if each.state != "archived" or not each.folder:
                continue
            target = Path(each.folder) / each.file
            if others := [file for file in each.copies(folders) if not (target.exists() and file.samefile(target))]:
                # Anew, if there is one: the other may be older than an erasure.
                copy_segment(others[0], target.parent)
                _whole(chron.path, target.parent, each, target)
                for file in others:
                    _remove(file)


def prune(chron: Chron, folders: Sequence[Path], before: datetime, said: Fields) -> int:
    """Let the bodies go for good that are older, with their segments; how many that were. Blocks.

    `said` is who wanted it and why.
    """
    gone = 0
    with chron.keeping:
        for each in _older(chron.path, before, ("live", "archived")):
            if _undecided(chron.path, each):
                break
            gone += _bodies(each.find(folders)) if each.state == "archived" else 0
            gone += chron.empty("prune", [(each.first, each.last)], {**said, "segment": each.file})
        remove_pruned(chron.path, folders)
    return gone


def compact(path: Path) -> tuple[int, int]:
    """Give back the room that bodies left behind; bytes before and after. Blocks, while it writes the log anew.

    The log must not be open: SQLite does not use that room again by itself, and rewriting holds everybody up.
    """
    lock = WriterLock.take(path)
    try:
        before = path.stat().st_size
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if reason := schema.foreign(connection):
                raise ChronError(f'"{path}" {reason}')
            for pragma in PRAGMAS:
                connection.execute(pragma).close()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        return before, path.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise ChronError(explained(path, error)) from error
    finally:
        lock.release()


def locate(path: Source, folders: Sequence[Path], ids: Sequence[str]) -> list[int]:
    """The places of records, and of what belongs to each: what came of it; raises ChronError for an unknown one."""
    found: set[int] = set()
    with closing(connect(path)) as connection:
        for id_ in ids:
            row = connection.execute("SELECT seq, body, kind FROM chron WHERE id = ?", (id_,)).fetchone()
            if row is None:
                raise ChronError(f'no record "{id_}" in this log; ids look like chr_01k...')
            seq, body, kind = row
            if body is not None and kind not in schema.EMPTIABLE:
                raise ChronError(f'record "{id_}" is a {kind}; the log itself stands on it, so it cannot go')
            found.add(seq)
            found.update(seq for (seq,) in connection.execute(_BELONGING, (id_,)))
    for each in sealed(path):
        file = each.find(folders)
        if each.state == "archived" and file is not None:
            with closing(connect(file)) as connection:
                for id_ in ids:
                    found.update(seq for (seq,) in connection.execute(_BELONGING, (id_,)))
    return sorted(found)


def erase(chron: Chron, folders: Sequence[Path], spans: Sequence[tuple[int, int]], said: Fields) -> int:
    """Let the bodies of records go that may, in the log and in its segments; how many. Blocks.

    Copies of segments elsewhere are out of reach: whoever keeps them has to do the same.
    """
    with chron.keeping:
        gone = chron.empty("erasure", spans, said)
        return gone + erase_copies(chron.path, folders)


def spans_of(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Places, in order, as spans of those that stand side by side."""
    spans: list[tuple[int, int]] = []
    for seq in seqs:
        if spans and spans[-1][1] == seq - 1:
            spans[-1] = (spans[-1][0], seq)
        else:
            spans.append((seq, seq))
    return spans


def remove_pruned(path: Source, folders: Sequence[Path]) -> None:
    """Remove the files of segments that were pruned; also those that a crash left, whole or not."""
    for each in sealed(path):
        for file in (*each.copies(folders), *each.unfinished(folders)) if each.state == "pruned" else ():
            _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink()
        sync_folder(file.parent)
    except OSError as error:
        raise ChronError(f'cannot remove segment "{file}": {error.strerror}; remove it by hand') from error


def _anything_new(path: Source, first: int) -> bool:
    with closing(connect(path)) as connection:
        return connection.execute(_NEW, (first,)).fetchone() is not None


def written_from(path: Source, seq: int) -> str:
    """When the first record from this one on was written that still says so; "" when none does."""
    with closing(connect(path)) as connection:
        return _written(connection, seq)


def _older(path: Source, before: datetime, states: Sequence[str]) -> list[Sealed]:
    end = time_text(before)
    with closing(connect(path)) as connection:
        return [each for each in sealed(path) if each.state in states and "" < _written(connection, each.last) < end]


def _written(connection: Connection, last: int) -> str:
    row = connection.execute("SELECT ts FROM chron WHERE seq >= ? AND body IS NOT NULL ORDER BY seq LIMIT 1", (last,))
    return str((row.fetchone() or ("",))[0])


def _bodies(file: Path | None) -> int:
    """How many bodies a segment has that the log has no more."""
    if file is None:
        return 0
    with closing(connect(file)) as connection:
        return int(connection.execute(_EMPTIABLE).fetchone()[0])


def _undecided(path: Source, each: Sealed) -> bool:
    """Whether a request in the span is still under way: what comes of it has to find its decision."""
    with closing(connect(path)) as connection:
        return undecided(connection, each.first, each.last)


def _made(chron: Chron, folder: Path, each: Sealed) -> Path:
    """The segment, whole; one that this process has verified as it is now is not read again."""
    file = make_segment(chron.path, folder, each.first, each.last)
    if (now := identity(file)) not in chron.keeping.verified:
        _whole(chron.path, folder, each, file)
        chron.keeping.verified.add(now)
    return file


def _whole(path: Source, folder: Path, each: Sealed, file: Path | None = None) -> Path:
    """The segment, written if it is not there, and verified; raises ChronError when it does not hold."""
    file = file or make_segment(path, folder, each.first, each.last)
    found = verify(file)
    with closing(connect(path)) as connection:
        stored = SignedLog(connection).checkpoint_of(each.last)
    if found.ok and (stored is None or stored.checkpoint.root.hex() != found.root):
        raise ChronError(f'segment "{file}" is of another history than the log; keep both as evidence')
    if not found.ok:
        raise ChronError(f'segment "{file}" does not verify: {found.fault}; remove it, and it is written anew')
    return file
