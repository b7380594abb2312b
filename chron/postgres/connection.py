"""A connection to one chain that understands the statements of readers of files.

The tables have the same names and columns as in a file and bring along what SQLite has built in (`schema.sql`). What is
left to translate is how values are marked and how a text becomes bytes; a statement that this misses is a syntax error,
never another question.
"""

import functools
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chron.errors import ChronError, ServerAwayError, too_slow
from chron.postgres.place import Place
from chron.sources import Cursor

if TYPE_CHECKING:
    import psycopg

_PARAMETERS = {
    "connect_timeout": 10,
    # A server that is gone without a word is noticed, also in the middle of a commit.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "claiim",
    "client_encoding": "utf8",
}
_SETTINGS = "SELECT set_config('search_path', 'claiim', false), set_config('claiim.chain', %s, false)"
_THERE = "SELECT 1 FROM chron LIMIT 1"
_CHAINS = "SELECT chain FROM chains WHERE chain <> 'directory' ORDER BY chain"


class ServerConnection:
    """One chain, open; every error is a ChronError with what to do about it."""

    def __init__(self, source: str, raw: "psycopg.Connection[Any]", most_s: float = 0) -> None:
        self.source, self.raw = source, raw
        self._most_s = most_s

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run a statement as it is written for a file."""
        try:
            return self.raw.execute(translated(statement), values)
        except driver().Error as error:
            raise explained(self.source, error, self._most_s) from error

    def close(self) -> None:
        """Close it, without complaint."""
        with suppress(driver().Error):
            self.raw.close()


@functools.cache
def translated(statement: str) -> str:
    """A statement for SQLite as one for the driver."""
    return statement.replace("%", "%%").replace("?", "%s").replace("CAST(body AS BLOB)", "convert_to(body, 'UTF8')")


def driver() -> Any:
    """The driver, psycopg; raises ChronError where it is not installed."""
    try:
        import psycopg
    except ImportError:
        raise ChronError('a Chron in PostgreSQL needs psycopg; install "claiim-gate[postgres]"') from None
    return psycopg


def connected(source: str, *, reads: bool = True, most_s: float = 0) -> ServerConnection:
    """Connect to the database and look at the chain that the URL names, if it does; raises ChronError."""
    place = Place.read(source)
    psycopg = driver()
    try:
        raw = psycopg.connect(place.url, autocommit=True, prepare_threshold=None, **_PARAMETERS)
        try:
            raw.execute(_SETTINGS, (place.chain,))
            if reads:
                raw.execute("SET default_transaction_read_only = on")
            if most_s:
                raw.execute("SELECT set_config('statement_timeout', %s, false)", (f"{max(1, int(most_s * 1000))}ms",))
        except BaseException:
            raw.close()
            raise
    except psycopg.Error as error:
        raise explained(source, error) from error
    return ServerConnection(source, raw, most_s)


def connect_chain(source: str, most_s: float = 0) -> ServerConnection:
    """Open one chain read-only; raises ChronError when the URL names none, or one that is not there."""
    connection = connected(source, most_s=most_s)
    try:
        place = Place.read(source)
        if not place.chain:
            raise ChronError(f'"{source}" names no chain; {_known(connection)}')
        if connection.execute(_THERE).fetchone() is None:
            raise ChronError(f'there is no chain "{place.chain}" at "{place.url}"; {_known(connection)}')
    except BaseException:
        connection.close()
        raise
    return connection


def is_there(source: str) -> bool:
    """Whether the chain has a record; raises ChronError when that cannot be seen."""
    connection = connected(source)
    try:
        return connection.execute(_THERE).fetchone() is not None
    finally:
        connection.close()


def chains(source: str) -> list[str]:
    """The chains of a database by name."""
    connection = connected(source)
    try:
        return [chain for (chain,) in connection.execute(_CHAINS)]
    finally:
        connection.close()


def _known(connection: ServerConnection) -> str:
    names = [chain for (chain,) in connection.execute(_CHAINS)]
    if not names:
        return 'start "claiim serve" first'
    return f'add "?chain=NAME"; there are {", ".join(names[:20])}{" and more" if len(names) > 20 else ""}'


def explained(source: str, error: Exception, most_s: float = 0) -> ChronError:
    """An error of the driver or the server as one line with its remedy."""
    errors = driver().errors
    detail = (str(error).strip() or type(error).__name__).splitlines()[0]
    if most_s and isinstance(error, errors.QueryCanceled):
        return too_slow(most_s)
    if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction | errors.InvalidSchemaName):
        return ChronError(f'there is no Chron at "{source}" ({detail}); run "claiim chron init-db URL"')
    if isinstance(error, errors.InsufficientPrivilege):
        remedy = 'grant it "claiim_writer" to append or "claiim_reader" to read'
        return ChronError(f'the role of "{source}" may not do this ({detail}); {remedy}')
    if isinstance(error, errors.RaiseException):
        return ChronError(f'the server refused a record of "{source}": {detail}; see the log of the gate')
    if isinstance(error, errors.DiskFull):
        return ServerAwayError(f'cannot record in "{source}": disk full ({detail}); free some space on the server')
    # Of the connection or the server, and not of what was asked.
    kind = ServerAwayError if isinstance(error, errors.OperationalError | errors.InterfaceError) else ChronError
    return kind(f'cannot use chron "{source}": {detail}; see that the server runs and lets this role in')
