"""`claiim rehearse`: the demonstration, and a self-test that fails loudly."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli.options import EXIT_DENY, EXIT_USAGE, fail, json_option, located_errors, print_json

if TYPE_CHECKING:
    from proxy.rehearsal import Rehearsed


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Leave configuration, CA and chron.db in DIR for inspection.",
)
@json_option
@located_errors
def rehearse(keep: Path | None, as_json: bool) -> None:
    """Fire an ALLOW and a DENY through a real gate, by curl and by the SDK, and verify the Chron.

    Exit 0 only if every answer, what reached the target and the Chron are as expected.
    """
    from proxy.assembling import utc_now
    from proxy.rehearsal import rehearse as run

    with _folder(keep) as folder:
        rehearsed = asyncio.run(run(folder, utc_now()))
        if as_json:
            print_json({**asdict(rehearsed), "folder": str(folder) if keep else None})
        else:
            _show(rehearsed, kept=keep is not None)
    if rehearsed.faults:
        fail("\n".join(rehearsed.faults), EXIT_DENY)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="claiim-rehearsal-") as folder:
            yield Path(folder)
        return
    if keep.exists() and any(keep.iterdir()):
        fail(f"{keep}: not empty; give a new folder", EXIT_USAGE)
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _show(rehearsed: "Rehearsed", *, kept: bool) -> None:
    click.echo("agent deploy-bot, answered for by alice@acme.test, skill deploy-v2, policy no-prod-v1\n")
    for scene in rehearsed.scenes:
        status = f"HTTP {scene.status}" if scene.status else ""
        click.echo(f"{scene.caller:<5} {scene.action:<18} {scene.outcome:<6} {status:<9} {scene.chron_id}")
        if scene.reason:
            click.echo(f"      {scene.reason}")
    click.echo(f"\nreached the target: {', '.join(rehearsed.reached) or 'nothing'}")
    if not rehearsed.faults:
        click.echo(f"the Chron verifies: {rehearsed.records} records, unbroken")
    if kept:
        click.echo(f'kept in {rehearsed.folder}; try "claiim chron tail {rehearsed.folder}/chron.db"')
