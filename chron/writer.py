"""The writer: one thread that makes what waits durable in batches.

    entries -> bounded queue -> build and hash -> INSERT in one transaction (fsync) -> futures

There is no linger: while one batch is being synced the next gathers by itself, so a lone record waits for one
fsync and sixty-four share one (measured: a 2 ms linger gains nothing). Only records that nobody waits for do:
an outcome synced by itself would make the next decision wait for two syncs.

Whatever goes wrong is told to everybody who waits, as ChronError; the connection is thrown away, and before
the next record is taken the file is opened and verified again. Nothing is ever retried as if it had been
clean: a wire decision whose producer was told "failed" and that is found in the file after all (the error
came after the write) gets an outcome `blocked`, because its producer forwarded nothing.

Only outcomes are kept while a log on another machine cannot be reached, because restarting a server is no accident;
those that turn out to have got there are not written again.
"""

import logging
import queue
import sqlite3
import threading
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from contextlib import suppress

from chron.batch import Batch, Draft, Entry, KeptText, Receipt, tell
from chron.body import Fields
from chron.checkpoints import Checkpoints
from chron.drafting import Drafting
from chron.errors import NOT_TAKEN, ChronError, ServerAwayError
from chron.recovery import MARK_EVERY_RECORDS, Unresolved, decisions_without_outcome
from chron.signed import CHECKPOINT
from chron.sources import OpenLog, Storage, Store
from chron.spool import Return, Spool, may_wait

MOST_WAITING = 10_000
"""Records that may wait; beyond it the disk cannot keep up and waiting would only grow memory."""
MOST_PER_BATCH = 512
MOST_KEPT = 20_000
"""Outcomes that are kept while the log cannot be reached: those of what was forwarded before."""
REOPEN_EVERY_S = 1.0
CLOCK_STEP_NS = 5_000_000_000
"""A clock that goes back further than this gets a note; less is NTP at work."""

_FINISHING = frozenset({"outcome", "lifecycle"})
"""Kinds still recorded below the low-water mark: the reserve is there to finish what was begun."""

FORGET = (0, 0)
"""As what is to be emptied: the plain text that is left in the write-ahead log; resolves with 1 when it is gone."""

_THERE = "SELECT seq, hash FROM chron WHERE id = ?"
_KEPT = "SELECT 1 FROM artefact WHERE kind = ? AND id = ? AND version = ? AND digest = ?"

_NOTHING = Entry(())
"""Wakes the thread and nothing more."""

_BUGS = (Exception, CancelledError)
"""What a batch may fail with. Nobody cancels a thread, so a cancellation here is a bug like others."""

_log = logging.getLogger(__name__)


class Writer:
    """Owns the ledger and the thread; `offer` and `stop` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        origin: str,
        ledger: OpenLog,
        storage: Storage,
        clock_ns: Callable[[], int],
        last_ns: int,
        checkpoints: Checkpoints | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._checkpoints = checkpoints
        self._spool = spool
        self._return: Return | None = None
        """Looks for a server that is away while records are set aside."""
        self._store, self._origin = store, origin
        self._ledger: OpenLog | None = ledger
        self._storage = storage
        self._clock_ns, self._last_ns = clock_ns, last_ns
        self._acknowledged = (ledger.seq, ledger.hash)
        self._marked_seq = ledger.seq
        self._unresolved = Unresolved()
        self._opened = False
        """The record of the opening is on disk, with the doubts that the last run left."""
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._patient: list[Entry] = []
        self._gate = threading.Lock()
        self._drafting = Drafting(clock_ns)
        self._offered = self._taken = 0
        self._stopped = ""
        self._fault = ""
        self._away = False
        """The log could not be reached, and has not been since."""
        self._thread = threading.Thread(target=self._run, name="chron-writer", daemon=True)
        self._thread.start()

    def draft(self, kind: str, fields: Fields) -> Draft:
        """Check a record and give it its id and time; raises ChronError for what a body cannot hold."""
        return self._drafting.draft(kind, fields)

    def offer(self, entry: Entry, *, limited: bool = True) -> None:
        """Queue an entry; raises ChronError when the writer has stopped or too much waits already."""
        with self._gate:
            if self._stopped:
                raise ChronError(self._stopped)
            waiting = self._offered - self._taken
            if limited and waiting + len(entry.drafts) > MOST_WAITING:
                raise ChronError(f"the Chron is overloaded: {waiting} records wait for the disk; slow down or retry")
            self._offered += len(entry.drafts)
            if entry.patient:
                self._patient.append(entry)
            else:
                self._queue.put(entry)

    def head(self) -> int:
        """The seq of the last record that is on disk."""
        return self._acknowledged[0]

    def flush(self) -> None:
        """Write what nobody waits for now, if there is any."""
        if self._patient:
            self._queue.put(_NOTHING)

    def fault(self) -> str:
        """Why a decision could not be recorded now; "" when it could."""
        return self._stopped or ("" if self._return else self._fault) or self._storage.moved() or self._storage.low()

    def warning(self) -> str:
        """What somebody should look at before decisions can no longer be recorded; "" when nothing."""
        if self._return:
            return f"records are set aside on this host: {self._fault}"
        return self._storage.scarce()

    def stop(self, timeout_s: float) -> None:
        """Write what waits and the close record; raises ChronError when that fails or lasts too long."""
        with self._gate:
            if not self._stopped:
                self._stopped = "the Chron is closed; open it again"
                self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise ChronError(f"the Chron did not close within {timeout_s} s; its last records may be missing")
        if self._fault and not self._return:
            raise ChronError(self._fault)

    def finished(self) -> bool:
        """Whether the thread has ended and the file is closed."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        running, in_hand = True, list[Entry]()
        try:
            while running:
                in_hand, running = self._gather()
                self._write([entry for entry in in_hand if not (entry.checkpoint or _apart(entry))])
                # Each in a batch of its own, behind what was handed in before it.
                for asked in filter(lambda entry: entry.checkpoint, in_hand):
                    self._write([asked])
                for asked in filter(_apart, in_hand):
                    self._change(asked)
            in_hand = []
            # If this condition is removed, a start that failed says "all resolved" about doubts it did not write.
            self._write([Entry([self._own("close", self._bound())])] if self._opened else [])
            if self._opened and self._checkpoints is not None and self._checkpoints.pending():
                self._write([Entry((), checkpoint=True)])
        finally:
            with self._gate:
                self._stopped = self._stopped or "the Chron's writer thread died; restart the gate"
            # Who was told already stays told; a producer that was not would wait for ever, and its gate never stop.
            tell((entry, ChronError(self._stopped)) for entry in in_hand + self._drain())
            if self._ledger is not None:
                self._ledger.abandon()
            if self._return is not None:
                self._return.end()
            if self._spool is not None:
                self._spool.close()
            self._storage.close()

    def _gather(self) -> tuple[list[Entry], bool]:
        """Wait for an entry and take all that wait with it; False when told to stop."""
        entries: list[Entry] = []
        taken, running = 0, True
        # A broken ledger is tried again unasked too, so that a gate taken out of service can return.
        with suppress(queue.Empty):
            entry = self._queue.get(timeout=self._patience_s())
            while entry is not None:
                if entry is not _NOTHING:
                    entries.append(entry)
                    taken += len(entry.drafts)
                if taken >= MOST_PER_BATCH:
                    break
                entry = self._queue.get_nowait()
            running = entry is not None
        with self._gate:
            patient, self._patient = self._patient, []
        self._taken += taken + sum(len(entry.drafts) for entry in patient)
        return patient + entries, running

    def _patience_s(self) -> float | None:
        if self._ledger is None:
            return None if self._return else REOPEN_EVERY_S
        return self._checkpoints.wait_s() if self._checkpoints is not None else None

    def _drain(self) -> list[Entry]:
        with self._gate:
            entries, self._patient = self._patient, []
        with suppress(queue.Empty):
            while True:
                entry = self._queue.get_nowait()
                if entry is None:
                    self._queue.put(None)
                    break
                if entry is not _NOTHING:
                    entries.append(entry)
        self._taken += sum(len(entry.drafts) for entry in entries)
        return entries

    def _write(self, entries: list[Entry]) -> None:
        """Make the entries durable and tell their producers, or fail them all."""
        try:
            ledger = self._ready()
            batch = self._build(ledger, entries)
            self._commit(ledger, batch)
            if (ledger.seq, ledger.hash) != batch.head():
                # If this is removed, a commit that did nothing is told as one, and its requests are forwarded.
                raise ChronError(NOT_TAKEN)
        except ServerAwayError as error:
            self._set_aside(entries, error)
        except _BUGS as error:
            # It must refuse requests, not leave them waiting, and not end this thread either.
            self._fail(entries + self._drain(), error)
        else:
            tell(batch.results)

    def _change(self, entry: Entry) -> None:
        """Do what an entry asks of the file and what is no record."""
        try:
            changed = _changed(self._ready(), entry)
        except ServerAwayError as error:
            self._set_aside([entry], error)
        except _BUGS as error:
            self._fail([entry, *self._drain()], error)
        else:
            tell([(entry, changed)])

    def _set_aside(self, entries: list[Entry], error: ServerAwayError) -> None:
        """Keep entries on this host until the server is back, where that is allowed; refuse what cannot wait."""
        if self._spool is None:
            self._fail(entries + self._drain(), error)
            return
        waits = [entry for entry in entries if may_wait(entry)]
        try:
            # Also with nothing to set aside yet: whoever asks whether the gate is well hears whether there is a place.
            results = self._spool.keep([entry.drafts for entry in waits])
        except ChronError as failure:
            self._away = True
            self._fail(entries + self._drain(), failure)
            return
        if self._return is None or self._return.there:
            self._fail([entry for entry in entries if entry not in waits], error)
            self._return = Return(self._spool.look, lambda: self._queue.put(_NOTHING))
        else:
            tell((entry, ChronError(self._fault)) for entry in entries if entry not in waits)
        tell(zip(waits, results, strict=True))

    def _ready(self) -> OpenLog:
        if self._return is not None and not self._return.there:
            raise ServerAwayError(self._fault)
        if self._ledger is not None:
            if moved := self._storage.moved():
                raise ChronError(moved)
            return self._ledger
        return self._reopen()

    def _build(self, ledger: OpenLog, entries: Sequence[Entry]) -> Batch:
        batch = Batch(ledger.seq, ledger.hash)
        self._add_checkpoint(ledger, batch, entries)
        if ledger.seq - self._marked_seq >= MARK_EVERY_RECORDS:
            self._marked_seq = ledger.seq
            batch.add(Entry([self._own("mark", self._bound())]))
        low = self._storage.low()
        for entry in (entry for entry in entries if not entry.checkpoint):
            if entry.kept:
                if found := self._got_there(ledger, entry):
                    batch.results.append((entry, found))
                    continue
                entry.drafts = [(id_, self._clock_ns(), kind, fields) for id_, _, kind, fields in entry.drafts]
            if low and not _finishes(entry):
                batch.refuse(entry, low)
                continue
            if self._checkpoints is not None and (refused := self._checkpoints.refuses(entry.drafts)):
                batch.refuse(entry, refused)
                continue
            if entry.texts and not _leave_out_kept(entry, ledger, batch):
                batch.add(entry)
                continue
            at_ns = entry.drafts[0][1]
            if at_ns < self._last_ns - CLOCK_STEP_NS:
                batch.add(Entry([self._own("clock_back", {"back_s": (self._last_ns - at_ns) // 1_000_000_000})]))
            self._last_ns = at_ns
            batch.add(entry)
        return batch

    def _add_checkpoint(self, ledger: OpenLog, batch: Batch, entries: Sequence[Entry]) -> None:
        """First in its batch, because it is over exactly the records before it."""
        asked = [entry for entry in entries if entry.checkpoint]
        if self._checkpoints is None or not (asked or self._checkpoints.due()):
            return
        entry = asked[0] if asked else Entry(())
        if fields := self._checkpoints.fields(self._clock_ns() // 1_000_000_000):
            entry.drafts = (self.draft(CHECKPOINT, {**fields, **ledger.beside()}),)
            batch.add(entry)
        else:
            batch.refuse(entry, "this log has no key yet; try again")

    def _commit(self, ledger: OpenLog, batch: Batch) -> None:
        if not batch.rows:
            return
        ledger.commit(batch.rows, batch.texts)
        self._acknowledged = (ledger.seq, ledger.hash)
        for row, (id_, _, kind, fields) in zip(batch.rows, batch.drafts, strict=True):
            self._unresolved.note(row[0], id_, kind, fields)
            self._opened = self._opened or (kind, fields.get("event")) == ("lifecycle", "open")
        if self._checkpoints is not None:
            self._checkpoints.took(batch.rows, batch.drafts)

    def _fail(self, entries: list[Entry], error: BaseException) -> None:
        message = str(error) if isinstance(error, ChronError) else self._store.explained(error)
        if message != self._fault:
            expected = isinstance(error, ChronError | sqlite3.Error)  # anything else is a bug: keep its trace
            _log.error("%s", message, exc_info=None if expected else error)
        self._fault = message
        if self._return is not None:
            self._return.end()
            self._return = None
        if self._ledger is not None:
            self._ledger.abandon()
            self._ledger = None
            self._storage.release()
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL") and self._storage.give_back():
            entries = self._again(entries)
        self._away = self._away or isinstance(error, ServerAwayError)
        if self._away:
            entries = self._keep(entries)
        tell((entry, ChronError(message)) for entry in entries)

    def _again(self, entries: list[Entry]) -> list[Entry]:
        """Put back what finishes something, now that there is room for it; the others.

        A transaction that found the disk full has no commit on it, so nothing is written twice.
        """
        finishing = [entry for entry in entries if _finishes(entry)]
        with self._gate:
            self._offered += sum(len(entry.drafts) for entry in finishing)
            self._patient += finishing
        self._queue.put(_NOTHING)
        return [entry for entry in entries if not _finishes(entry)]

    def _keep(self, entries: list[Entry]) -> list[Entry]:
        """Keep outcomes that nobody waits for until the log can be reached; the others."""
        others = list[Entry]()
        with self._gate:
            for entry in entries:
                outcome = entry.patient and all(draft[2] == "outcome" for draft in entry.drafts)
                if not outcome or self._stopped or len(self._patient) >= MOST_KEPT:
                    others.append(entry)
                    continue
                entry.kept = True
                self._offered += len(entry.drafts)
                self._patient.append(entry)
        return others

    def _got_there(self, ledger: OpenLog, entry: Entry) -> tuple[Receipt, ...]:
        """The receipts of records that were kept and are in the log, as only the answer to their commit was lost."""
        receipts = list[Receipt]()
        for id_, _, kind, fields in entry.drafts:
            row = ledger.connection.execute(_THERE, (id_,)).fetchone()
            if row is None:
                return ()  # all or nothing: they were one commit
            receipts.append(Receipt(row[0], id_, row[1]))
            self._unresolved.note(row[0], id_, kind, fields)
        return tuple(receipts)

    def _reopen(self) -> OpenLog:
        """Open the file anew, make sure nothing acknowledged is lost, and write down what happened."""
        if moved := self._storage.moved(fresh=True):
            raise ChronError(moved)
        ledger = self._store.open(self._origin)
        self._ledger = ledger
        ledger.require_settled()
        seq, hash_ = self._acknowledged
        if seq > ledger.seq or ledger.hash_at(seq) != hash_:
            raise ChronError(
                f'chron "{self._store.source}" lost record {seq}, which was on disk; keep the file and restart'
            )
        taken = self._spool.drain(ledger) if self._spool else []
        for place, (id_, _, kind, fields) in taken:
            self._unresolved.note(place, id_, kind, fields)
        self._acknowledged = (ledger.seq, ledger.hash) if taken else self._acknowledged
        if self._checkpoints is not None:
            self._checkpoints.restore(ledger)
        self._storage.adopt()
        acknowledged = {draft[0] for _, draft in taken}
        surfaced = [id_ for _, id_ in decisions_without_outcome(ledger.connection, seq) if id_ not in acknowledged]
        note = self._own("reopen", {"fault": self._fault, "unacknowledged": ledger.seq - seq})
        reason = "its record was not acknowledged, so nothing was forwarded"
        outcomes = [self.draft("outcome", {"ref": id_, "result": "blocked", "error": reason}) for id_ in surfaced]
        batch = Batch(ledger.seq, ledger.hash)
        batch.add(Entry([note, *outcomes]))
        self._commit(ledger, batch)
        self._fault, self._away, self._return = "", False, None
        return ledger

    def _bound(self) -> Fields:
        return {
            "resolved_to": self._unresolved.resolved_to(self._acknowledged[0]),
            "unresolved": len(self._unresolved),
        }

    def _own(self, event: str, fields: Fields) -> Draft:
        return self.draft("lifecycle", {"event": event, **fields})


def _finishes(entry: Entry) -> bool:
    """Whether it only finishes what was begun."""
    return bool(entry.drafts) and all(draft[2] in _FINISHING for draft in entry.drafts)


def _leave_out_kept(entry: Entry, ledger: OpenLog, batch: Batch) -> bool:
    """Leave out what somebody else has kept meanwhile; whether anything is left.

    Gates that share a log load the same files at the same time. Without this the second one's texts would be refused
    by the file, and with them the whole batch: every decision that waited for the same sync.
    """
    there = {text[1:5] for text in batch.texts}
    new: list[tuple[Draft, KeptText]] = []
    for draft, text in zip(entry.drafts, entry.texts, strict=True):
        key = text[:4]
        if key not in there and ledger.connection.execute(_KEPT, key).fetchone() is None:
            new.append((draft, text))
        there.add(key)
    entry.drafts, entry.texts = [draft for draft, _ in new], [text for _, text in new]
    return bool(new)


def _apart(entry: Entry) -> bool:
    return entry.emptied is not None or entry.people is not None


def _changed(ledger: OpenLog, entry: Entry) -> int:
    if entry.people is not None:
        return ledger.name_people(entry.people)
    span = entry.emptied or FORGET
    return ledger.empty(*span) if span != FORGET else int(ledger.forget())
