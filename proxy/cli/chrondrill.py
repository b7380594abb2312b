"""`claiim chron drill`: copies of the operator's own log are attacked, and what notices each attack is told.

    claiim chron drill --key log.vkey --head head.note
    caught  edit     a record's body is changed                   record 13: its body was changed
    MISSED  cut      the end is cut off behind a checkpoint        no checkpoint is kept elsewhere

Exit 0 when every attack is caught by what the documentation says catches it, 1 when one is not.
"""

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

import chron
from chron import ChronError, printable
from chron.drill import Finding
from chron.drill import drill as attacks_on
from chron.sources import Source
from proxy.anchors import AnchorError, make_anchor
from proxy.cli.chron import log_options, path_argument
from proxy.cli.chronevidence import read_note, read_vkey
from proxy.cli.chronsigning import now
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, fail, json_option, print_json
from proxy.config import ConfigError
from proxy.configloading import load_config

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("drill")
@path_argument
@click.option(
    "--key", default="", metavar="VKEY", help="The public key as you keep it outside, or a file that holds it."
)
@click.option("--head", type=_file, help="A checkpoint kept elsewhere [default: the newest that an anchor has].")
@click.option("--folder", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Where the copies go.")
@json_option
@log_options
def drill(path: Source, key: str, head: Path | None, folder: Path | None, as_json: bool) -> None:
    """Attack copies of this log and say what notices; the log itself is only read."""
    config_path = click.get_current_context().params["config_path"]
    note = read_note(head) if head else _anchored(config_path)
    pinned = chron.parse_vkey(read_vkey(key)) if key else None
    found: list[Finding] = []
    try:
        with tempfile.TemporaryDirectory(prefix="claiim-drill-", dir=folder) as temporary:
            for finding in attacks_on(path, Path(temporary), key=pinned, head=note):
                found.append(finding)
                if not as_json:
                    _tell(finding)
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    if as_json:
        print_json({"path": str(path), "findings": [asdict(finding) for finding in found]})
    missed = [finding for finding in found if not finding.caught]
    if missed and not as_json:
        click.echo(f"{len(missed)} of {len(found)} attacks would not be noticed", err=True)
        if not note:
            click.echo(
                'set "checkpoints.anchors", or keep "claiim chron checkpoint" elsewhere and give --head', err=True
            )
        if not pinned:
            click.echo('keep "claiim chron key show" elsewhere and give it with --key', err=True)
    raise SystemExit(EXIT_DENY if missed else 0)


def _tell(finding: Finding) -> None:
    word = "caught" if finding.caught else "MISSED"
    click.echo(f"{word}  {finding.id:<8}  {finding.what:<64}  {printable(finding.by)}")


def _anchored(config_path: Path | None) -> str:
    """The newest checkpoint that one of the configured anchors has, "" when none can be asked."""
    try:
        anchors = [make_anchor(each, now=now) for each in load_config(config_path).checkpoints.anchors]
    except ConfigError:
        return ""
    notes = []
    for anchor in anchors:
        try:
            notes.append(asyncio.run(anchor.read()) if anchor.readable else "")
        except AnchorError as error:
            click.echo(f"anchor {anchor.name} cannot be read: {error}", err=True)
    return max(filter(None, notes), key=lambda note: chron.parse_note(note).checkpoint().size, default="")
