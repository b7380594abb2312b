"""Records set aside on this host while the server of a log is away, where the operator allows that.

    chron_spool: state/spool      decisions go on; each is durable here before its producer hears of it
    without it                    nothing is recorded, so nothing is forwarded: 503 until the server is back

What is set aside is a Chron itself, one file for each absence: chained, guarded, and read by the same commands. When
the server is back, its records are appended there in order, with their ids and times, before anything else is; a record
that had reached the server unheard is not written twice. Then a record in the log names the file and its last hash:

    lifecycle, event "spooled", log "spool/gate-1/chr_01k...", records 320, head "9f3c..."

The file stays, as `....taken.db`. What is weaker meanwhile: nobody signs, and whoever can write this host's disk can
take the file away, with all that it says. All but what requests leave behind is refused until the server is back.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from chron.batch import Batch, Draft, Entry, Receipt, Result
from chron.body import Fields, read_body, stamp_ns
from chron.drafting import Drafting
from chron.errors import ChronError
from chron.ledger import Ledger
from chron.segments import sync_folder
from chron.signed import log_name
from chron.sources import OpenLog
from chron.storage import Storage, explained

MOST_SPOOLED = 100_000
"""Records of one absence: an hour of 28 in a second; longer ones are for people, not for a disk."""
LOOK_EVERY_S = 1.0
_ROWS_PER_READ = 500
_TAKEN = ".taken.db"
_ASIDE = frozenset({"decision", "outcome", "segment", "access", "approval", "lifecycle", "refusals"})
_OWN = ("v", "seq", "id", "ts", "kind")


def may_wait(entry: Entry) -> bool:
    """Whether an entry may be set aside: all that requests leave behind, and the end of a run.

    Keys, checkpoints, texts, and what lets bodies go count by their place in the log, and rules by who hears of them.
    """
    return bool(entry.drafts) and all(draft[2] in _ASIDE for draft in entry.drafts)


class Spool:
    """The files of one chain in a folder. Not thread-safe: it is the writer's."""

    def __init__(
        self,
        folder: Path,
        chain: str,
        look: Callable[[], object],
        *,
        clock_ns: Callable[[], int],
        low_water_bytes: int,
    ) -> None:
        self.look = look
        """Raises ChronError while the server is away; may block."""
        self._folder, self._origin = folder, f"spool/{chain}"
        self._prefix = f"{chain}."
        self._drafting = Drafting(clock_ns)
        self._low_water_bytes = low_water_bytes
        self._open: tuple[Ledger, Storage] | None = None

    def keep(self, entries: Sequence[Sequence[Draft]]) -> list[tuple[Receipt, ...] | ChronError]:
        """Set records aside, durably, each entry whole or not at all; blocks for an fsync.

        Raises ChronError when nothing can be, also when there is nothing yet.
        """
        ledger, storage = self._opened()
        if ledger.seq > MOST_SPOOLED:
            raise ChronError(f'"{ledger.path}" is full, with {ledger.seq} records set aside; see to the server')
        if refused := storage.moved() or storage.low():
            raise ChronError(refused)
        batch = Batch(ledger.seq, ledger.hash)
        if not ledger.seq:
            batch.add(Entry([self._drafting.draft("lifecycle", {"event": "open", "origin": self._origin})]))
        opening = len(batch.results)
        for drafts in entries:
            batch.add(Entry(drafts))
        try:
            if batch.rows:
                ledger.commit(batch.rows)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise ChronError(explained(ledger.path, error)) from error
        return [_placeless(result) for _, result in batch.results[opening:]]

    def _opened(self) -> tuple[Ledger, Storage]:
        if self._open is None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ChronError(explained(self._folder, error)) from error
            # One that was cut short is gone on with.
            last = next(iter(self._waiting()[-1:]), None)
            path = last or self._folder / f"{self._prefix}{self._drafting.draft('lifecycle', {})[0]}.db"
            ledger = Ledger.open(path, self._origin)
            self._open = ledger, Storage(path, path, self._low_water_bytes)
        return self._open

    def _waiting(self) -> list[Path]:
        """The files that are not in the log yet, oldest first."""
        found = self._folder.glob(f"{self._prefix}chr_*.db")
        return sorted(path for path in found if not path.name.endswith(_TAKEN))

    def drain(self, log: OpenLog) -> list[tuple[int, Draft]]:
        """Append what was set aside to the log that is back; each record with its seq. Blocks. Raises ChronError."""
        self.close()
        taken: list[tuple[int, Draft]] = []
        for path in self._waiting():
            spooled = Ledger.open(path, self._origin)
            try:
                for drafts in _pages(spooled):
                    known = {draft[0]: seq for draft in drafts if (seq := _seq(log, draft[0]))}
                    taken += [(known[draft[0]], draft) for draft in drafts if draft[0] in known]
                    taken += _append(log, [draft for draft in drafts if draft[0] not in known])
                row = spooled.connection.execute("SELECT id FROM chron WHERE seq = 1").fetchone()
                if row:
                    named: dict[str, str | int] = {"log": log_name(self._origin, row[0]), "records": spooled.seq - 1}
                    fields: Fields = {"event": "spooled", **named, "head": spooled.hash.hex()}
                    taken += _append(log, [self._drafting.draft("lifecycle", fields)])
            except sqlite3.Error as error:
                raise ChronError(explained(path, error)) from error
            finally:
                spooled.abandon()
            try:
                path.rename(path.with_name(path.name.removesuffix(".db") + _TAKEN))
                sync_folder(self._folder)
            except OSError as error:
                raise ChronError(explained(path, error)) from error
        return taken

    def close(self) -> None:
        """Close the file of this absence, without complaint."""
        if self._open is not None:
            ledger, storage = self._open
            storage.close()
            ledger.abandon()
            self._open = None


class Return:
    """Looks in a thread of its own whether a server is back, because looking can take as long as the network likes."""

    def __init__(self, look: Callable[[], object], tell: Callable[[], None]) -> None:
        self._look, self._tell = look, tell
        self._ended = threading.Event()
        self.there = False
        threading.Thread(target=self._run, name="chron-return", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            with suppress(ChronError):
                self._look()
                self.there = True
                self._tell()
                return

    def end(self) -> None:
        """Look no more."""
        self._ended.set()


def _placeless(result: Result) -> tuple[Receipt, ...] | ChronError:
    """Receipts for records that have no place in the log yet."""
    if isinstance(result, tuple):
        return tuple(Receipt(0, receipt.id, b"") for receipt in result)
    return result if isinstance(result, ChronError) else ChronError("nothing was set aside")


def _pages(spooled: Ledger) -> Iterator[list[Draft]]:
    seq = 1  # behind the opening
    statement = "SELECT seq, id, CAST(body AS BLOB) FROM chron WHERE seq > ? ORDER BY seq LIMIT ?"
    while rows := spooled.connection.execute(statement, (seq, _ROWS_PER_READ)).fetchall():
        yield [_draft(id_, body) for _, id_, body in rows]
        seq = rows[-1][0]


def _draft(id_: str, body: bytes) -> Draft:
    fields = {name: value for name, value in read_body(body).items() if value is not None}
    rest = {name: value for name, value in fields.items() if name not in _OWN}
    return id_, stamp_ns(str(fields["ts"])), str(fields["kind"]), rest


def _seq(log: OpenLog, id_: str) -> int:
    """Where a record is in the log; 0 when it is not."""
    row = log.connection.execute("SELECT seq FROM chron WHERE id = ?", (id_,)).fetchone()
    return int(row[0]) if row else 0


def _append(log: OpenLog, drafts: Sequence[Draft]) -> list[tuple[int, Draft]]:
    batch = Batch(log.seq, log.hash)
    batch.add(Entry(drafts))
    _, result = batch.results[0]
    if isinstance(result, ChronError):
        raise result
    if batch.rows:
        log.commit(batch.rows)
    return [(row[0], draft) for row, draft in zip(batch.rows, drafts, strict=True)]
