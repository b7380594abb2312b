"""The one writing connection to a chain: it holds the chain's lock, knows its head, and appends batches.

The lock is the server's and belongs to this session:
https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS. So when a connection is lost in the middle of a
commit, nobody appends, and no new session of ours reads the head, before the server has ended the old one and with it
decided that commit: what is in doubt is read back, never guessed.

Durable means that the server says so: `synchronous_commit` is set here and looked at by a trigger with every batch,
with `fsync` and `full_page_writes`, which somebody may turn off while the server runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chron.body import Fields
from chron.ending import verified_end
from chron.errors import ChronError
from chron.ledger import NewRow, NewText
from chron.postgres.connection import ServerConnection, connected, driver, explained
from chron.postgres.directory import (
    DIRECTORY,
    directory_head,
    entry,
    last_seen,
    lock_number,
    require_same,
    worth_telling,
)
from chron.postgres.place import Place
from chron.postgres.structure import guard_fault

_BEGIN = (
    "SELECT set_config('synchronous_commit', "
    "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)",
    # A server that waits for ever holds up every request; what it gives up is refused, and nothing is forwarded.
    "SET statement_timeout = '30s'",
    "SET idle_in_transaction_session_timeout = '30s'",
    # A session whose gate is gone gives the lock up as soon as the server can know.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 20000",
)
_WHO = "SELECT pg_backend_pid(), pg_is_in_recovery()"
_WAIT = "SET lock_timeout = '2s'"
"""For the lock of the chain: a session that has just ended may still have it."""
_NO_LONGER = "RESET lock_timeout"
_LOCK = "SELECT pg_advisory_lock(%s)"
_HOLDER = """
SELECT a.application_name, a.usename, a.client_addr FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32) + l.objid::bigint = %s"""
_INSERT = """
INSERT INTO records(chain, seq, id, body, leaf, hash)
SELECT %s, seq, id, body, leaf, hash
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[], %s::bytea[]) WITH ORDINALITY
  AS new(seq, id, body, leaf, hash, place) ORDER BY place"""
_INSERT_TEXT = """
INSERT INTO artefacts(chain, seq, kind, id, version, digest, text)
SELECT %s, new.* FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) AS new"""
_HASH = "SELECT hash FROM chron WHERE seq = ?"

_ALONE = "canceling wait for synchronous replication"
"""The server's warning that a commit is on its own disk and on no other: it then says all the same that it is done."""


class ServerLedger:
    """A verified head and the means to append behind it. Not thread-safe; errors end it."""

    restored: Sequence[str] = ()

    def __init__(self, source: str, connection: ServerConnection) -> None:
        self.path = source
        self.connection = connection
        self.seq, self.hash = 0, b""
        self._chain = Place.read(source).chain
        self._warned = ""
        self._seen: Fields = {}
        """The last that was seen of the directory."""
        self.event = ""
        """What the directory is told has happened, where the records do not say it."""
        connection.raw.add_notice_handler(self._notice)

    @classmethod
    def open(cls, source: str, origin: str) -> "ServerLedger":
        """Take the lock of the chain and look at its end; raises ChronError when it cannot be appended to safely."""
        connection = connected(source, reads=False)
        try:
            for statement in _BEGIN:
                connection.raw.execute(statement)
            ledger = cls(source, connection)
            ledger._lock()
            if wrong := guard_fault(connection):
                raise ChronError(f'chron "{source}" is not guarded: {wrong}; run "claiim chron init-db URL" again')
            ledger.seq, ledger.hash = verified_end(connection, source, origin)
            ledger._seen = last_seen(connection.raw, ledger._chain)
            ledger.beside()
        except BaseException as error:
            connection.close()
            if isinstance(error, driver().Error):
                raise explained(source, error) from error
            raise
        return ledger

    def _lock(self) -> None:
        number = lock_number(self._chain)
        pid, standby = self.connection.raw.execute(_WHO).fetchone() or (0, False)
        if standby:
            raise ChronError(f'the server of "{self.path}" is a standby, which takes no records; name the primary')
        if pid != self.connection.raw.info.backend_pid:
            # Its sessions are lent from one client to the next, and the lock with them.
            raise ChronError(f'a pooler stands before "{self.path}"; connect to the server itself, or pool by session')
        try:
            self.connection.raw.execute(_WAIT)
            self.connection.raw.execute(_LOCK, (number,))
            self.connection.raw.execute(_NO_LONGER)
        except driver().errors.LockNotAvailable:
            holder = self.connection.raw.execute(_HOLDER, (number,)).fetchone()
            by = f"by {holder[0] or 'a program'} as {holder[1]} from {holder[2] or 'its own host'}" if holder else ""
            raise ChronError(
                f'chron "{self.path}" is open in another process {by}; stop that gate first, or give this one a chain '
                "of its own"
            ) from None

    def require_settled(self) -> None:
        """A session that has the lock sees all that the one before it committed."""

    def hash_at(self, seq: int) -> bytes:
        """The hash of a record, b"" when there is none."""
        row = self.connection.execute(_HASH, (seq,)).fetchone()
        return row[0] if row else b""

    def commit(self, rows: Sequence[NewRow], texts: Sequence[NewText] = (), /) -> None:
        """Append the rows durably, all or none; blocks until the server has them on disk. After an error: `abandon`."""
        raw = self.connection.raw
        self._warned = ""
        try:
            if not texts and not worth_telling(rows):
                raw.execute(_INSERT, (self._chain, *_columns(rows)))  # a transaction of its own, in one exchange
            else:
                with raw.transaction():
                    raw.execute(_INSERT, (self._chain, *_columns(rows)))
                    if texts:
                        raw.execute(_INSERT_TEXT, (self._chain, *_columns(texts)))
                    if worth_telling(rows):
                        raw.execute(_INSERT, (DIRECTORY, *_columns(entry(raw, self._chain, rows, self.event))))
        except driver().Error as error:
            raise explained(self.path, error) from error
        if self._warned:
            raise ChronError(f'a standby of "{self.path}" did not get the records: {self._warned}; look at it')
        self.seq, self.hash = rows[-1][0], rows[-1][4]

    def beside(self) -> Fields:
        """Where the directory stands, which knows all chains; raises ChronError when it is another than before."""
        try:
            require_same(self.connection.raw, self._chain, self._seen)
            self._seen = directory_head(self.connection.raw)
            return self._seen
        except driver().Error as error:
            raise explained(self.path, error) from error

    def empty(self, first: int, last: int) -> int:
        """Let the bodies [first, last] go that may, under a record that is there already; how many went."""
        row = self.connection.execute("SELECT empty(?, ?, ?)", (self._chain, first, last)).fetchone()
        return int(row[0])

    def name_people(self, names: Mapping[str, str]) -> int:
        """Keep the names of people, by id; "" lets one go. How many are another than before."""
        known = dict(self.connection.execute("SELECT id, name FROM person").fetchall())
        changed = [(id_, name) for id_, name in names.items() if known.get(id_, "") != name]
        try:
            with self.connection.raw.transaction():
                for id_, name in changed:
                    self.connection.execute("DELETE FROM persons WHERE chain = ? AND id = ?", (self._chain, id_))
                    if name:
                        self.connection.execute("INSERT INTO persons VALUES (?, ?, ?)", (self._chain, id_, name))
        except driver().Error as error:
            raise explained(self.path, error) from error
        return len(changed)

    def forget(self) -> bool:
        """Say that plain text is still on the server: in pages until they are used again, and in its archives."""
        return False

    def abandon(self) -> None:
        """Close the session, and with it give the lock up; without complaint."""
        self.connection.close()

    def _notice(self, notice: Any) -> None:
        if _ALONE in (notice.message_primary or ""):
            self._warned = notice.message_primary


class ServerStore:
    """The place of one chain."""

    def __init__(self, source: str) -> None:
        self.source = source
        if Place.read(source).chain in ("", DIRECTORY):
            raise ChronError(f'"{source}" names no chain of a gate; add "?chain=NAME", a name of its own for each')

    def take(self) -> "ServerStore":
        """The lock is the session's: `open` takes it, and the end of the session gives it up."""
        driver()
        return self

    def release(self) -> None:
        """Nothing is held here."""

    def open(self, origin: str) -> ServerLedger:
        """Open the chain, which begins with its first record; raises ChronError."""
        return ServerLedger.open(self.source, origin)

    def watch(self, low_water_bytes: int) -> "Elsewhere":  # noqa: ARG002 -- the server's disk is not seen from here
        """The server looks after its disk; one that is full refuses the record."""
        return Elsewhere()

    def explained(self, error: BaseException) -> str:
        """A fault as one line with its remedy."""
        if isinstance(error, driver().Error):
            return str(explained(self.source, error))
        return f'cannot record in "{self.source}": {error or type(error).__name__}; see the log of the gate'


class Elsewhere:
    """The storage of a log that another machine looks after."""

    def adopt(self) -> None:
        """Nothing is watched."""

    release = close = adopt

    def give_back(self) -> bool:
        """Nothing is reserved."""
        return False

    def scarce(self) -> str:
        """Not seen from here."""
        return ""

    low = scarce

    def moved(self, *, fresh: bool = False) -> str:  # noqa: ARG002
        """The connection itself shows that."""
        return ""


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
