"""`claiim chron`: look at the log of decisions and prove it unchanged. Nothing here writes.

    claiim chron tail -f --outcome DENY
    claiim chron query agent=deploy-bot since=24h         (`proxy.cli.chronquery`)
    claiim chron export --format ocsf -o chron.jsonl      (`proxy.cli.chronexport`)
    claiim chron stats                                    (`proxy.cli.chronstats`)
    claiim chron show chr_01k...
    claiim chron verify state/chron.db                    (`proxy.cli.chronevidence`)
    claiim chron replay --since 7d

Which Chron: the path or URL given, else `--chron`, else the configuration's. JSON is one object per line. Exit codes:
0 ok, 1 tampered or not found, 2 usage or no readable Chron, 78 bad configuration.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from chron import ChronError, Record, Shown, TextLine, follow, people, printable, show, tail, why_gone
from chron.chains import OF_CHAIN, ends_of, follow_all, logs_of, tail_all
from chron.sources import Source
from chron.times import TIMES, past
from proxy.cli.lazy import LazyGroup
from proxy.cli.options import EXIT_USAGE, LOG, config_option, fail, json_option, located_errors

_LOOK_EVERY_S = 0.3

_HUMANS = frozenset({"anchor", "by", "human", "requested_by", "approved_by"})
"""Fields that hold the id of a human, whose name may be known."""
COLUMNS = ("ts", "outcome", "agent", "anchor", "action", "target", "host", "reason", "id")
COLOURS = {"ALLOW": "green", "DENY": "red", "HOLD": "yellow"}


def when(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """`24h`, `7d` (before now), or an ISO 8601 time; without a zone it is UTC."""
    if value is None:
        return None
    if (at := past(value, datetime.now(UTC))) is None:
        raise click.BadParameter(f'"{value}" is not a time; write {TIMES}', ctx, param)
    return at


def log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --chron and -c, hand the command the path they lead to, and end it with one line on an error."""

    @functools.wraps(command)
    def wrapper(config_path: Path | None, chron_path: Source | None, path: Source | None = None, **rest: Any) -> None:
        try:
            command(path=path or chron_path or configured(config_path), **rest)
        except ChronError as error:
            fail(printable(str(error)), EXIT_USAGE)

    option = click.option("--chron", "chron_path", type=LOG, help="The Chron: a file or a URL.")
    return config_option(option(located_errors(wrapper)))


def configured(config_path: Path | None) -> Source:
    """The Chron that the configuration names."""
    from proxy.configloading import load_config  # needs the YAML reader and pydantic: not for a look at a file

    return load_config(config_path).chron


path_argument = click.argument("path", required=False, type=LOG)
outcome_option = click.option("--outcome", type=click.Choice(["ALLOW", "DENY", "HOLD"], case_sensitive=False))
_kind_option = click.option(
    "--kind", default="decision", show_default=True, help='Kind of record; "all" for every kind.'
)


class _Commands(LazyGroup):
    """The commands of this module, and those of others, imported on first use."""

    table = {  # noqa: RUF012 -- declared by LazyGroup
        "verify": ("proxy.cli.chronevidence:verify", "Prove that no record was changed, cut off or replaced."),
        "checkpoint": ("proxy.cli.chronevidence:checkpoint", "Print a signed checkpoint, or sign one now."),
        "prove": ("proxy.cli.chronevidence:prove", "Write a proof that one record is in the log."),
        "check": ("proxy.cli.chronevidence:check", "Check a proof of a record, without the log."),
        "key": ("proxy.cli.chronevidence:key", "The key that signs the log: show it, change it, make one."),
        "drill": ("proxy.cli.chrondrill:drill", "Attack copies of the log and say what notices."),
        "anchor": ("proxy.cli.chronevidence:anchor", "The places outside the log that keep its checkpoints."),
        "verifier": ("proxy.cli.chronevidence:verifier", "Print a program that verifies without any of ours."),
        "serve": ("proxy.cli.chronserve:serve", "Write the log for several gates."),
        "seal": ("proxy.cli.chronkeeping:seal", "Write a sealed segment of what is new."),
        "segments": ("proxy.cli.chronkeeping:segments", "List the sealed segments."),
        "archive": ("proxy.cli.chronkeeping:archive", "Let old bodies be in their segments alone."),
        "compact": ("proxy.cli.chronkeeping:compact", "Give back the room that archived bodies left."),
        "erase": ("proxy.cli.chronkeeping:erase", "Ask that records go, by somebody's right to it."),
        "prune": ("proxy.cli.chronkeeping:prune", "Ask that the oldest segments go for good."),
        "removals": ("proxy.cli.chronkeeping:removals", "List what waits for a second human before it goes."),
        "approve": ("proxy.cli.chronkeeping:approve", "Agree to what another human wants to be gone."),
        "refuse": ("proxy.cli.chronkeeping:refuse", "Say no to it."),
        "query": ("proxy.cli.chronquery:query_command", "Find records by a filter, count them, or ask with SQL."),
        "stats": ("proxy.cli.chronstats:stats_command", "The log in numbers: counts, room, pace, silences."),
        "replay": ("proxy.cli.chronreplay:replay", "Decide the recorded past again, from the log alone."),
        "indoubt": ("proxy.cli.chronindoubt:indoubt", "List the requests of which nobody knows what came."),
        "init-db": ("proxy.cli.chronplaces:init_db", "Make the tables for logs in a PostgreSQL database."),
        "copy": ("proxy.cli.chronplaces:copy_command", "Take a log to another place: a file, or PostgreSQL."),
        "backup": ("proxy.cli.chronbackup:backup_command", "Copy the log while it is written, and verify the copy."),
        "follows": ("proxy.cli.chronbackup:follows", "Write into a new log which older one it follows."),
        "export": ("proxy.cli.chronexport:export_command", "Write records to a file for other systems, or verify one."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [(name, command.get_short_help_str(formatter.width)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, text) for name, (_, text) in self.table.items())])


@click.group(cls=_Commands)
def chron() -> None:
    """Read, verify and prove the log of decisions."""


@chron.command("tail")
@path_argument
@click.option("-f", "--follow", "following", is_flag=True, help="Wait for more, until interrupted.")
@click.option("-n", "count", type=click.IntRange(0), default=50, show_default=True, help="How many to start with.")
@click.option("--agent", default="")
@outcome_option
@_kind_option
@json_option
@log_options
def tail_command(
    path: Source, following: bool, count: int, agent: str, outcome: str | None, kind: str, as_json: bool
) -> None:
    """Show the newest decisions; -f waits for more. A URL that names no chain means all of its chains."""
    filters = {"agent": agent, "outcome": outcome or "", "kind": "" if kind == "all" else kind}
    logs = logs_of(path)
    ends = ends_of(logs or {"": path})
    records = tail_all(logs, count, **filters) if logs else tail(path, count, **filters)
    if not records and not following:
        click.echo("no record matches; --kind all shows every kind", err=True)
    for record in records:
        print_record(record, as_json)
        chain = record.text(OF_CHAIN) if logs else ""
        ends[chain] = max(ends[chain], record.seq)
    if following:
        _print_as_they_come(
            follow_all(logs, ends, _wait, **filters) if logs else follow(path, ends[""], _wait, **filters), as_json
        )


def _wait() -> bool:
    time.sleep(_LOOK_EVERY_S)  # a log tells nobody that it grew; who follows one looks again, and is a person
    return True


def _print_as_they_come(records: Iterator[Record], as_json: bool) -> None:
    try:
        for record in records:
            print_record(record, as_json)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


@chron.command("show")
@click.argument("record_id")
@json_option
@log_options
def show_command(path: Source, record_id: str, as_json: bool) -> None:
    """Show one record, what came of it, and the lines of policy that decided it."""
    shown = show(path, record_id.lower())
    if shown is None:
        fail(
            f'no record "{printable(record_id)}" in chron "{path}"; ids look like chr_01k..., see "claiim chron tail"',
            1,
        )
    if as_json:
        click.echo(json.dumps(_as_json(shown), indent=2))
        return
    names = people(path)
    _print_fields("record", shown.record, names)
    if not shown.record.fields:
        why = why_gone(path, shown.record.seq)
        where = f", in segment {why['segment']}" if why.get("kind") == "archive" else ""
        click.echo(f"  {'gone':<18} {why.get('kind', 'no record says why')} {why.get('id', '')}{where}")
    for outcome in shown.outcomes:
        _print_fields(outcome.kind, outcome, names)
    for text in shown.texts:
        _print_text(text)


def print_record(record: Record, as_json: bool) -> None:
    """Print a record on one line, for people or as JSON."""
    click.echo(json.dumps(dict(record.fields)) if as_json else _line(record), color=colour())


def _line(record: Record) -> str:
    names = (*COLUMNS, "ref", "result", "event", "mode", "human", "organisation", OF_CHAIN)
    text = {name: printable(record.text(name)) for name in names}
    whose = f"{text[OF_CHAIN]}  " if text[OF_CHAIN] else ""
    at = whose + text["ts"][:19].replace("T", " ") + "Z"
    if record.kind != "decision":
        whom = text["agent"] or text["human"] or text["organisation"]
        told = f"{text['event']} {whom}" if text["event"] else f"{text['result']} {text['ref']}"
        about = told.strip() or text["action"]
        return f"{at}  {printable(record.kind)}  {about}  {text['id']}"
    word = click.style(f"{text['outcome']:5}", fg=COLOURS.get(text["outcome"]))
    observed = " (observed)" if text["mode"] == "observe" else ""
    who = f"{text['agent'] or '-'} <- {text['anchor'] or '-'}"
    where = " on ".join(filter(None, (text["action"], text["host"] or text["target"])))
    return f"{at}  {word}{observed}  {who}  {where}  {text['reason']}  {text['id']}"


def _print_fields(title: str, record: Record, names: Mapping[str, str]) -> None:
    click.echo(f"{title} {record.id}")
    for name in sorted(record.fields):
        if name != "id":
            text = record.text(name)
            known = f" ({names[text]})" if name in _HUMANS and text in names else ""
            click.echo(f"  {name:<18} {printable(text + known)}")
    click.echo(f"  {'hash':<18} {record.hash.hex()}")


def _print_text(text: TextLine) -> None:
    version = f"@{text.version}" if text.version else ""
    place = f", {text.place}" if text.place else ""
    click.echo(printable(f"{text.kind} {text.id}{version}{place}"))
    for number, line in text.lines:
        mark = ">" if number == text.line else " "
        click.echo(f" {mark}{number:>4} | {printable(line)}")


def _as_json(shown: Shown) -> Mapping[str, object]:
    texts = [
        {
            "kind": t.kind,
            "id": t.id,
            "version": t.version,
            "digest": t.digest,
            "place": t.place,
            "line": t.line,
            "lines": [{"line": number, "text": line} for number, line in t.lines],
        }
        for t in shown.texts
    ]
    record = {**shown.record.fields, "hash": shown.record.hash.hex()}
    return {"record": record, "outcomes": [dict(outcome.fields) for outcome in shown.outcomes], "texts": texts}


def for_people() -> bool:
    """Whether somebody looks at what is printed."""
    return sys.stdout is not None and sys.stdout.isatty()  # none: it was closed


def colour() -> bool:
    """Whether they want it in colour."""
    return for_people() and not os.environ.get("NO_COLOR")  # no-color.org
