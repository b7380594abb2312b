"""`claiim policy list` and `claiim policy show`: which skills and policies there are, and what one of them says.

It reads the files as they are now. With `--expanded` a text is shown with all that it extends, each line with the
place it is written at, and what is printed can be loaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from policies import PolicyError
from policies.loading import read_texts
from policies.printing import expanded as expanded_text
from policies.rulebook import Candidate, Rulebook
from policies.schema import PolicyFile
from proxy.cli.options import EXIT_USAGE, config_option, fail, json_option, located_errors, print_json
from proxy.cli.tables import print_table
from proxy.config import Config, load_config

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
    _, documents = read_texts(config.agents, config.policies)
    book = Rulebook({}, True)
    for document in documents:
        book.add(document)
    book.finish()
    if book.faults:
        raise PolicyError(book.faults)
    return book


def _named(book: Rulebook, asked: str) -> Candidate:
    kind, colon, rest = asked.rpartition(":")
    name, _, version = rest.partition("@")
    found = [key for key in book.candidates if key[1] == name and (not colon or key[0] == kind)]
    if not found:
        known = ", ".join(sorted({known for _, known in book.candidates})) or "none"
        fail(f'no skill or policy is called "{asked}"; known here: {known}', EXIT_USAGE)
    if len(found) > 1:
        fail(f'"{name}" is a skill and a policy; write "skill:{rest}" or "policy:{rest}"', EXIT_USAGE)
    versions = book.candidates[found[0]]
    candidate = book.in_force(*found[0]) if not version else _version(versions, version)
    if candidate is None:
        listed = ", ".join(str(number) for number in sorted(versions))
        fail(f'{found[0][0]} "{name}" has no version {version or "in force"}; versions here: {listed}', EXIT_USAGE)
    return candidate


def _version(versions: Mapping[int, Candidate], text: str) -> Candidate | None:
    return versions.get(int(text)) if text.isdecimal() and text.isascii() and len(text) < 10 else None


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
