"""`claiim chron stats`: the log in numbers. Reads, and writes nothing.

claiim chron stats
claiim chron stats agent=deploy-bot --since 30d
"""

import json
from dataclasses import asdict
from datetime import datetime, timedelta

import click

from chron import printable
from chron.sources import Source, on_server
from chron.statistics import Statistics, statistics
from proxy.cli.chron import log_options, when
from proxy.cli.chronquery import Words, filter_argument, selection
from proxy.cli.options import json_option
from proxy.cli.tables import print_table

_DAYS = 14


@click.command("stats", cls=Words)
@filter_argument
@click.option("--since", callback=when, help='"24h", "7d" or an ISO 8601 time.')
@click.option("--until", callback=when, help="As --since; not included.")
@json_option
@log_options
def stats_command(path: Source, text: str, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Count records by kind and outcome, measure room and pace, and name the longest silences."""
    found = statistics(path, selection(text, kind="all", since=since, until=until))
    if as_json:
        click.echo(json.dumps({"path": str(path), **asdict(found)}, indent=2))
    else:
        _print(found, "the tables of all chains have" if on_server(path) else "the file has")


def _print(found: Statistics, room: str) -> None:
    size = f"{found.file_bytes / 1_000_000:.1f} MB in all"
    each = f", {found.body_bytes // found.records} bytes each" if found.records else ""
    click.echo(f"{found.records} records{each}; {room} {size}")
    if not found.records:
        return
    click.echo(f"from {found.first} to {found.last}")
    click.echo(f"busiest minute {found.busiest[0]}Z: {found.busiest[1]}")
    click.echo(f"runs that did not end in order: {found.unclean}; clock set back: {found.clock_back}\n")
    print_table(("kind", "what", "records"), [(kind or "(erased)", what or "-", n) for kind, what, n in found.kinds])
    click.echo("")
    print_table(("day", "records"), found.days[-_DAYS:])
    if found.silences:
        click.echo("")
        rows = [(timedelta(seconds=each.seconds), each.since, each.until) for each in found.silences]
        print_table(("silence", "since", "until"), [tuple(printable(str(cell)) for cell in row) for row in rows])
