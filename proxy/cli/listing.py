"""`claiim mappings list`: the families and their catalogues, or operations and what rules make of them.

claiim mappings list                                families, how old their catalogues are, and which hosts are theirs
claiim mappings list github --grep merge            operations, with what is known of each
claiim mappings list --action infra:destroy         every operation that a rule may call so

no pack is called "gitub"; known: aws, git, github, ...
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mappings.catalogues import Archive, CatalogueError
from mappings.catalogues.age import age_days, too_old
from mappings.compiled import Compiled
from mappings.inventory import Known, doors, fitting, keeps_its_name, known_operations, pack_of, written_rules
from mappings.loading import catalogues_in_use, load_compiled
from mappings.places import Document
from proxy.cli.options import EXIT_DENY, config_option, fail, json_option, located_errors, print_json
from proxy.cli.tables import print_table
from proxy.config import Config
from proxy.configloading import load_config

type Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Everything that names requests here."""

    compiled: Compiled
    documents: tuple[Document, ...]
    archives: dict[str, Archive]


@click.command("list")
@click.argument("family", required=False)
@click.option("--grep", default="", metavar="TEXT", help="Only operations whose name holds TEXT.")
@click.option("--action", default="", metavar="WORD", help="Only operations that a rule may call so.")
@json_option
@config_option
@located_errors
def list_command(family: str | None, grep: str, action: str, as_json: bool, config_path: Path | None) -> None:
    """List the families, or the operations of one; exit 1 when nothing is found."""
    loaded = _load(load_config(config_path, required=False))
    today = datetime.datetime.now(datetime.UTC).date()
    packs = loaded.compiled.packs
    if family is not None and family not in packs:
        fail(f'no pack is called "{family}"; known: {", ".join(sorted(packs))}', EXIT_DENY)
    if family is None and not grep and not action:
        _print_families([_family_row(name, loaded, today) for name in sorted(packs)], as_json)
    else:
        names = sorted(packs) if family is None else [family]
        rows = [row for name in names for row in _operation_rows(name, loaded)]
        _print_operations(_chosen(rows, grep, action), as_json)
    if warning := too_old((each.header for each in loaded.archives.values()), today):
        click.echo(warning, err=True)


def _load(config: Config) -> _Loaded:
    compiled, documents = load_compiled(config.mappings, config.catalogues)
    return _Loaded(compiled, documents, catalogues_in_use(config.catalogues))


# --- families ---


def _family_row(name: str, loaded: _Loaded, today: datetime.date) -> Row:
    archive = loaded.archives.get(name)
    sources = archive.header.sources if archive else ()
    return {
        "family": name,
        "operations": _count(name, loaded),
        "sources": [f"{source.registry}:{source.package} {source.version}" for source in sources],
        "date": sources[0].date if sources else "",
        "age_days": age_days(archive.header, today) if archive else None,
        "hosts": [*loaded.compiled.packs[name].hosts, *_bound(name, loaded.documents)],
    }


def _count(name: str, loaded: _Loaded) -> int | None:
    """Return how many operations a family has, without opening its catalogue; None when it names them by rule."""
    if name in loaded.archives:
        return loaded.archives[name].header.operations
    listed = known_operations(loaded.compiled.packs[name])
    return None if listed is None else len(listed)


def _bound(name: str, documents: Iterable[Document]) -> Iterator[str]:
    """Yield the hosts that the operator's files bind to a pack."""
    for document in documents:
        value = document.value
        for bind in value.get("bind", ()) if isinstance(value, dict) and not pack_of(document) else ():
            if name in ([bind["pack"]] if isinstance(bind["pack"], str) else bind["pack"]):
                yield bind["host"]


def _print_families(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    print_table(
        ("family", "operations", "age", "source", "hosts"),
        (
            (
                row["family"],
                "by rule" if row["operations"] is None else f"{row['operations']:,}",
                "" if row["age_days"] is None else f"{row['age_days']} days",
                ", ".join(row["sources"]),
                _first(row["hosts"]),
            )
            for row in rows
        ),
    )


def _first(hosts: Sequence[str], most: int = 3) -> str:
    rest = f", and {len(hosts) - most} more" if len(hosts) > most else ""
    return ", ".join(hosts[:most]) + rest if hosts else "bind it"


# --- operations ---


def _operation_rows(name: str, loaded: _Loaded) -> Iterator[Row]:
    try:
        listed = known_operations(loaded.compiled.packs[name], loaded.archives.get(name))
    except CatalogueError as error:
        fail(str(error))
    if listed is None:
        yield from _pattern_rows(name, loaded.documents)
    for each in listed or ():
        yield _operation_row(each, loaded.compiled)


def _operation_row(each: Known, compiled: Compiled) -> Row:
    found = doors(compiled, each)
    return {
        "operation": each.name,
        "access": each.attributes.get("access", ""),
        "executes": "executes" in each.attributes,
        "mints": "mints" in each.attributes,
        "actions": [
            {"action": door.action, "rule": door.rule.ref.id, "pack": door.rule.ref.pack, "always": door.always}
            for door in found
        ],
        "keeps_name": keeps_its_name(found),
    }


def _pattern_rows(name: str, documents: Iterable[Document]) -> Iterator[Row]:
    """Yield the patterns that rules have for a pack that lists nothing, each in the place of an operation."""
    for document in documents:
        for rule in written_rules(document):
            said = {"action": rule.action, "rule": rule.id, "pack": pack_of(document), "always": False}
            for pattern in rule.patterns:
                if pattern.startswith(f"{name}:"):
                    traits = {"access": "", "executes": False, "mints": False}
                    yield {"operation": pattern, **traits, "actions": [said], "keeps_name": False}


def _chosen(rows: Iterable[Row], grep: str, action: str) -> list[Row]:
    found = [row for row in rows if grep.lower() in row["operation"].lower()]
    if not action:
        return found
    wanted = fitting(action, {each["action"] for row in found for each in row["actions"]})
    kept = [row for row in found if any(each["action"] in wanted for each in row["actions"])]
    # What keeps its own name is its own action.
    return kept or [row for row in found if row["operation"].lower() == action.lower() and row["keeps_name"]]


def _print_operations(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("operation", "access", "traits", "action")
        print_table(columns, ((row["operation"], row["access"], _traits(row), _actions(row)) for row in rows))
        click.echo(f"{len(rows):,} operations", err=True)
    if not rows:
        click.echo("nothing fits; --grep looks for a part of a name, --action for a word of a rule", err=True)
        raise SystemExit(EXIT_DENY)


def _traits(row: Row) -> str:
    return " ".join(name for name in ("executes", "mints") if row[name])


def _actions(row: Row) -> str:
    """What the operation may be called, the most specific first; "-" is its own name."""
    said = [each["action"] for each in row["actions"]]
    return " or ".join(dict.fromkeys([*said, "-"] if row["keeps_name"] else said))
