"""`claiim policy list` and `claiim policy show`: which skills and policies there are, and what one of them says.

It reads the files as they are now, and from the Chron which versions are in force. With `--expanded` a text is shown
with all that it extends, each line with the place it is written at, and what is printed can be loaded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mappings.documents import Fault
from policies import PolicyError
from policies.choosing import ChoiceRefused, Known, read_name
from policies.loading import documents_in
from policies.printing import expanded as expanded_text
from policies.rulebook import Candidate, Rulebook
from policies.schema import PolicyFile
from proxy.activations import sources_of
from proxy.cli.options import EXIT_USAGE, config_option, fail, json_option, located_errors, print_json
from proxy.cli.tables import print_table
from proxy.config import Config
from proxy.configloading import load_config

_LISTS = ("allow", "deny", "approve", "require", "limits", "redact")


@click.command("list")
@json_option
@config_option
@located_errors
def list_texts(as_json: bool, config_path: Path | None) -> None:
    """List every version of every skill and policy, and which is in force."""
    book = _book(load_config(config_path))
    rows = [
        _row(book, candidate)
        for _, versions in sorted(book.candidates.items())
        for _, candidate in sorted(versions.items())
    ]
    if as_json:
        print_json(rows)
        return
    columns = ("kind", "name", "version", "in force", "mode", "says", "description")
    print_table(columns, ([_cell(row[column.replace(" ", "_")]) for column in columns] for row in rows))


@click.command()
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--expanded", is_flag=True, help="With all that it extends, each line with its place.")
@json_option
@config_option
@located_errors
def show(name: str, expanded: bool, as_json: bool, config_path: Path | None) -> None:
    """Show a skill or policy: the version in force, or the one that is named.

    Where a skill and a policy have the same name, write "skill:NAME" or "policy:NAME".
    """
    book = _book(load_config(config_path))
    candidate = _named(book, name)
    text = expanded_text(book.parts(candidate)) if expanded else candidate.document.text
    if as_json:
        print_json({**_row(book, candidate), "digest": candidate.ref.digest, "text": text})
    else:
        click.echo(text, nl=False)


def _book(config: Config) -> Rulebook:
    sources = sources_of(config)
    faults: list[Fault] = []
    book = Rulebook({}, True, sources.activations)
    for document in (*documents_in(sources.paths, config.agents, faults), *sources.documents):
        book.add(document)
    book.finish()
    if faults or book.faults:
        raise PolicyError([*faults, *book.faults])
    return book


def _named(book: Rulebook, typed: str) -> Candidate:
    known: Known = {
        (each.ref.kind, each.ref.id, each.ref.version): (each.ref, each.document.source)
        for versions in book.candidates.values()
        for each in versions.values()
    }
    try:
        name, version = read_name(typed, known)
    except ChoiceRefused as refused:
        fail(str(refused), EXIT_USAGE)
    versions = book.candidates[name]
    found = versions.get(version) if version else book.in_force(*name)
    if found is None:
        wanted = f"no version {version}" if version else "no version in force"
        fail(f'{name[0]} "{name[1]}" has {wanted}; known: {", ".join(map(str, sorted(versions)))}', EXIT_USAGE)
    return found


def _row(book: Rulebook, candidate: Candidate) -> dict[str, Any]:
    ref, file = candidate.ref, candidate.file
    return {
        "kind": ref.kind,
        "name": ref.id,
        "version": ref.version,
        "in_force": book.in_force(ref.kind, ref.id) is candidate,
        "mode": file.mode.value if isinstance(file, PolicyFile) else "",
        "extends": list(file.extends),
        "until": file.until or "",
        "says": dict(_said(candidate)),
        "description": file.description,
        "file": candidate.document.source,
    }


def _said(candidate: Candidate) -> Iterator[tuple[str, int]]:
    for name in _LISTS:
        if name in candidate.file.model_fields_set:
            yield name, len(getattr(candidate.file, name))


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else ""
        case dict():
            return ", ".join(f"{count} {name}" for name, count in value.items())
        case _:
            return str(value)
