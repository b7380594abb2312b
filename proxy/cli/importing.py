"""`claiim mappings import openapi`: a pack for an API of your own, from its own description.

The pack is text, for people to read and change. Every operation is asked for and should come back under its own name;
what does not, and what was decided on the way, is said on stderr. A pack with problems is made all the same: what it
lacks is not recognised, which is a deny. Nothing is fetched.

    claiim mappings import openapi orders.json --host orders.acme.test -o mappings/orders.yaml

    mappings/orders.yaml: already there; give another file
    pack "github" came with the gate; give another name with --name
"""

from collections.abc import Sequence
from pathlib import Path

import click

from mappings import load_mappings
from mappings.compiled import HTTP_PACK
from mappings.sources import SourceError
from mappings.sources.openapi import Imported, import_openapi
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, fail, located_errors, read_input
from proxy.config import why

_NO_NAMES = frozenset({"*", "api", "www"})
"""First labels of hosts that say nothing of the API."""


@click.group("import")
def import_group() -> None:
    """Make a pack of an API's own description."""


@import_group.command()
@click.argument("spec", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--host", "hosts", multiple=True, required=True, help='Where the API is served, "*.acme.test" too; repeatable.'
)
@click.option("--name", help="What its operations' names begin with [default: from the first host].")
@click.option("--prefix", help="What stands before every path [default: as the description says].")
@click.option("--slashed", multiple=True, metavar="PARAMETER", help='A path parameter that may hold "/"; repeatable.')
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to write.")
@located_errors
def openapi(
    spec: Path,
    hosts: Sequence[str],
    name: str | None,
    prefix: str | None,
    slashed: Sequence[str],
    output: Path | None,
) -> None:
    """Make a pack of an OpenAPI 2 or 3 description; exit 1 when there are problems with it.

    SPEC is JSON or YAML, - is stdin.
    """
    if output is not None and output.exists():
        fail(f"{output}: already there; give another file", EXIT_USAGE)
    pack = name or _named_after(hosts[0])
    if pack in (*load_mappings([]).packs, HTTP_PACK):
        fail(f'pack "{pack}" came with the gate; give another name with --name', EXIT_USAGE)
    try:
        text = read_input(spec).decode("utf-8-sig")
        imported = import_openapi(text, str(spec), pack=pack, hosts=hosts, prefix=prefix, slashed=slashed)
    except UnicodeDecodeError:
        fail(f"{spec}: not UTF-8 text; save it as UTF-8", EXIT_DENY)
    except SourceError as error:
        fail(str(error), EXIT_DENY)
    _write(imported.text, output)
    _report(imported, pack)
    if imported.problems:
        raise SystemExit(EXIT_DENY)


def _named_after(host: str) -> str:
    return next((label for label in host.lower().split(".") if label not in _NO_NAMES), host)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        fail(f"{output}: cannot write: {why(error)}; give another file", EXIT_USAGE)


def _report(imported: Imported, pack: str) -> None:
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)
    for problem in imported.problems:
        click.echo(f"problem: {problem}", err=True)
    count = len(imported.problems)
    found = f"{count} problem{'' if count == 1 else 's'}" if count else "each came back under its own name"
    click.echo(f'pack "{pack}": {imported.operations:,} operations; {found}', err=True)
