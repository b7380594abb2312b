"""Making the tables of the Chron in a database, or putting back guards that somebody dropped; no record changes."""

from contextlib import closing

from chron.errors import ChronError
from chron.postgres.connection import connected, driver, explained
from chron.postgres.structure import script
from chron.sources import on_server


def make_tables(source: str) -> None:
    """Run the script in one transaction; raises ChronError, and then nothing is made."""
    if not on_server(source):
        raise ChronError(f'"{source}" is no database; write postgresql://HOST/DATABASE (a file needs no tables made)')
    with closing(connected(source, reads=False)) as connection:
        try:
            connection.raw.execute(script())
        except driver().errors.InsufficientPrivilege as error:
            detail = str(error).splitlines()[0]
            raise ChronError(
                f'the role of "{source}" may not make the tables ({detail}); give another role, '
                'or the text of "claiim chron init-db --print" to whoever has one'
            ) from None
        except driver().Error as error:
            raise explained(source, error) from error
