"""`claiim policy lint`: what nobody can have meant in skills, policies and agents that load; docs/lint.md lists it.

    policies/ops.yaml:4:3: error: "deploy:eu" allows nothing: "deploy:*" (...) denies it; ... [dead-allow]

With --chron, also which lines decided nothing for a while. Exit 0 without errors, 1 with some, or with --strict also
with warnings.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

import click

import chron
from chron.sources import Source
from mappings import DocumentError
from policies.lintchecks import CHECKS, Lint, Severity
from policies.linting import Hits, lint, short_place
from policies.loading import BUNDLE_SUFFIX, read_tests, read_texts
from proxy.activations import sources_of
from proxy.cli.chron import when
from proxy.cli.options import EXIT_DENY, config_option, located_errors, print_json
from proxy.cli.versions import version_of
from proxy.config import Config
from proxy.configloading import load_config
from proxy.known import load_known
from proxy.sarif import Level, Located, sarif

_LEVELS: dict[Severity, Level] = {"error": "error", "warning": "warning", "info": "note"}


@click.command("lint")
@click.option("--format", "kind", type=click.Choice(["text", "json", "sarif"]), default="text")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option("--chron", "by_chron", is_flag=True, help="Also look for lines that decided nothing.")
@click.option("--since", callback=when, default="90d", show_default=True, help="How far back --chron looks.")
@config_option
@located_errors
def lint_command(kind: str, strict: bool, by_chron: bool, since: datetime.datetime, config_path: Path | None) -> None:
    """Look for what nobody can have meant."""
    config = load_config(config_path)
    found = lint_site(config, datetime.datetime.now(datetime.UTC), _hits(config.chron, since) if by_chron else None)
    match kind:
        case "json":
            print_json([_described(each) for each in found])
        case "sarif":
            rules = {id_: check.finds for id_, check in CHECKS.items()}
            located = [Located(each.check, _LEVELS[each.severity], each.message, each.place) for each in found]
            print_json(sarif(version_of("claiim-gate"), rules, located, Path.cwd()))
        case _:
            _print(found)
    grave = ("error", "warning") if strict else ("error",)
    if any(each.severity in grave for each in found):
        raise SystemExit(EXIT_DENY)


def lint_site(config: Config, at: datetime.datetime, hits: Hits | None = None) -> list[Lint]:
    """Return what the lint finds in the files of a configuration; raises DocumentError when they do not load."""
    sources = sources_of(config)
    agents, rules = read_texts(config.agents, sources)
    if agents is None:  # pragma: no cover -- a configuration always names one
        return []
    try:
        tests = read_tests([path for path in config.policies if path.suffix != BUNDLE_SUFFIX])
    except DocumentError:
        tests = []  # "claiim policy test" tells what is wrong with them
    return lint(agents, rules, tests, at=at, known=load_known(config), activations=sources.activations, hits=hits)


def _hits(path: Source, since: datetime.datetime) -> Hits:
    found: dict[str, set[str]] = {}
    texts = chron.RuleTexts(path)
    for record in chron.find(path, kind="decision", since=since):
        for kind in ("skill", "policy"):
            digest, place = texts.digest(record.fields, kind), record.text("rule")
            if digest:
                places = found.setdefault(digest, set())
                if place.count(":") >= 2:
                    places.add(short_place(place))
    return {digest: frozenset(places) for digest, places in found.items()}


def _described(found: Lint) -> dict[str, str]:
    return {"check": found.check, "severity": found.severity, "place": found.place, "message": found.message}


def _print(found: Sequence[Lint]) -> None:
    for each in found:
        click.echo(f"{each.place}: {each.severity}: {each.message} [{each.check}]")
    counts = [f"{sum(one.severity == severity for one in found)} {severity}s" for severity in _LEVELS]
    click.echo(", ".join(counts), err=True)
