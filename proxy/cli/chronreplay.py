"""`claiim chron replay`: recorded decisions made again, from the log alone.

    claiim chron replay chr_01k...
    claiim chron replay --since 7d --agent deploy-bot
    claiim chron replay --chron copy-of-2026.db --json

Needs no configuration where the Chron is named. JSON is one object per line: each decision that differs, then the
totals. Exit 0 when every decision that can be made again is the same, 1 when one is not, or when the one that was named
cannot be made again; 2 for a wrong command line or no readable Chron.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

import click

import chron
from chron import printable
from chron.sources import Source
from proxy.cli.chron import log_options, when
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, fail, json_option
from proxy.replaying import DECIDED, IN_WORDS, Replay, Replayed, shown

_MOST_SHOWN = 40
"""Differences shown to people; JSON has them all."""


@click.command("replay")
@click.argument("record_id", required=False)
@click.option("--since", callback=when, help='"24h", "7d" or an ISO 8601 time [default: all].')
@click.option("--until", callback=when, help="As --since; not included.")
@click.option("--agent", default="", help="The decisions about this agent alone.")
@json_option
@log_options
def replay(
    path: Source, record_id: str | None, since: datetime | None, until: datetime | None, agent: str, as_json: bool
) -> None:
    """Make recorded decisions again, from the log alone, and show what differs."""
    if record_id and (since or until or agent):
        fail("one record and a choice of records are two questions; ask one", EXIT_USAGE)
    replayed = _one(path, record_id.lower()) if record_id else Replay(path).decisions(since, until)
    totals: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for each in replayed:
        if agent and each.record.get("agent") != agent:
            continue
        _count(each, totals, why)
        if each.differing and (as_json or totals["differences"] <= _MOST_SHOWN):
            _print(each, as_json)
    _print_totals(path, totals, why, as_json)
    if totals["differences"] or (record_id and why):
        raise SystemExit(EXIT_DENY)


def _one(path: Source, record_id: str) -> Iterable[Replayed]:
    found = chron.show(path, record_id)
    if found is None or found.record.kind != "decision":
        fail(f'no decision "{printable(record_id)}" in chron "{path}"; "claiim chron tail" shows some', EXIT_USAGE)
    return [Replay(path).decision(found.record.fields)]


def _count(each: Replayed, totals: Counter[str], why: Counter[str]) -> None:
    totals["decisions"] += 1
    totals["differences"] += bool(each.differing)
    totals["replayed"] += bool(each.again)
    totals["rules_found"] += each.rule_found
    if each.left_out:
        why[each.left_out] += 1


def _print(each: Replayed, as_json: bool) -> None:
    record = each.record
    if as_json:
        again = {name: value for name, value in each.again.items() if name in DECIDED and value is not None}
        differing = {one.name: {"recorded": one.recorded, "again": one.again} for one in each.differing}
        recorded = {name: record[name] for name in DECIDED if name in record}
        names = ("seq", "id", "ts")
        told = {**{name: record[name] for name in names}, "recorded": recorded, "again": again, "differing": differing}
        click.echo(json.dumps(told))
        return
    click.echo(printable(f"{record['id']}  {record['ts']}  {record.get('agent', '-')}  {record.get('action', '-')}"))
    for name, recorded_text, again_text in _side_by_side(each):
        mark = ">" if any(one.name == name for one in each.differing) else " "
        click.echo(printable(f" {mark} {name:<15} {recorded_text or '-':<50} {again_text or '-'}"))


def _side_by_side(each: Replayed) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of both decisions, and what differs beside them."""
    if each.again:
        yield "", "as recorded", "made again"
        for name in DECIDED:
            pair = shown(each.record.get(name)), shown(each.again.get(name))
            if any(pair):
                yield name, *pair
    listed = DECIDED if each.again else ()
    yield from ((one.name, one.recorded, one.again) for one in each.differing if one.name not in listed)


def _print_totals(path: Source, totals: Counter[str], why: Counter[str], as_json: bool) -> None:
    erased = chron.erased(path)
    counted = {name: totals[name] for name in ("decisions", "replayed", "differences", "rules_found")}
    if as_json:
        click.echo(json.dumps({**counted, "not_replayed": dict(sorted(why.items())), "erased": erased}))
        return
    if totals["differences"] > _MOST_SHOWN:
        click.echo(f"... and {totals['differences'] - _MOST_SHOWN} more; --json shows all")
    click.echo(f"{totals['decisions']} decisions: {totals['replayed']} made again, {totals['differences']} differ")
    click.echo(
        f"{totals['rules_found']} were named by a rule that the kept mapping text has and that can give the name"
    )
    for name, count in sorted(why.items()):
        click.echo(f"{count} not made again: {IN_WORDS.get(name, name)}")
    if erased:
        click.echo(f"{erased} records were erased; whether they were decisions nobody can tell")
