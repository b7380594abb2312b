"""Whether a Chron file's tables, guards and indexes are as they were written, so that no query misses a record.

SQLite's own `integrity_check` answers that too, but in one thread and one long transaction, and half of its time goes
into the types of computed columns, which say nothing that the hashed bodies do not. So the indexes are held against the
records here, in short transactions and side by side:

    each record is found by its number, and by every index that should have it
    each index has as many entries as there are records that it should have, so it has no others

That every entry is found by search shows that the trees are in order. What stays for `integrity_check` are the small
tables, the list of free pages, and files with indexes of somebody else's. With `lint` it sees all of any file; without,
pages that nothing uses are not looked at, because no query does.

    the file is damaged: index "chron_deny" is not over the records
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial

from chron import schema
from chron.reading import connect_file
from chron.sources import Source, on_server

_WHAT = "pages and indexes of files are looked at here"
_INDEX_OF_IDS = "sqlite_autoindex_chron_1"
"""So SQLite names the index of a UNIQUE column: https://www.sqlite.org/fileformat2.html#intschema."""
_RECORDS_PER_LOOK = 20_000
"""A long transaction would keep a gate's write-ahead log from being emptied."""


@dataclass(frozen=True, slots=True)
class _Index:
    """An index of ours over `chron`; all of them have `seq` behind their first column, if only as the row's number."""

    name: str
    column: str
    """Or an expression over one."""
    condition: str
    """Which records it has; "" when all."""

    def joined(self, table: str) -> str:
        """SQL that looks record `r` up in an index over all, or all that have its column."""
        same = (
            self._same(table) if not self.condition else f"{table}.seq = r.seq AND {self._of(table)} = {self._of('r')}"
        )
        return f"LEFT JOIN chron AS {table} INDEXED BY {self.name} ON {same}"

    @property
    def by_join(self) -> bool:
        """Whether it has so many of the records that each is looked up in it."""
        return self.condition in ("", f"{self.column} IS NOT NULL")

    def wanted(self) -> str:
        """SQL for how many records it should have."""
        return f"count(*) FILTER (WHERE r.{self.condition})" if self.condition else "count(*)"

    def found(self, table: str) -> str:
        """SQL for how many of those it has.

        In an index over few only those are looked up, by a subquery; in the others all, by a join, because a subquery
        opens the index anew each time. A join leaves out by itself what has no key. Found is what leads to the record:
        SQLite reads the number in an entry from its end, and compares it from its beginning, so that a longer entry can
        be in its place and lead elsewhere.
        """
        if self.by_join:
            return f"count(*) FILTER (WHERE {table}.seq = r.seq)"
        where = f"{self._same(table)} AND {table}.{self.condition}"
        leads_to = f"(SELECT {table}.seq FROM chron AS {table} INDEXED BY {self.name} WHERE {where})"  # noqa: S608
        return f"count(*) FILTER (WHERE r.{self.condition} AND {leads_to} = r.seq)"

    def entries(self) -> str:
        """SQL for how many it has in all."""
        # Without any condition SQLite would count whichever index is smallest.
        where = self.condition or f"seq >= {-(2**63)}"
        return f"SELECT count(*) FROM chron AS r INDEXED BY {self.name} WHERE r.{where}"  # noqa: S608

    def _same(self, table: str) -> str:
        same_key = f" AND {self._of(table)} IS {self._of('r')}" if self.column != "seq" else ""
        return f"{table}.seq = r.seq{same_key}"

    def _of(self, table: str) -> str:
        function, opened, column = self.column.rpartition("(")
        return f"{function}{opened}{table}.{column}"


def _ours(texts: Mapping[str, str]) -> Iterator[_Index]:
    yield _Index(_INDEX_OF_IDS, "id", "")
    for name, text in texts.items():
        columns, _, condition = text.removeprefix(f"CREATE INDEX {name} ON chron").partition(" WHERE ")
        yield _Index(name, columns[1:-1].partition(",")[0], condition)


def _indexes(connection: sqlite3.Connection) -> tuple[_Index, ...]:
    return tuple(_ours(schema.indexes(connection)))


@cache
def _statement(indexes: tuple[_Index, ...]) -> str:
    """SQL that holds indexes against the records; an older file has some of them by other texts."""
    wanted = ", ".join(index.wanted() for index in indexes)
    found = ", ".join(index.found(f"i{at}") for at, index in enumerate(indexes))
    joins = " ".join(index.joined(f"i{at}") for at, index in enumerate(indexes) if index.by_join)
    # `count(n.leaf)` and not of the number, which SQLite would give without looking the record up. By number from the
    # last to the first: SQLite finds the next number beside the one before it, and does not search for it as a query
    # would. The chain is over the bytes of a body, and would not see that they are no text to a query any more.
    # The limit that is none keeps SQLite from reading a column out of the body again wherever it is named:
    # https://www.sqlite.org/optoverview.html, "Subquery Flattening".
    columns = ", ".join(("seq", "id", *schema.INDEXED))
    return f"""
SELECT count(*), {wanted}, count(n.leaf) FILTER (WHERE typeof(n.body) <> 'blob'), {found}
FROM (SELECT {columns} FROM chron NOT INDEXED WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT -1) AS r
LEFT JOIN chron AS n NOT INDEXED ON n.seq = ?1 + 1 + ?2 - r.seq {joins}"""  # noqa: S608 -- all texts are ours


_OTHER_INDEXES = """
SELECT count(*) FROM sqlite_master
WHERE type = 'index' AND lower(tbl_name) = 'chron' AND name NOT IN (SELECT value FROM json_each(?))"""
_OTHER_TABLES = "SELECT CAST(name AS TEXT) FROM sqlite_master WHERE type = 'table' AND name <> 'chron'"

type _Counts = list[int]
"""Records, and those that each index should have; then how many were found by number, and by each index."""


def fault(path: Source, *, whole: bool, lint: bool, jobs: int) -> str:
    """What is wrong with the file, "" when nothing is.

    Without `whole` only tables and guards are looked at; `lint` has SQLite's own check look at everything as well.
    """
    if isinstance(path, str) and on_server(path):
        from chron.postgres.connection import connect_chain  # needs the driver
        from chron.postgres.structure import fault as fault_on_server

        with closing(connect_chain(path)) as chain:
            return fault_on_server(chain, whole=whole)
    with closing(connect_file(path, _WHAT)) as connection:
        try:
            if wrong := schema.faults(connection):
                return f"{wrong[0]}: the tables or their guards are not as they were written"
            found = (_small_fault(connection, lint) or _index_fault(path, connection, jobs)) if whole else ""
        except sqlite3.DatabaseError as error:
            found = str(error)
    return f"the file is damaged: {found}" if found else ""


def _small_fault(connection: sqlite3.Connection, everything: bool) -> str:
    # The list of free pages comes with sqlite_schema: https://www.sqlite.org/pragma.html#pragma_integrity_check
    ours = json.dumps([_INDEX_OF_IDS, *schema.indexes(connection)])
    others = connection.execute(_OTHER_INDEXES, (ours,)).fetchone()[0]
    tables = ["sqlite_schema", *(name for (name,) in connection.execute(_OTHER_TABLES))]
    quoted = [f"('{name.replace("'", "''")}')" for name in tables]
    for each in [""] if everything or others else quoted:
        told = connection.execute(f"PRAGMA integrity_check{each}").fetchone()[0]
        if told != "ok":
            return str(told)
    return ""


def _index_fault(path: Source, connection: sqlite3.Connection, jobs: int) -> str:
    first, last, records = connection.execute("SELECT min(seq), max(seq), count(*) FROM chron").fetchone()
    # Where records are missing, one of an absurd number could ask for looks without end: then all is one look.
    first, last = (first, last) if records and records == last - first + 1 else (1, 0)
    with ThreadPoolExecutor(jobs) as pool:
        looked = list(pool.map(partial(_look, path, last), range(first - 1, last, _RECORDS_PER_LOOK)))
    connection.execute("BEGIN")
    newest = connection.execute("SELECT max(seq) FROM chron").fetchone()[0] or 0
    found = _compared(connection, [*looked, _counts(connection, last, newest)])
    if found:
        # A body may have gone between two looks, under a record that says so. In one transaction nothing can.
        found = _compared(connection, [_counts(connection, first - 1, newest)])
    connection.execute("COMMIT")
    return found


def _look(path: Source, last: int, start: int) -> _Counts:
    with closing(connect_file(path, _WHAT)) as connection:
        # 16 MB, so that the pages of the indexes are not pushed out by those of the records that go by.
        connection.execute("PRAGMA cache_size = -16000").close()
        return _counts(connection, start, min(start + _RECORDS_PER_LOOK, last))


def _counts(connection: sqlite3.Connection, after_seq: int, last: int) -> _Counts:
    return list(connection.execute(_statement(_indexes(connection)), (after_seq, last)).fetchone())


def _compared(connection: sqlite3.Connection, looked: Iterable[_Counts]) -> str:
    """What is wrong with the sums of all looks."""
    sums = [sum(column) for column in zip(*looked, strict=True)]
    half = len(sums) // 2
    records, by_number = sums[0], sums[half]
    if by_number != records:
        return f"{records - by_number} records are not found by their number, or not as text"
    for index, wanted, found in zip(_indexes(connection), sums[1:half], sums[half + 1 :], strict=True):
        if not wanted == found == connection.execute(index.entries()).fetchone()[0]:
            return f'index "{index.name}" is not over the records'
    return ""
