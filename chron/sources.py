"""Where a log is: a file, or one chain in a PostgreSQL database; and what readers ask of either.

    state/chron.db, sqlite:///var/lib/claiim/chron.db      a file; its path follows "sqlite://"
    postgresql://db.internal/claiim?chain=gate-1           the chain "gate-1" in the database "claiim"

What only files have says so:

    ChronError: chron "postgresql://db/c?chain=a" is in PostgreSQL, and segments are of files; give a log that is a file
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from chron.errors import ChronError

type Source = Path | str
"""A text that names a server is one; any other, and every path, is a file."""

_SERVER = ("postgresql://", "postgres://")
_FILE = "sqlite://"


class Cursor(Protocol):
    """What a statement gave."""

    def fetchone(self) -> Any:
        """The next row, None behind the last."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Row by row."""

    def close(self) -> object:
        """Done with it."""


class Connection(Protocol):
    """An open log, to be read with statements that SQLite and the tables in PostgreSQL both understand."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement; `?` stands for each value."""

    def close(self) -> None:
        """Close it; it is not used again."""


class OpenLog(Protocol):
    """A verified head and the means to append behind it. Not thread-safe; errors end it."""

    seq: int
    hash: bytes

    @property
    def path(self) -> Source:
        """What it is called in messages."""

    @property
    def connection(self) -> Connection:
        """For reading what the next records depend on."""

    @property
    def restored(self) -> Sequence[str]:
        """Guards that were missing and have been put back."""

    def require_settled(self) -> None:
        """Raise ChronError when what a failed run left may not be appended to."""

    def hash_at(self, seq: int) -> bytes:
        """The hash of a record, b"" when there is none."""

    def commit(self, rows: Sequence[Any], texts: Sequence[Any] = (), /) -> None:
        """Append the rows durably, all or none; blocks. After an error: `abandon`."""

    def beside(self) -> Mapping[str, Any]:
        """What each checkpoint says of the logs beside this one."""

    def empty(self, first: int, last: int) -> int:
        """Let the bodies [first, last] go that may, under a record that is there already; how many went."""

    def name_people(self, names: Mapping[str, str]) -> int:
        """Keep the names of people, by id; "" lets one go. How many are another than before."""

    def forget(self) -> bool:
        """See that what was emptied is gone from the disk; False when a reader prevents it."""

    def abandon(self) -> None:
        """Roll back and close; without complaint."""


class Storage(Protocol):
    """Watches what a log is written to. May be asked from any thread."""

    def adopt(self) -> None:
        """The log was opened anew."""

    def release(self) -> None:
        """The log was closed after a fault."""

    def give_back(self) -> bool:
        """Let room go that was reserved for finishing what was begun; whether there was any."""

    def close(self) -> None:
        """Leave nothing behind."""

    def scarce(self) -> str:
        """Why somebody should look, though everything is recorded; "" when nobody needs to."""

    def low(self) -> str:
        """Why nothing new should be recorded; "" when there is room."""

    def moved(self, *, fresh: bool = False) -> str:
        """Why what is written would be found by nobody; "" when it would."""


class Lock(Protocol):
    """The right to append to a log."""

    def release(self) -> None:
        """Give it up."""


class Store(Protocol):
    """One place where a log is kept, for whoever writes it."""

    @property
    def source(self) -> Source:
        """Where it is."""

    def take(self) -> Lock:
        """Take the right to append, or raise ChronError naming who has it."""

    def open(self, origin: str) -> OpenLog:
        """Open or create the log; raises ChronError when it cannot be appended to safely."""

    def watch(self, low_water_bytes: int) -> Storage:
        """Begin to watch the place, once the log is open."""

    def explained(self, error: BaseException) -> str:
        """A fault as one line with its remedy."""


def on_server(source: Source) -> bool:
    """Whether a log is in PostgreSQL."""
    return isinstance(source, str) and source.startswith(_SERVER)


def is_url(text: str) -> bool:
    """Whether a text can mean nothing but the place of a log."""
    return text.startswith((*_SERVER, _FILE))


def source_of(text: str, folder: Path = Path()) -> Source:
    """Where a text says the log is, a file from this folder on."""
    return text if text.startswith(_SERVER) else folder / text.removeprefix(_FILE)


def resolved(source: Source) -> Source:
    """The same place, wherever a process stands."""
    return source if on_server(source) else file_of(source, "").resolve()


def file_of(source: Source, what: str) -> Path:
    """The file of a log; raises ChronError for one that is in none, because `what` is of files alone."""
    if on_server(source):
        raise ChronError(f'chron "{source}" is in PostgreSQL, and {what}; give a log that is a file')
    return Path(str(source).removeprefix(_FILE) if isinstance(source, str) else source)
