"""A copy of a log in the hands of somebody who owns the file: what a drill harms, never the log itself."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from chron import schema
from chron.body import canonical
from chron.chain import chain_hash, leaf_hash
from chron.errors import ChronError
from chron.reading import connect_file
from chron.sources import Source

type Fields = dict[str, str | int | bool]


class Stopped(Exception):
    """The tables themselves refused the attack."""


class Copy:
    """A copy of a log, in the hands of the file's owner."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path, self.chance = path, chance

    def run(self, *statements: tuple[str, tuple[object, ...]], guarded: bool = False) -> None:
        """Run statements with the guards down, and put them up again; or against the guards."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as owner:
            if guarded:
                for statement, values in statements:
                    owner.execute(statement, values)
                return
            owner.execute("BEGIN")
            for name in schema.GUARDS:
                owner.execute(f"DROP TRIGGER IF EXISTS {name}")
            for statement, values in statements:
                owner.execute(statement, values)
            for text in schema.GUARDS.values():
                owner.execute(text)
            owner.execute("COMMIT")

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as reader:
            return reader.execute(statement, values).fetchall()

    def some(self, condition: str = "1") -> int:
        """A record that has a body, not the first one, and for which this holds."""
        count = f"SELECT count(*) FROM chron WHERE seq > 1 AND body IS NOT NULL AND {condition}"  # noqa: S608 -- ours
        number = self.rows(count)[0][0]
        if not number:
            raise ChronError("the log has no such record")
        nth = f"SELECT seq FROM chron WHERE seq > 1 AND body IS NOT NULL AND {condition} ORDER BY seq LIMIT 1 OFFSET ?"  # noqa: S608
        return int(self.rows(nth, self.chance.randrange(number))[0][0])

    def last(self) -> int:
        """The last record."""
        return int(self.rows("SELECT max(seq) FROM chron")[0][0])

    def body(self, seq: int) -> Fields:
        """What a record says."""
        found: Fields = json.loads(str(self.rows("SELECT body FROM chron WHERE seq = ?", seq)[0][0]))
        return found

    def rehash(self, changed: dict[int, Fields]) -> None:
        """Put other bodies in the place of some, and hash everything behind them anew."""
        first = min(changed)
        before = self.rows("SELECT hash FROM chron WHERE seq = ?", first - 1)[0][0]
        statements: list[tuple[str, tuple[object, ...]]] = []
        for seq, body, leaf in self.rows(
            "SELECT seq, CAST(body AS BLOB), leaf FROM chron WHERE seq >= ? ORDER BY seq", first
        ):
            if seq in changed:
                text, body = canonical(changed[seq])
                leaf = leaf_hash(body)
                update = "UPDATE chron SET id = ?, body = ?, leaf = ? WHERE seq = ?"
                statements.append((update, (changed[seq]["id"], text, leaf, seq)))
            before = chain_hash(before, leaf)
            statements.append(("UPDATE chron SET hash = ? WHERE seq = ?", (before, seq)))
        self.run(*statements)


def copy_log(path: Source, target: Path) -> None:
    """Copy a log as it is now, also while it is written."""
    with (
        closing(connect_file(path, "files are drilled")) as log,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        log.backup(copy)
        copy.execute("PRAGMA journal_mode = WAL").close()
