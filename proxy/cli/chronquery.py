"""`claiim chron query`: find records by a filter, count them, or ask with SQL. Reads, and writes nothing.

claiim chron query agent=deploy-bot outcome=DENY since=24h
claiim chron query 'action~"k8s:*" not host=staging.test' --format csv
claiim chron query since=7d --group-by agent,action
claiim chron query --sql "SELECT host, count(*) FROM decisions GROUP BY host"
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from chron import Record, printable
from chron.chains import OF_CHAIN, Logs, counted, every, logs_of, newest
from chron.filtering import SYNTAX, All, Compare, Filter, check_field, decisions_unless_named, parse_filter
from chron.freesql import Answer, ask_sql
from chron.querying import Count, counts, each, page
from chron.sources import Source, is_url, source_of
from chron.times import time_text
from proxy.cli.chron import COLOURS, COLUMNS, colour, for_people, log_options, outcome_option, print_record, when
from proxy.cli.options import EXIT_USAGE, fail, json_option
from proxy.cli.tables import print_table
from proxy.exports.csvs import csv_row

_DEFAULT_LIMIT = 1000
_ALL = 2**31
_FORMATS = ("table", "lines", "jsonl", "json", "csv")
_MOST_NAME_BYTES = 255
"""Of a file on Linux and macOS; what is longer is a filter, and looking for such a file is an error in Python 3.12."""
_OPERATORS = frozenset('=~<>!()" ')


class Words(click.Command):
    """A command whose arguments may begin with the path or URL of a Chron, then a filter in one or several words."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print how a filter is written."""
        with formatter.section("Filters"):
            for line in SYNTAX.splitlines():
                formatter.write(f"  {line}\n")


def path_and_filter(ctx: click.Context, _: click.Parameter, words: tuple[str, ...]) -> str:
    """Tell the place of a Chron, if one is named first, from the filter behind it, which is returned."""
    if words and _is_place(words[0]):
        ctx.params["path"] = source_of(words[0])
        words = words[1:]
    return " ".join(words)


def _is_place(word: str) -> bool:
    if is_url(word):
        return True
    plain, named = not _OPERATORS.intersection(word), word.endswith(".db")
    there = len(word) <= _MOST_NAME_BYTES and Path(word).is_file()
    return (plain and (named or there or "/" in word)) or (named and there)


filter_argument = click.argument("text", nargs=-1, metavar="[CHRON] [FILTER]...", callback=path_and_filter)


def selection(
    text: str,
    *,
    kind: str | None = None,
    same: Mapping[str, str | None] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Filter:
    """A filter and what options say besides, as one; decisions only, unless something names a kind."""
    asked = parse_filter(text, datetime.now(UTC))
    if kind is None:
        asked = decisions_unless_named(asked)
    parts = [asked]
    for name, value in (same or {}).items():
        if value:
            parts.append(Compare(name, "~" if name == "action" and "*" in value else "=", (value,)))
    if since:
        parts.append(Compare("ts", ">=", (time_text(since),)))
    if until:
        parts.append(Compare("ts", "<", (time_text(until),)))
    if kind and kind != "all":
        parts.append(Compare("kind", "=", (kind,)))
    return All(tuple(parts))


@click.command("query", cls=Words)
@filter_argument
@click.option("--agent", default="")
@click.option("--anchor", default="")
@click.option("--action", default="", help="An action; * matches anything.")
@outcome_option
@click.option("--host", default="")
@click.option("--since", callback=when, help='"24h", "7d" or an ISO 8601 time.')
@click.option("--until", callback=when, help="As --since; not included.")
@click.option(
    "--limit", type=click.IntRange(0), default=_DEFAULT_LIMIT, show_default=True, help="The newest N; 0 = all."
)
@click.option("--cursor", type=click.IntRange(1), help="Go on before this place: the seq that a page ended with.")
@click.option("--kind", help='Kind of record; "all" for every kind.  [default: decision]')
@click.option("--group-by", "grouped", help="Count by these fields instead: agent,action.")
@click.option("--sql", "statement", help="Ask with a SELECT of your own instead of a filter.")
@click.option("--most-s", type=click.FloatRange(0), default=60.0, show_default=True, help="Give up after; 0 = never.")
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="[default: a table, or lines when not on a terminal]"
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@log_options
def query_command(
    path: Source,
    text: str,
    limit: int,
    cursor: int | None,
    grouped: str | None,
    statement: str | None,
    most_s: float,
    form: str | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Find records: decisions, unless the filter or --kind names another kind.

    The URL of a database that names no chain means all of its chains.
    """
    form = form or ("jsonl" if as_json else "csv" if as_csv else "table" if for_people() else "lines")
    if statement is not None:
        if text or grouped or cursor:
            fail("--sql asks alone; write the filter and the grouping into the statement", EXIT_USAGE)
        _print_answer(ask_sql(path, statement, limit=limit or _ALL, most_s=most_s), form)
        return
    times = {name: options.pop(name) for name in ("since", "until")}
    asked = selection(text, kind=options.pop("kind"), same=options, **times)
    logs = logs_of(path)
    if grouped:
        names = [name.strip() for name in grouped.split(",")]
        fields = [check_field(name) for name in names]
        how: dict[str, Any] = {"limit": limit or _ALL, "most_s": most_s}
        found = counted(logs, asked, fields, **how) if logs else counts(path, asked, fields, **how)
        _print_counts(names, found, form)
    elif logs:
        _query_all(logs, asked, limit, cursor, most_s, form)
    else:
        _query_one(path, asked, limit, cursor, most_s, form)


def _query_all(logs: Logs, asked: Filter, limit: int, cursor: int | None, most_s: float, form: str) -> None:
    if cursor:
        fail(f'--cursor is a place in one chain; add "?chain=NAME", one of {", ".join(logs)}', EXIT_USAGE)
    records, more = newest(logs, asked, limit=limit, most_s=most_s) if limit else (every(logs, asked), False)
    _print_records(records, form, (OF_CHAIN,))
    if more:
        click.echo(f"these are the newest {limit}; --limit 0 shows all", err=True)


def _query_one(path: Source, asked: Filter, limit: int, cursor: int | None, most_s: float, form: str) -> None:
    if not limit:
        before = (Compare("seq", "<", (str(cursor),)),) if cursor else ()
        _print_records(each(path, All((asked, *before))), form)
        return
    found = page(path, asked, limit=limit, before=cursor or 0, most_s=most_s)
    _print_records(found.records, form)
    if found.cursor:
        click.echo(f"these are the newest {limit}; --limit 0 shows all, --cursor {found.cursor} those before", err=True)


def _print_records(records: Iterable[Record], form: str, more: tuple[str, ...] = ()) -> None:
    match form:
        case "csv":
            columns = (*COLUMNS, *more)
            rows = ((record.seq, record.kind, *(record.text(name) for name in columns)) for record in records)
            _print_csv(("seq", "kind", *columns), rows)
        case "table":
            _print_table(records, more)
        case "json":
            click.echo(json.dumps([dict(record.fields) for record in records], indent=2, ensure_ascii=False))
        case _:
            for record in records:
                print_record(record, form == "jsonl")


def _print_counts(names: Sequence[str], found: Sequence[Count], form: str) -> None:
    columns = ("count", *names, "first", "last")
    rows = [(one.records, *one.values, one.first, one.last) for one in found]
    _print_rows(columns, rows, form)


def _print_answer(answer: Answer, form: str) -> None:
    _print_rows(answer.columns, answer.rows, form)
    if answer.more:
        click.echo("there are more rows; --limit 0 shows all", err=True)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], form: str) -> None:
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    match form:
        case "csv":
            _print_csv(columns, rows)
        case "json":
            click.echo(json.dumps(objects, indent=2, ensure_ascii=False))
        case "jsonl":
            for one in objects:
                click.echo(json.dumps(one))
        case _:
            print_table(columns, [["-" if value is None else value for value in row] for row in rows])


def _print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    for row in (columns, *rows):
        click.echo(csv_row(row))


def _print_table(records: Iterable[Record], more: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "time",
        "outcome",
        "agent",
        "anchor",
        "action",
        "target",
        "reason",
        "id",
        *(name.removeprefix("of_") for name in more),
        box=None,
    )
    for record in records:
        text = {name: printable(record.text(name)) for name in (*COLUMNS, *more)}
        outcome = Text(text["outcome"] or printable(record.kind), style=COLOURS.get(text["outcome"], ""))
        cells = [Text(text[name]) for name in ("agent", "anchor", "action", "target", "reason")]
        table.add_row(text["ts"][:19] + "Z", outcome, *cells, Text(text["id"], no_wrap=True), *map(text.get, more))
    Console(color_system="auto" if colour() else None).print(table)
