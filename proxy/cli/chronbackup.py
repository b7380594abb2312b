"""`claiim chron backup, follows`: a verified copy of a running gate's log, and a new log that names the old one.

claiim chron backup /mnt/backup/chron-2026-11-28.db
claiim chron follows /mnt/evidence/chron.db --reason "disk lost; newest copy is of Friday"
"""

import asyncio
from pathlib import Path, PurePath

import click

import chron
from chron import Chron
from chron.backup import backup
from chron.sources import Source
from proxy.cli.chron import log_options
from proxy.cli.options import LOG, config_option, located_errors, refuse_gated_caller
from proxy.configloading import load_config

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("backup")
@click.argument("target", type=_file, metavar="FILE")
@log_options
def backup_command(path: Source, target: Path) -> None:
    """Copy the log as it is now, also while a gate writes it; the copy is verified and never written over a file."""
    found = backup(path, target)
    click.echo(f"{target}: {found.records} records verify, head {found.head_hash}")
    if found.vkey:
        click.echo(f"{found.covered} records are covered by a signed checkpoint, {found.loose} behind it by none")


@click.command("follows")
@click.argument("old", type=LOG, metavar="OLD")
@click.option("--reason", required=True, help="Why the old log is not continued; recorded.")
@config_option
@located_errors
def follows(old: Source, reason: str, config_path: Path | None) -> None:
    """Write into the log of a gate that does not run which older log it follows, and how that one ends."""
    refuse_gated_caller("claiim chron follows")
    from proxy.cli.chronsigning import opened

    config = load_config(config_path)
    found = chron.verify(old)

    def write(log: Chron) -> str:
        return log.write(
            "predecessor",
            {
                "log": found.name or PurePath(str(old)).name,
                "records": found.records,
                "head": found.head_hash,
                "fault": found.fault or None,
                "reason": chron.redacted_text(reason),
            },
        ).id

    id_ = asyncio.run(opened(config, write))
    click.echo(id_)
    click.echo(f'"{config.chron}" follows {found.name}, which ends at record {found.records}', err=True)
