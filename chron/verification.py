"""Proof: does the whole Chron still say what was written?

Checked: every record's body against its leaf, its leaf against the chain, its columns against its body; every kept
text against the record that kept it; every checkpoint against the records before it and the key in force there; that
tables and guards are ours; SQLite's own structure, so that an index cannot hide a record from a query. What the chain
cannot see stands in `chron.chain`; a head that was kept elsewhere shows that too.

    Verification(ok=True, records=1204, first_bad_seq=None, fault="", head_hash="9f3c...", covered=1200, loose=3, ...)
    Verification(ok=False, records=1204, first_bad_seq=17, fault="its body was changed", head_hash="41aa...", ...)

Reads in short transactions, so that a gate can go on writing meanwhile.
"""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from chron import structure
from chron.beginning import read_beginning
from chron.body import Fields
from chron.chain import follow, genesis
from chron.emptied import GONE, Holes, Span, add_holes, later_bodies, read_span, told_later, unexplained
from chron.errors import ChronError, NotOursError
from chron.evidence import Evidence
from chron.notes import Checkpoint, VerifierKey, parse_note, verified
from chron.reading import connect
from chron.segments import find_segment, known_folders, segment_name, segment_span
from chron.signed import SignedLog, log_name
from chron.sources import Connection, Source

_ROWS_PER_READ = 256
"""They fit into a processor's cache: of 2,000 each byte is fetched from memory again to be hashed, a fifth slower."""
_ROWS = "SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron WHERE seq > ? ORDER BY seq LIMIT ?"
_TEXT = "SELECT kind, id, version, digest, text FROM artefact WHERE seq = ?"
_TEXTS = "SELECT seq FROM artefact ORDER BY seq"
_TEXTS_OF_FILE = "SELECT seq FROM artefact NOT INDEXED"
"""All rows as they stand there, by no look-up and in no other order."""
_FIRST = "SELECT min(seq) FROM chron"
_COUNTED = "SELECT count(*), (SELECT max(seq) FROM chron) FROM chron NOT INDEXED WHERE seq > ?"
_STRAY_TEXT = "SELECT min(seq) FROM artefact WHERE seq < 1 OR seq > (SELECT max(seq) FROM chron)"
"""One statement: a text comes with its record, but both may come while this reads."""
_IDS = "SELECT seq, id FROM chron WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 4000"
_OLD_TEXTS = "SELECT seq, kind, id, version, digest, text FROM artefact WHERE seq < ? ORDER BY seq"
_STANDS_THERE = "SELECT 1 FROM chron WHERE seq = ? AND body = ?"


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found; `records` and `head_hash` are of the part that holds."""

    ok: bool
    records: int
    first_bad_seq: int | None
    """The first record at which something is wrong; None when all is well or no record is to blame."""
    fault: str
    head_hash: str
    """Hexadecimal: note it elsewhere, and a cut tail will show."""
    name: str = ""
    """The log's own, as it stands in its checkpoints."""
    checkpoints: int = 0
    covered: int = 0
    """Records under the newest head that counts: the one given, else the last checkpoint signed by the right key."""
    loose: int = 0
    """Records behind it, checkpoints not counted; 0 in a log that has no key and was compared with nothing."""
    vkey: str = ""
    """The key in force at the end; "" when the log is not signed."""
    skipped: int = 0
    """Records before the old head, whose bodies were not read again."""
    emptied: int = 0
    """Records whose bodies went, each under a record that says so; their leaves stand for them."""
    missing: tuple[str, ...] = ()
    """Segments that hold archived bodies and are not where they were looked for."""
    segments: int = 0
    """Segments that were verified too."""
    indexes: bool = False
    """Whether every index was held against the records; else a query by one may miss some."""
    root: str = ""
    """Of a segment: hexadecimal, the root of the tree at its end."""


@dataclass(frozen=True, slots=True)
class Known:
    """What whoever verifies knows from elsewhere; the less, the less is proved."""

    key: VerifierKey | None = None
    """The key that must have signed, itself or through those it handed over to."""
    head: str = ""
    """The note of the newest checkpoint that was seen outside the log: it must be in the log, and is its measure."""
    old: str = ""
    """The note of an older one: what it covers must be the beginning of the log."""
    incremental: bool = False
    """Believe that what the old one covers was verified then, and read only what came after."""

    def notes(self) -> dict[str, Checkpoint]:
        """What the notes say, by what to call them; raises ChronError when one is no checkpoint."""
        if self.incremental and not self.old:
            raise ChronError('nothing to go on from; give an old checkpoint too, "--from NOTE --incremental"')
        given = {"the old checkpoint": self.old, "the head kept elsewhere": self.head}
        try:
            return {name: parse_note(note).checkpoint() for name, note in given.items() if note}
        except ChronError as error:
            raise ChronError(
                f'this is no checkpoint: {error}; give a file that "claiim chron checkpoint" wrote'
            ) from error


def verify(
    path: Source,
    *,
    lint: bool = False,
    known: Known = Known(),
    segments: Sequence[Path] | None = None,
    indexes: bool = True,
    jobs: int = 0,
) -> Verification:
    """Verify a Chron, open or not; raises ChronError only when there is none to read, or a note is none.

    `lint` also checks that every body is canonical JSON, and all pages of the file (half the speed): it finds bugs and
    damage, not tampering.
    `segments` are the folders in which archived bodies are looked for, else the one beside the log and those it names.
    `indexes` looks every record up in every index, so that no query misses one. Without, what is recorded is proved all
    the same, because nothing here is found through them, in half the time; an incremental verification never does it.
    `jobs` threads, by default one for each processor, look at the indexes meanwhile.
    """
    if lint and not indexes:
        raise ChronError("the lint looks at all pages of the file, those of indexes too; leave one of the two out")
    how = _How(lint, indexes and not known.incremental, jobs or os.cpu_count() or 1)
    found, told = _verified_file(path, how, known, None)
    if not found.ok:
        return found
    if found.root and found.skipped and Path(path).name != (name := segment_name(found.skipped + 1, found.records)):
        # If this is removed, a log is cut at its beginning by putting its last segment in its place.
        fault = f"it is missing; what begins with record {found.skipped + 1} is a segment, which has the name {name}"
        return replace(found, ok=False, records=0, first_bad_seq=1, fault=fault)
    # Not before: what a log that does not hold says of folders is not asked for.
    try:
        folders = known_folders(path) if segments is None else segments
    except NotOursError as error:
        return replace(found, ok=False, fault=str(error))
    return _with_segments(path, found, told, folders, how)


@dataclass(frozen=True, slots=True)
class _How:
    """How thoroughly to verify."""

    lint: bool
    indexes: bool
    jobs: int


@dataclass(slots=True)
class _Told:
    """What a log's own records say, as they were hashed."""

    spans: list[Span] = field(default_factory=list)
    """Of bodies that went."""
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """At its checkpoints, by size."""


def _verified_file(
    path: Source, how: _How, known: Known, announced: Sequence[Span] | None
) -> tuple[Verification, _Told]:
    """Verify one file; `announced` is what its log says of bodies that went, None when there is no log to ask."""
    notes, told = known.notes(), _Told()
    with closing(connect(path)) as connection, ThreadPoolExecutor(1) as aside:
        # Looking at the indexes takes longer than the chain, and leaves Python alone meanwhile.
        looked = aside.submit(structure.fault, path, whole=how.indexes, lint=how.lint, jobs=how.jobs)
        found = replace(_verified(connection, how.lint, known, notes, announced, told), indexes=how.indexes)
        if found.ok and (fault := looked.result()):
            found = replace(found, ok=False, fault=fault)
        return found, told


def _with_segments(path: Source, found: Verification, told: _Told, folders: Sequence[Path], how: _How) -> Verification:
    """Look at the bodies that were moved into segments as well."""
    gone = [span for span in told.spans if span.kind != "archive"]
    pruned = {span.segment for span in gone}
    moved = [span for span in told.spans if span.kind == "archive" and span.segment not in pruned]
    missing, looked = [], 0
    for name in dict.fromkeys(span.segment for span in moved):
        begin, end = segment_span(name)
        if 0 < end <= found.skipped:
            continue
        # A record may name a file that cannot have what it says: then nobody has it.
        has_all = all(begin <= span.first and span.last <= end for span in moved if span.segment == name)
        file = find_segment(name, folders) if has_all else None
        if file is None:
            missing.append(name)
            continue
        looked += 1
        part = _verified_part(file, how, [*gone, *_erased_since(path, file, found.records)])
        if part.ok and (fault := _part_fault(path, file, name, part, told.roots.get(end, b"").hex())):
            part = replace(part, ok=False, fault=fault, first_bad_seq=None)
        if not part.ok:
            bad, fault = part.first_bad_seq, f"in segment {name}: {part.fault}"
            return replace(found, ok=False, records=max(0, (bad or 1) - 1), first_bad_seq=bad, fault=fault)
    return replace(found, missing=tuple(missing), segments=looked)


def _verified_part(file: Path, how: _How, gone: Sequence[Span]) -> Verification:
    # Whose signature it bears is of no account here: its root has to be the one that the log has there.
    try:
        return _verified_file(file, how, Known(), gone)[0]
    except NotOursError as error:
        return Verification(False, 0, None, str(error), "")


def _erased_since(path: Source, file: Path, records: int) -> list[Span]:
    """What the segment says was erased by records that came to the log after it was read here, and are in it.

    What it says of others is not believed: those were read.
    """
    try:
        with closing(connect(file)) as segment, closing(connect(path)) as log:
            later = [(read_span(fields), fields.get("seq"), body) for body, fields in later_bodies(segment)]
            return [
                span
                for span, seq, body in later
                if isinstance(seq, int) and records < seq < 2**62 and log.execute(_STANDS_THERE, (seq, body)).fetchone()
            ]
    except (sqlite3.DatabaseError, NotOursError):
        return []  # what is wrong with it is told when it is verified


def _part_fault(path: Source, file: Path, name: str, part: Verification, root: str) -> str:
    """What a segment that is good in itself has other than its log."""
    first, last = segment_span(name)
    if part.root != root:
        return "it is of another history than the log"
    if (part.skipped + 1, part.records) != (first, last):
        return f"it has records {part.skipped + 1} to {part.records} alone"
    with closing(connect(path)) as log, closing(connect(file)) as segment:
        if _others(log, segment, _OLD_TEXTS, first):
            return "the texts that were kept before it are not those of the log"
        at = first - 1
        while rows := log.execute(_IDS, (at, last)).fetchall():
            if rows != segment.execute(_IDS, (at, last)).fetchall():
                return f"a record behind record {at} has another id than in the log"
            at = rows[-1][0]
    return ""


def _others(log: Connection, segment: Connection, statement: str, *values: int) -> bool:
    pairs = zip_longest(log.execute(statement, values), segment.execute(statement, values))
    return any(ours is None or theirs is None or tuple(ours) != tuple(theirs) for ours, theirs in pairs)


def _verified(
    connection: Connection,
    lint: bool,
    known: Known,
    notes: dict[str, Checkpoint],
    announced: Sequence[Span] | None,
    told: _Told,
) -> Verification:
    seq, head, skipped, sealed = 0, b"", 0, ""
    try:
        holes: Holes = []
        later: Sequence[Span] = announced or ()
        if (segment := read_beginning(connection)) is not None:
            if known.incremental:
                raise ChronError("a segment is verified as a whole; leave --incremental out")
            if announced is None:
                later = told_later(connection)
            notes["the checkpoint it was sealed with"] = parse_note(segment.note).checkpoint()
            sizes = [note.size for note in notes.values()]
            evidence = Evidence(segment.name, known.key, tree=segment.tree, expected=sizes)
            evidence.introduce(segment.keys)
            seq, head, name, sealed = segment.first - 1, segment.hash, segment.name, segment.note
            skipped = seq
        else:
            origin, first_id = _beginning(connection)
            head, name = genesis(origin), log_name(origin, first_id)
            evidence = Evidence(name, known.key, expected=[note.size for note in notes.values()])
        stray = connection.execute(_FIRST).fetchone()[0]
        if stray is not None and stray <= seq:
            return Verification(False, 0, stray, "it stands before the first record", "", name)
        if known.incremental:
            seq, head, evidence = _continued(connection, known, notes)
            skipped = seq
        while rows := connection.execute(_ROWS, (seq, _ROWS_PER_READ)).fetchall():
            before, before_hash = seq, head
            add_holes(holes, rows)
            seq, head, fault = follow(rows, seq, head, lint=lint)
            # What holds is looked at before what does not is told: the first fault counts.
            if signed_fault := evidence.look(rows[: seq - before]):
                good = evidence.at - 1
                head = rows[good - before - 1][4] if good > before else before_hash
                return Verification(False, good, good + 1, signed_fault, head.hex(), name)
            if fault:
                return Verification(False, seq, seq + 1, fault, head.hex(), name)
        told.spans, told.roots = evidence.spans, evidence.checkpoints
        if fault := _count_fault(connection, skipped):
            return Verification(False, seq, None, fault, head.hex(), name)
        if not seq:
            return Verification(False, 0, 1, "it is missing; a Chron begins with the record of its opening", "")
        if segment is not None and seq != segment.last:
            return Verification(False, seq, seq + 1, "it is missing; the segment ends before its end", head.hex(), name)
        if holes and (gone := unexplained(holes, [*evidence.spans, *later])):
            return Verification(False, gone - 1, gone, GONE, _hash_at(connection, gone - 1), name)
        bad_seq, fault = _text_fault(connection, evidence.texts, skipped, seq)
        if not fault:
            bad_seq, fault = _note_fault(seq, evidence, known, notes, name, sealed)
    except NotOursError as error:
        return Verification(False, seq, None, str(error), head.hex())
    except _ReadFault as error:
        return Verification(False, seq, error.seq, str(error), "")
    except sqlite3.DatabaseError as error:
        return Verification(False, seq, seq + 1, f"it cannot be read: {error}", head.hex())
    checkpoints, gone_bodies = len(evidence.checkpoints), sum(last - first + 1 for first, last in holes)
    found = Verification(
        not fault, seq, bad_seq, fault, head.hex(), name, checkpoints, skipped=skipped, emptied=gone_bodies
    )
    if segment is not None:
        covered = segment.last if evidence.counts else 0
        vkey = evidence.all_keys[-1].vkey if evidence.all_keys else ""
        root = parse_note(segment.note).checkpoint().root.hex()
        return replace(found, covered=covered, loose=0 if covered else seq - skipped, vkey=vkey, root=root)
    return _measured(found, evidence, known, notes)


class _ReadFault(Exception):
    """An incremental verification cannot begin where it was told to."""

    def __init__(self, seq: int | None, fault: str) -> None:
        super().__init__(fault)
        self.seq = seq


def _continued(connection: Connection, known: Known, notes: Mapping[str, Checkpoint]) -> tuple[int, bytes, Evidence]:
    """Where to go on behind the old checkpoint: seq, hash and evidence there."""
    old = notes["the old checkpoint"]
    log = SignedLog(connection)
    try:
        ours = log.checkpoint_of(old.size)
        if ours is None or ours.checkpoint != old:
            raise _ReadFault(None, f"its first {old.size} records are not those of the old checkpoint")
        keys = log.keys(ours.seq)
        verified(known.old, [known.key] if known.key else keys)
        if known.key is not None and known.key.vkey not in [key.vkey for key in keys]:
            # The record that names them is not read again: without this, it could name those of somebody else.
            raise ChronError("the given key is not in force there")
    except ChronError as error:
        raise ChronError(f"cannot go on behind the old checkpoint: {error}; verify the whole log") from error
    row = connection.execute("SELECT hash FROM chron WHERE seq = ?", (old.size,)).fetchone()
    if row is None:
        raise _ReadFault(old.size, "it is missing")
    sizes = [note.size for note in notes.values()]
    return old.size, row[0], Evidence(log.name, known.key, tree=ours.frontier, keys=keys, expected=sizes)


def _note_fault(
    seq: int, evidence: Evidence, known: Known, notes: Mapping[str, Checkpoint], name: str, sealed: str
) -> tuple[int | None, str]:
    """What is wrong beside the notes that were kept elsewhere, and the record to blame for it."""
    for what, note in notes.items():
        if note.name != name:
            return None, f'{what} is of log "{note.name}", and this is "{name}"'
        if note.size > seq:
            return seq + 1, f"it is missing; {what} covers {note.size} records"
        if evidence.roots.get(note.size, note.root) != note.root:
            return None, f"its first {note.size} records are not those of {what}"
    keys = [key for key in (known.key, *evidence.all_keys) if key is not None]
    for text in filter(None, (known.old, known.head, sealed)):
        try:
            verified(text, keys)
        except ChronError as error:
            return None, f"a checkpoint kept elsewhere does not belong to this log: {error}"
    if sealed and not evidence.is_signed(sealed):
        return None, "its checkpoint is not signed by the key of the log"
    good = evidence.counts if sealed else evidence.covered
    if known.key is not None and not good and not any(evidence.counts_for(text) for text in (known.old, known.head)):
        return None, "no checkpoint in it is signed by the given key, nor by one that it handed over to"
    return None, ""


def _measured(found: Verification, evidence: Evidence, known: Known, notes: Mapping[str, Checkpoint]) -> Verification:
    """With how many records stand under a head that counts, and how many behind it."""
    if not evidence.all_keys and not notes:
        return found
    covered = notes["the head kept elsewhere"].size if known.head else evidence.covered
    if known.head and not evidence.counts_for(known.head):
        covered = min(covered, evidence.covered)  # else whoever can write where it was kept needs no key
    vkey = evidence.all_keys[-1].vkey if evidence.all_keys else ""
    return replace(found, covered=covered, loose=max(0, evidence.loose(found.records, covered)), vkey=vkey)


def _count_fault(connection: Connection, after_seq: int) -> str:
    """Whether there are more rows than numbers: each read above begins by looking a number up.

    In a file that somebody made, a row can stand where no look-up leads, behind another one of its number, and queries
    that go through all rows show it.
    """
    if not isinstance(connection, sqlite3.Connection):
        return ""  # a server keeps numbers apart by itself
    count, last = connection.execute(_COUNTED, (after_seq,)).fetchone()
    if last is None or count == last - after_seq:
        return ""
    return f"the file is damaged: behind record {after_seq} are {count} rows, and numbers for {last - after_seq}"


def _hash_at(connection: Connection, seq: int) -> str:
    row = connection.execute("SELECT hash FROM chron WHERE seq = ?", (seq,)).fetchone()
    return row[0].hex() if row else ""


def _beginning(connection: Connection) -> tuple[str, str]:
    """The origin in the first record, and its id."""
    row = connection.execute("SELECT CAST(body AS BLOB), id FROM chron WHERE seq = 1").fetchone()
    try:
        return (str(json.loads(row[0])["origin"]), row[1]) if row else ("", "")
    except (ValueError, KeyError, TypeError):
        return "", ""  # then the first record does not follow from its origin, and that is what is reported


def _text_fault(
    connection: Connection, told: Mapping[int, Fields], after_seq: int, head_seq: int
) -> tuple[int | None, str]:
    for seq, said in told.items():
        row = connection.execute(_TEXT, (seq,)).fetchone()
        if row is None:
            return seq, "the text it kept is gone"
        *kept, text = row
        stored = text.encode() if isinstance(text, str) else b""  # a changed file may have any type there
        kept.append(sha256(stored).hexdigest())
        if kept != [said.get(name) for name in ("text_kind", "text_id", "text_version", "digest", "sha256")]:
            return seq, "the text it kept was changed"
    last = -(2**63)
    for (seq,) in connection.execute(_TEXTS_OF_FILE if isinstance(connection, sqlite3.Connection) else _TEXTS):
        if seq <= last:
            return seq, "two texts are kept under it, or they are out of order"
        if after_seq < seq <= head_seq and seq not in told:
            return seq, "no record speaks of the text kept under it"
        last = seq
    (stray,) = connection.execute(_STRAY_TEXT).fetchone()
    return stray, "" if stray is None else "it is missing, and a text is kept under it"
