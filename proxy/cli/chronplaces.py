"""`claiim chron init-db, copy`: the tables for a log in PostgreSQL, and a log taken from one place to another.

    claiim chron init-db postgresql://admin@db.internal/claiim
    claiim chron init-db --print > claiim.sql                      for whoever may make tables there
    claiim chron copy state/chron.db "postgresql://gate-1@db.internal/claiim?chain=gate-1"

Exit codes: 0 done, 2 it could not be done, with one line that says why. A copy into PostgreSQL that is broken off
leaves its beginning there, because nothing is ever taken out of a chain.
"""

import json

import click

from chron import ChronError, printable
from chron.copying import copy
from chron.sources import Source
from proxy.cli.options import EXIT_USAGE, LOG, fail, json_option, refuse_gated_caller


@click.command("init-db")
@click.argument("url", required=False, type=LOG, metavar="URL")
@click.option("--print", "printed", is_flag=True, help="Print the SQL instead of running it.")
def init_db(url: Source | None, printed: bool) -> None:
    """Make the tables of the Chron in a PostgreSQL database, as a role that may make roles and schemas.

    Running it again puts back guards that somebody dropped and changes no record.
    """
    from chron.postgres.making import make_tables
    from chron.postgres.structure import script

    if printed:
        click.echo(script(), nl=False)
        return
    refuse_gated_caller("chron init-db")
    if url is None:
        fail("name the database, postgresql://HOST/DATABASE, or give --print", EXIT_USAGE)
    try:
        make_tables(str(url))
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    click.echo("the tables are there; who writes needs the role claiim_writer, who reads claiim_reader", err=True)


@click.command("copy")
@click.argument("source", type=LOG, metavar="FROM")
@click.argument("target", type=LOG, metavar="TO")
@json_option
def copy_command(source: Source, target: Source, as_json: bool) -> None:
    """Copy a whole log to a place where there is none, a file or a chain; no gate may write it meanwhile."""
    refuse_gated_caller("chron copy")
    try:
        found = copy(source, target)
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    if as_json:
        told = {"from": str(source), "to": str(target), "records": found.records, "head": found.head_hash}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"{target}: {found.records} records verify, head {found.head_hash}")
    click.echo(f'from now on it is the log: let no gate go on with "{source}"', err=True)
