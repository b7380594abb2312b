"""The open Chron: what the gate holds to write down what happens.

    chron = Chron.open(Path("state/chron.db"))
    receipt = await chron.append("decision", {"agent": "deploy-bot", "outcome": "DENY", ...})   # durable now
    chron.close()

    ChronError: chron "state/chron.db" is open in another process (pid 4711); stop that gate first, ...
    ChronError: cannot record in "state/chron.db": disk full (SQLITE_FULL: ...); free some space, ...

`append` checks and returns at once; awaiting its future is waiting for the disk. Whoever gets ChronError
instead
of a receipt must act as if nothing was recorded.
"""

import asyncio
import concurrent.futures
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self, cast

from chron import schema
from chron.batch import Draft, Entry, KeptText, Receipt
from chron.body import Fields, stamp_ns
from chron.checkpoints import Checkpoints, Signing
from chron.emptied import plan
from chron.errors import ChronError
from chron.filestore import FileStore
from chron.keeping import Keeping
from chron.persons import PERSON, forgotten
from chron.reading import connect, version_number
from chron.recovery import Left, left_behind
from chron.sources import Connection, Lock, OpenLog, Source, Store, file_of, on_server
from chron.spool import Spool
from chron.writer import FORGET, Writer

LOW_WATER_BYTES = 64 * 1024 * 1024
EMPTIED_AT_ONCE = 500
"""Bodies that go in one transaction: what is being recorded waits for it, some milliseconds."""
MOST_TEXTS, MOST_TEXT_CHARS = 1000, 2_000_000
"""Texts that are kept at once: the rules of a large site must leave room for decisions, and fit into a frame."""
PATIENCE_S = 0.05
"""How long a record that nobody waits for may wait for one that somebody does."""

type Key = tuple[str, str, str, str]
"""kind, id, version, digest: which text it is."""
type Text = tuple[str, str, str | int, str, str]
"""kind, id, version, digest, text; the version "" where texts have none."""


_UNFINISHED = f"""
SELECT e.id, CAST(e.body->>'$.first' AS BIGINT), CAST(e.body->>'$.last' AS BIGINT) FROM chron AS e
WHERE e.kind IN ({schema.listed(schema.EMPTYING)}) AND e.{schema.SELDOM}
  AND NOT EXISTS (SELECT 1 FROM chron AS d WHERE d.ref = e.id AND d.kind = 'emptied') ORDER BY e.seq"""  # noqa: S608 -- ours


class Writing(Protocol):
    """Who writes: a thread here, or another process (`chron.remote`)."""

    def draft(self, kind: str, fields: Fields) -> Draft:
        """Check a record and give it its id and time; raises ChronError."""

    def offer(self, entry: Entry, *, limited: bool = True) -> None:
        """Hand an entry in; raises ChronError when it cannot be taken."""

    def head(self) -> int:
        """The seq of the last record that is on disk."""

    def flush(self) -> None:
        """Write what nobody waits for now."""

    def fault(self) -> str:
        """Why a decision could not be recorded now; "" when it could."""

    def warning(self) -> str:
        """What somebody should look at before decisions can no longer be recorded; "" when nothing."""

    def stop(self, timeout_s: float) -> None:
        """Write what waits, and end; raises ChronError when that fails."""

    def finished(self) -> bool:
        """Whether it has ended."""


class Chron:
    """An open Chron; append from any running loop, close when done. Only one can be open for a file."""

    def __init__(
        self,
        path: Source,
        writer: Writing,
        lock: Lock | None,
        texts: Sequence[Key],
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.path = path
        self._writer = writer
        self._lock = lock
        self._kept = dict.fromkeys(texts)
        """(kind, id, version, digest) of every text, oldest first."""
        self._flushing = False
        self._checkpoints = checkpoints
        self._rotating = threading.Lock()
        self.keeping = Keeping(path)
        """Held by whoever seals, archives or lets records go."""

    @classmethod
    def open(
        cls,
        path: Source,
        *,
        origin: str = "claiim",
        session: str = "",
        clock_ns: Callable[[], int] = time.time_ns,
        low_water_bytes: int = LOW_WATER_BYTES,
        signing: Signing | None = None,
        spool: Path | None = None,
    ) -> Self:
        """Open or create the Chron, verify its end, and write down what the last run left; blocks.

        With `signing` it gets checkpoints, and is refused when it is not the log that was signed before. With `spool`,
        a folder, records of a log on a server are set aside there while the server is away.
        """
        store = store_of(path)
        aside = _spool_of(path, spool, clock_ns, low_water_bytes) if spool else None
        lock = store.take()
        try:
            return cls._opened(store, lock, origin, session, clock_ns, low_water_bytes, signing, aside)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _opened(
        cls,
        store: Store,
        lock: Lock,
        origin: str,
        session: str,
        clock_ns: Callable[[], int],
        low_water_bytes: int,
        signing: Signing | None,
        spool: Spool | None,
    ) -> Self:
        ledger = store.open(origin)
        checkpoints = Checkpoints(signing, origin) if signing else None
        try:
            if spool is not None:
                spool.drain(ledger)
            texts, left, last_ns = kept(ledger.connection), left_behind(ledger.connection, ledger.seq), _last_ns(ledger)
            unfinished = ledger.connection.execute(_UNFINISHED).fetchall()
            if not left.clean:
                ledger.require_settled()
            if checkpoints is not None:
                checkpoints.restore(ledger)
        except (sqlite3.Error, ChronError) as error:
            ledger.abandon()
            raise error if isinstance(error, ChronError) else ChronError(store.explained(error)) from error
        opening = _opening(ledger, origin, session, left)
        storage = store.watch(low_water_bytes)
        writer = Writer(store, origin, ledger, storage, clock_ns, last_ns, checkpoints, spool)
        chron = cls(store.source, writer, lock, texts, checkpoints)
        try:
            chron._begin(opening, left.in_doubt)
            for id_, first, last in unfinished:
                chron._finish(id_, first, last)
        except BaseException:
            with suppress(ChronError):
                chron.close()
            raise
        return chron

    def _begin(self, opening: Fields, in_doubt: Sequence[str]) -> None:
        draft = self._writer.draft
        reason = "the gate stopped before the outcome was known"
        outcomes = [draft("outcome", {"ref": id_, "result": "in_doubt", "error": reason}) for id_ in in_doubt]
        self._wait(Entry([draft("lifecycle", opening), *outcomes]), limited=False)
        if self._checkpoints is not None and (introduction := self._checkpoints.introduction()):
            self._wait(Entry([draft("key", introduction)]), limited=False)

    def append(self, kind: str, fields: Fields) -> asyncio.Future[Receipt]:
        """Hand in one record; the future resolves when it is on disk. A bad record raises at once."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._writer.offer(Entry((self._writer.draft(kind, fields),), future, loop, one=True))
        return future

    def append_many(self, records: Sequence[tuple[str, Fields]]) -> asyncio.Future[tuple[Receipt, ...]]:
        """Hand in records that stand next to each other in the log, all of them or none."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Receipt, ...]] = loop.create_future()
        drafts: list[Draft] = [self._writer.draft(kind, fields) for kind, fields in records]
        if drafts:
            self._writer.offer(Entry(drafts, future, loop))
        else:
            future.set_result(())
        return future

    def note(self, kind: str, fields: Fields) -> None:
        """Hand in a record that nobody waits for; it is on disk within `PATIENCE_S`, or with the next that is.

        Raises ChronError at once for a bad record or a closed Chron; a disk that fails later is logged, and
        the missing record is found at the next start.
        """
        self._writer.offer(Entry((self._writer.draft(kind, fields),), patient=True))
        if not self._flushing:
            # One timer at a time, in the loop: waking the writer for each note would cost more than the note.
            self._flushing = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._writer.flush()

    def write(self, kind: str, fields: Fields) -> Receipt:
        """Hand in one record and wait until it is on disk. Blocks."""
        return cast(Receipt, self._asked(Entry((self._writer.draft(kind, fields),), one=True)))

    def keep(self, texts: Iterable[Text]) -> None:
        """Keep texts by digest, each with a record in the chain, once. Blocks until they are on disk."""
        new: dict[tuple[str, str, str, str], KeptText] = {}
        for kind, id_, version, digest, text in texts:
            key = (kind, id_, str(version), digest)
            if key not in self._kept:
                new[key] = (*key, text)
        for part in _parts(new.values()):
            drafts = [self._writer.draft("text", _text_fields(*text)) for text in part]
            self._wait(Entry(drafts, texts=part))
            self._kept |= dict.fromkeys(text[:4] for text in part)

    def seen(self) -> dict[tuple[str, str, int], str]:
        """The digest under which each (kind, id, version) was first kept; not texts without a version."""
        digests: dict[tuple[str, str, int], str] = {}
        for kind, id_, version, digest in self._kept:
            if (number := version_number(version)) is not None:
                digests.setdefault((kind, id_, number), digest)
        return digests

    def checkpoint(self) -> str:
        """Sign a checkpoint over all that was handed in before; its note, once it is on disk. Blocks."""
        if self._checkpoints is None:
            raise ChronError("this Chron was opened without a key, so it has no checkpoints")
        self._wait(Entry((), checkpoint=True), limited=False)
        return self._checkpoints.newest

    def rotate_key(self) -> str:
        """Have a new key take over, and sign a checkpoint with it; the checkpoint's note. Blocks."""
        if self._checkpoints is None:
            raise ChronError("this Chron was opened without a key, so there is none to change")
        with self._rotating:  # a key that follows must be signed by the one that is then in force
            self._wait(Entry([self._writer.draft("key", self._checkpoints.rotation())]), limited=False)
            return self.checkpoint()

    def empty(self, kind: str, spans: Sequence[tuple[int, int]], fields: Fields) -> int:
        """Write a record for each span, first and last seq, and let the bodies there go; how many went. Blocks.

        `kind` is one of `schema.EMPTYING`. Leaves and hashes stay, so chain, checkpoints and proofs do. A record of
        kind `emptied` says when it is done; what a crash cuts short the next opening finishes. Raises ChronError.
        """
        if kind not in schema.EMPTYING:
            raise ChronError(f'"{kind}" is no reason for a body to go; one of {", ".join(schema.EMPTYING)} is')
        head = self._writer.head()
        if wrong := next((span for span in spans if not 1 <= span[0] <= span[1] <= head), None):
            raise ChronError(f"there are no records {wrong[0]} to {wrong[1]}; the log ends at {head}")
        planned = plan(self.path, spans)
        drafts = [self._writer.draft(kind, span.told(fields)) for span in planned]
        self._wait(Entry(drafts))
        return sum(self._finish(draft[0], span.first, span.last) for draft, span in zip(drafts, planned, strict=True))

    def finish(self) -> None:
        """Let those bodies go that a record names, where the process that wrote it did not live to do it. Blocks."""
        with self.keeping:
            with closing(connect(self.path)) as connection:
                unfinished = connection.execute(_UNFINISHED).fetchall()
            for id_, first, last in unfinished:
                self._finish(id_, first, last)

    def _finish(self, id_: str, first: int, last: int) -> int:
        """Let the bodies go that a record names, a few at a time, and say that it is done."""
        gone = 0
        for start in range(first, last + 1, EMPTIED_AT_ONCE):
            entry = Entry((), emptied=(start, min(last, start + EMPTIED_AT_ONCE - 1)))
            gone += self._asked(entry)
        cleared = bool(self._asked(Entry((), emptied=FORGET)))
        done: Fields = {"ref": id_, "records": gone, "wal_cleared": cleared}
        self._wait(Entry([self._writer.draft("emptied", done)]), limited=False)
        return gone

    def name(self, people: Mapping[str, str]) -> None:
        """Keep the names of people by id, beside the log and no part of it; not of those who were forgotten. Blocks."""
        gone = forgotten(self.path)
        wanted = {id_: "" if id_ in gone else name for id_, name in people.items()}
        if self._asked(Entry((), people=wanted)) and gone & wanted.keys():
            self._asked(Entry((), emptied=FORGET))

    def forget(self, person: str, fields: Fields) -> bool:
        """Record that somebody's name goes, and let it go for good; False when there was none. Blocks."""
        self.write(PERSON, {**fields, "event": "erased", "human": person})
        gone = self._asked(Entry((), people={person: ""}))
        self._asked(Entry((), emptied=FORGET))
        return bool(gone)

    @property
    def writing(self) -> Writing:
        """Who writes; for `chron.serving`."""
        return self._writer

    @property
    def newest_checkpoint(self) -> str:
        """The note of the last checkpoint, "" when there is none."""
        return self._checkpoints.newest if self._checkpoints is not None else ""

    def faults(self) -> str | None:
        """Why a decision could not be recorded now, None when it could."""
        return self._writer.fault() or None

    def beside(self) -> dict[str, str]:
        """What is wrong with what another process does for this log, by name."""
        return {}

    def warning(self) -> str | None:
        """What somebody should look at before decisions can no longer be recorded, None when nothing."""
        return self._writer.warning() or None

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits and a close record, and give the lock up; raises ChronError when that fails."""
        try:
            self._writer.stop(timeout_s)
        finally:
            if self._lock is not None and self._writer.finished():
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, entry: Entry, *, limited: bool = True) -> None:
        self._asked(entry, limited=limited)

    def _asked(self, entry: Entry, *, limited: bool = True) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        entry.future = future
        self._writer.offer(entry, limited=limited)
        return future.result()


def store_of(source: Source) -> Store:
    """The place where a log is, to write it."""
    if isinstance(source, str) and on_server(source):
        from chron.postgres.ledger import ServerStore  # needs the driver

        return ServerStore(source)
    return FileStore(file_of(source, ""))


def _spool_of(source: Source, folder: Path, clock_ns: Callable[[], int], low_water_bytes: int) -> Spool:
    if not isinstance(source, str) or not on_server(source):
        raise ChronError(f'chron "{source}" is a file, and a spool is for a log on a server; leave it out')
    from chron.postgres.connection import connected  # needs the driver
    from chron.postgres.place import Place

    def look() -> None:
        connected(source).close()

    chain = Place.read(source).chain
    return Spool(folder, chain, look, clock_ns=clock_ns, low_water_bytes=low_water_bytes)


def _parts(texts: Iterable[KeptText]) -> Iterator[tuple[KeptText, ...]]:
    part, chars = list[KeptText](), 0
    for text in texts:
        if part and (len(part) == MOST_TEXTS or chars + len(text[4]) > MOST_TEXT_CHARS):
            yield tuple(part)
            part, chars = [], 0
        part.append(text)
        chars += len(text[4])
    if part:
        yield tuple(part)


def _opening(ledger: OpenLog, origin: str, session: str, left: Left) -> Fields:
    return {
        "event": "open",
        "origin": origin,
        "session": session or None,
        "pid": os.getpid(),
        "clean": left.clean,
        "in_doubt": len(left.in_doubt),
        "resolved_to": ledger.seq,
        "guards_restored": " ".join(ledger.restored) or None,
    }


def _text_fields(kind: str, id_: str, version: str, digest: str, text: str) -> Fields:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ChronError(f'{kind} "{id_}" is not Unicode text; write the file as UTF-8') from error
    return {
        "text_kind": kind,
        "text_id": id_,
        "text_version": version,
        "digest": digest,
        "sha256": sha256(data).hexdigest(),
        "bytes": len(data),
    }


def kept(connection: Connection) -> list[Key]:
    """What says which text it is, of every kept one, oldest first."""
    with closing(connection.execute("SELECT kind, id, version, digest FROM artefact ORDER BY seq")) as rows:
        return rows.fetchall()


def _last_ns(ledger: OpenLog) -> int:
    row = ledger.connection.execute("SELECT ts FROM chron WHERE seq = ?", (ledger.seq,)).fetchone()
    return stamp_ns(row[0]) if row else 0
