"""`claiim mappings coverage`: what agents did that no rule has a word for, and rules that never spoke.

It reads the Chron and the mappings as they are on disk; a running gate does not mind.

    claiim mappings coverage --since 7d
    claiim mappings coverage --chron old.db --since 2026-01-01 --json

    there is no Chron at "state/chron.db"; start "claiim serve" first, or give its path
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import click

from chron import ChronError, find
from chron.sources import Source
from mappings.catalogues import Archive, CatalogueError
from mappings.compiled import Compiled
from mappings.inventory import known_operations, pack_of, written_rules
from mappings.loading import catalogues_in_use, load_compiled
from mappings.places import Document
from proxy.cli.chron import when
from proxy.cli.options import EXIT_USAGE, LOG, config_option, fail, json_option, located_errors, print_json
from proxy.cli.tables import print_table
from proxy.configloading import load_config
from proxy.coverage import Coverage, OwnRule, Unworded, measure

_SHIPPED = "pack:"
"""How the source of a document begins that came with the gate."""


@click.command()
@click.option("--since", callback=when, default="30d", show_default=True, help='"24h", "7d" or an ISO 8601 time.')
@click.option("--chron", "chron_path", type=LOG, help="The Chron: a file or a URL [default: yours].")
@json_option
@config_option
@located_errors
def coverage(since: datetime, chron_path: Source | None, as_json: bool, config_path: Path | None) -> None:
    """Show what was done without a word of a rule, writes first, and rules that named nothing."""
    config = load_config(config_path, required=chron_path is None)
    compiled, documents = load_compiled(config.mappings, config.catalogues)
    records = find(chron_path or config.chron, kind="decision", since=since)
    try:
        found = measure(
            (record.fields for record in records),
            _own_rules(documents),
            _attributes_of(compiled, catalogues_in_use(config.catalogues)),
        )
    except ChronError as error:
        fail(str(error), EXIT_USAGE)
    if as_json:
        print_json(_described(found, since))
    else:
        _print(found)


def _own_rules(documents: Sequence[Document]) -> list[OwnRule]:
    own = [document for document in documents if not document.source.startswith(_SHIPPED)]
    return [OwnRule(rule.id, pack_of(document), rule.place) for document in own for rule in written_rules(document)]


def _attributes_of(compiled: Compiled, archives: Mapping[str, Archive]) -> Callable[[str], Mapping[str, str]]:
    @cache
    def family(name: str) -> Mapping[str, Mapping[str, str]]:
        try:
            pack = compiled.packs.get(name)
            listed = known_operations(pack, archives.get(name)) if pack is not None else None
        except CatalogueError as error:
            fail(str(error))
        return {each.name: each.attributes for each in listed or ()}

    return lambda operation: family(operation.partition(":")[0]).get(operation, {})


def _described(found: Coverage, since: datetime) -> Mapping[str, object]:
    return {
        "since": since.isoformat(),
        "decisions": found.decisions,
        "worded": found.worded,
        "unworded": [
            {
                "operation": each.operation,
                "access": each.attributes.get("access", ""),
                "executes": "executes" in each.attributes,
                "mints": "mints" in each.attributes,
                "count": each.count,
                "agents": list(each.agents),
            }
            for each in found.unworded
        ],
        "unnamed": [
            {"host": each.host, "count": each.count, "codes": each.codes, "agents": list(each.agents)}
            for each in found.unnamed
        ],
        "dead_rules": [{"rule": rule.id, "place": rule.place} for rule in found.dead],
    }


def _print(found: Coverage) -> None:
    click.echo(f"{found.decisions:,} decisions, {found.worded:,} with a rule's word")
    if found.unworded:
        click.echo("\nno rule has a word for")
        columns = ("operation", "access", "count", "agents")
        print_table(
            columns, [(each.operation, _access(each), each.count, _all(each.agents)) for each in found.unworded]
        )
    if found.unnamed:
        click.echo("\nnot named at all")
        rows = [
            (
                each.host,
                each.count,
                ", ".join(f"{code} {count}" for code, count in sorted(each.codes.items())),
                _all(each.agents),
            )
            for each in found.unnamed
        ]
        print_table(("host", "count", "why", "agents"), rows)
        click.echo('bind the host to a pack, or write a rule for it; "claiim map" tries one', err=True)
    if found.dead:
        click.echo("\nrules that named nothing")
        print_table(("rule", "place"), [(rule.id, rule.place) for rule in found.dead])


def _access(each: Unworded) -> str:
    words = [
        each.attributes.get("access") or "unknown",
        *(word for word in ("executes", "mints") if word in each.attributes),
    ]
    return " ".join(words)


def _all(agents: Sequence[str]) -> str:
    return ", ".join(agents[:5]) + (f", and {len(agents) - 5} more" if len(agents) > 5 else "")
