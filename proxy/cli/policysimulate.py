"""`claiim policy simulate`: what a change would have done to the past, before it does anything to the future.

claiim policy simulate drafts/deploy-v2.yaml --since 30d
claiim policy simulate drafts --only --agent deploy-bot --json
claiim policy simulate drafts/deploy-v2.yaml --since 30d --expect expected.yaml -o report.json --record

Reads the Chron and decides every recorded decision again, with the drafts in the place of the texts of their kind and
name. Exit 0 when nothing flips but what is expected, 1 when something else does, 2 for a wrong command line or no
readable Chron.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import chron
from chron import ChronError, printable
from chron.sources import Source
from mappings.documents import Document
from policies import Activations
from policies.drafting import Drafted, compile_drafts
from policies.expecting import Expected, read_expected, unexpected, unmet
from policies.loading import read_text, read_texts
from proxy.activations import sources_of
from proxy.cli.asking import ask_gate, gate_url, human_token, human_token_option
from proxy.cli.chron import when
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_USAGE,
    LOG,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    refuse_gated_caller,
)
from proxy.config import Config, why
from proxy.configloading import load_config
from proxy.registries import Registries
from proxy.simulation import IN_WORDS
from proxy.simulationreport import Report, Trial, canonical, digest_of, summary_of

_MOST_LINES = 40
"""Changes shown to people; the report has them all."""


@click.command()
@click.argument("new", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", is_flag=True, help="The drafts instead of all texts, not only of their own versions.")
@click.option("--since", callback=when, help='How far back: "30d", "24h" or an ISO 8601 time [default: all].')
@click.option("--until", callback=when, help="As --since; not included.")
@click.option("--agent", default="", help="Report this agent alone; the limits still count all of them.")
@click.option(
    "--agents-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another registry than the configured one; who may not act in it is denied.",
)
@click.option("--then", is_flag=True, help="The registry as it was at each decision, from the Chron.")
@click.option("--reasons", is_flag=True, help="Also what is answered the same for another reason.")
@click.option(
    "--expect",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML list of the flips that are meant; only the others count as news.",
)
@click.option("--record", is_flag=True, help="Vouch for the report with your token: the gate records its digest.")
@human_token_option
@click.option("-o", "output", type=click.Path(dir_okay=False, path_type=Path), help="Keep the report in this file.")
@click.option("--chron", "chron_path", type=LOG, help="The Chron: a file or a URL.")
@json_option
@config_option
@located_errors
def simulate(
    new: tuple[Path, ...],
    only: bool,
    since: datetime | None,
    until: datetime | None,
    agent: str,
    agents_file: Path | None,
    then: bool,
    reasons: bool,
    expect: Path | None,
    record: bool,
    token_file: Path | None,
    output: Path | None,
    chron_path: Source | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Decide the recorded past again with NEW skills and policies (files or folders), and show what flips.

    Without NEW, with the texts as they are now.
    """
    if only and not new:
        fail("--only needs the drafts that are to be all there is; name them", EXIT_USAGE)
    if then and agents_file:
        fail("--then and --agents-file name two registries; keep one", EXIT_USAGE)
    config = load_config(config_path)
    path = chron_path or config.chron
    token = _token(token_file, partial=bool(agent or only or agents_file or chron_path)) if record else ""
    expected = _expected(expect)
    try:
        trial = _trial(config, path, new, only=only, agents_file=agents_file, then=then)
        trial = replace(trial, since=since or _beginning(path), until=until or datetime.now(UTC), agent=agent)
        tally = trial.run()
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    report = trial.report(tally, reasons=reasons)
    if output is not None:
        _write(output, report)
    news = unexpected(tally.flips(), expected)
    if as_json:
        print_json({**report, "digest": digest_of(report), "unexpected": sum(tally.changes[one].count for one in news)})
    else:
        _print(report, trial, {(one.agent, one.human, one.action, one.then.outcome, one.now.outcome) for one in news})
        for one in unmet(tally.flips(), expected):
            click.echo(f"{one.place}: expected, and nothing like it flips", err=True)
    if record:
        said = ask_gate(gate_url(config), "POST", "/v1/simulations", token, summary_of(report))
        click.echo(f"recorded as {said['chron_id']} by {said['by']}", err=True)
    if news:
        raise SystemExit(EXIT_DENY)


def _token(token_file: Path | None, *, partial: bool) -> str:
    refuse_gated_caller("claiim policy simulate --record")
    if partial:
        options = "--agent, --only, --agents-file and --chron"
        fail(f"--record vouches for what a change does to this site; leave out {options}", EXIT_USAGE)
    return human_token(token_file)


def _expected(path: Path | None) -> list[Expected]:
    return read_expected(read_text(path)) if path else []


def _trial(
    config: Config, path: Source, new: Sequence[Path], *, only: bool, agents_file: Path | None, then: bool
) -> Trial:
    sources = sources_of(config)
    agents, texts = read_texts(agents_file or config.agents, sources)
    drafts = read_texts(None, new)[1] if new else []
    if new and not drafts:
        fail(f"{new[0]}: holds no skill and no policy; name a *.yaml or a folder of them", EXIT_USAGE)
    seen = chron.seen(path)
    others = Activations() if only else sources.activations
    kept = [] if only else texts

    def drafted(registry: Document) -> Drafted:
        return compile_drafts(registry, kept, drafts, seen=seen, activations=others)

    now = datetime.now(UTC)
    registry = agents or read_text(config.agents)
    if then:
        registries = Registries(path, lambda one: drafted(one).policies)
        return Trial(path, drafted(registry), now, now, registry="then", then=registries)
    return Trial(path, drafted(registry), now, now, registry="other" if agents_file else "now")


def _beginning(path: Source) -> datetime:
    """Return the time of the first record: the past is told from there on."""
    first = next(iter(chron.find(path)), None)
    return datetime.fromisoformat(first.text("ts")) if first else datetime.now(UTC)


def _write(path: Path, report: Report) -> None:
    try:
        path.write_text(canonical(report), encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot write: {why(error)}; give another file", EXIT_USAGE)


def _print(report: Report, trial: Trial, news: set[tuple[str, ...]]) -> None:
    for agent, pin, draft in trial.drafted.pinned:
        click.echo(f"agent {agent} pins {pin}, so {draft} does not concern it", err=True)
    changes = report["changes"]
    for change in changes[:_MOST_LINES]:
        key = tuple(str(change[name]) for name in ("agent", "human", "action", "from", "to"))
        _print_change(change, expected=change["from"] != change["to"] and key not in news)
    if len(changes) > _MOST_LINES:
        click.echo(f"... and {len(changes) - _MOST_LINES} more; --json or -o shows all")
    for name in ("human", "agent"):
        if counts := _counted(changes, name):
            shown = ", ".join(f"{printable(who) or '-'} {count}" for who, count in counts)
            click.echo(f"by {name}: {shown}")
    _print_totals(report)


def _print_change(change: Mapping[str, Any], *, expected: bool) -> None:
    turned = (
        f"{change['from']} -> {change['to']}" if change["from"] != change["to"] else f"{change['from']}, other reason"
    )
    mark = "  (expected)" if expected else ""
    times = f"{change['count']} time" + ("s" if change["count"] != 1 else "")
    who = f"{change['agent'] or '-'} <- {change['human'] or '-'}"
    click.echo(printable(f"{turned}  {who}  {change['action']}  {times}{mark}"))
    for name in ("then", "now"):
        told = change[name]
        click.echo(printable(f"  {name:<5}  {told['reason']}  {told['rule']}".rstrip()))
    click.echo(f"  first  {change['first']}\n  last   {change['last']}")


def _counted(changes: Iterable[Mapping[str, Any]], key: str) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for change in changes:
        if change["from"] != change["to"]:
            counts[str(change[key])] += int(change["count"])
    return counts.most_common()


def _print_totals(report: Report) -> None:
    same = report["decided"] - report["flips"]
    click.echo(f"{report['decisions']} decisions from {report['since']} to {report['until']}")
    click.echo(f"{report['decided']} decided again: {report['flips']} flip, {same} do not")
    if report["other_reasons"]:
        click.echo(f"{report['other_reasons']} of those have another reason; --reasons shows them")
    for name, count in report["not_decided"].items():
        click.echo(f"{count} not decided again: {IN_WORDS.get(name, name)}")
    if report["erased"]:
        click.echo(f"{report['erased']} records of the Chron were erased; whether they were decisions nobody can tell")
    click.echo(f"report {digest_of(report)}")
