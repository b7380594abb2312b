"""`claiim chron export`: write records to a file for other systems, with a manifest that verifies it.

claiim chron export --since 24h --format ocsf -o day.ocsf.jsonl
claiim chron export outcome=DENY --format csv -o denied.csv
claiim chron export -o all.jsonl && claiim chron export --verify all.jsonl --key VKEY

Exit codes: 0 ok, 1 the file is not what its manifest, the log or the key says, 2 usage or nothing to read, 11 ok, but
the key has signed no checkpoint over the last records yet.
"""

import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from chron import ChronError, parse_vkey, printable
from chron.covering import Cover, cover
from chron.exported import Checked, check_export
from chron.filtering import Filter
from chron.manifest import BODIES, Manifest, Place, Tally, manifest_of, origin_and_hash_before, stored_line
from chron.notes import VerifierKey
from chron.querying import Row, head, stored
from chron.reading import record_of
from chron.sources import Source
from proxy.cli.chron import configured, when
from proxy.cli.chronevidence import EXIT_LOOSE, read_vkey
from proxy.cli.chronquery import Words, filter_argument, selection
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, LOG, config_option, fail, json_option, located_errors
from proxy.exports import COLUMNS, LINES, Event
from proxy.exports.csvs import csv_row


@click.command("export", cls=Words)
@filter_argument
@click.option("--format", "form", type=click.Choice([BODIES, *LINES]), default=BODIES, show_default=True)
@click.option("--since", callback=when, help='"24h", "7d" or an ISO 8601 time.')
@click.option("--until", callback=when, help="As --since; not included.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; it must not exist.")
@click.option(
    "--verify", "verified", type=click.Path(dir_okay=False, path_type=Path), help="Verify this export instead."
)
@click.option("--key", default="", metavar="VKEY", help="With --verify: the log's public key, or a file that holds it.")
@click.option("--chron", "chron_path", type=LOG, help="The Chron: a file or a URL.")
@config_option
@json_option
@located_errors
def export_command(
    text: str,
    form: str,
    since: datetime | None,
    until: datetime | None,
    output: Path | None,
    verified: Path | None,
    key: str,
    chron_path: Source | None,
    config_path: Path | None,
    as_json: bool,
    path: Source | None = None,
) -> None:
    """Write all records, or those that match, to a file with a manifest beside it.

    With --verify, check such a file: by its manifest, by the log's key, and by the Chron, as far as they are named.
    """
    try:
        if verified is not None:
            _verify(verified, path or chron_path, parse_vkey(read_vkey(key)) if key else None, as_json)
            return
        if key:
            fail("--key is for --verify; leave it out", EXIT_USAGE)
        if output is None:
            fail("-o is missing; name the file to write", EXIT_USAGE)
        log = path or chron_path or configured(config_path)
        asked = selection(text, kind="all", since=since, until=until)
        manifest = _written(log, asked, _described(text, since, until), form, output)
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    if as_json:
        click.echo(manifest.written(), nl=False)
    else:
        click.echo(f"{manifest.records} records in {output}, manifest in {manifest_of(output)}", err=True)


def _described(text: str, since: datetime | None, until: datetime | None) -> str:
    """What was asked for, with times that mean the same tomorrow."""
    moments = [f"{name}={at.isoformat()}" for name, at in (("since", since), ("until", until)) if at]
    return " ".join([*([f"({text})"] if text and moments else [text] if text else []), *moments])


def _written(log: Source, asked: Filter, described: str, form: str, output: Path) -> Manifest:
    """Write the file and its manifest, readable for this user alone; nothing stays when it fails."""
    seq, hash_ = head(log)
    files = (output, manifest_of(output))
    made: list[Path] = []
    try:
        for file in files:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            made.append(file)
        with output.open("wb") as opened:
            tally = Tally(opened)
            origin, _ = origin_and_hash_before(log, 1)
            if form == "csv":
                tally.write(f"{csv_row(COLUMNS)}\n".encode())
            for row in stored(log, asked, upto=seq):
                tally.add(row, _line(row, form, origin))
            opened.flush()
            os.fsync(opened.fileno())
        _, before = origin_and_hash_before(log, tally.first.seq)
        proof = cover(log, tally.seqs) if form == BODIES else Cover()
        manifest = tally.manifest(form, described, origin, before, Place(seq, "", hash_.hex()), proof)
        files[1].write_text(manifest.written(), encoding="utf-8")
    except BaseException as error:
        for file in made:
            with suppress(OSError):
                file.unlink()
        if isinstance(error, FileExistsError):
            raise ChronError(f'"{error.filename}" is there already; give another name') from None
        if isinstance(error, OSError):
            raise ChronError(f'cannot write "{output}": {error.strerror}; give another file') from error
        raise
    return manifest


def _line(row: Row, form: str, origin: str) -> bytes:
    if form == BODIES:
        return stored_line(row)
    seq, id_, body, leaf, hash_ = row
    event = Event(seq, id_, record_of(seq, id_, body, hash_).fields, leaf.hex(), hash_.hex(), origin)
    try:
        return LINES[form](event).encode()
    except (ValueError, OverflowError) as error:  # a time that is none
        raise ChronError(f'record {seq}: {error}; "claiim chron verify" tells what was changed') from error


def _verify(file: Path, log: Source | None, key: VerifierKey | None, as_json: bool) -> None:
    found = check_export(file, log, key)
    if as_json:
        names = ("records", "chained", "compared", "erased", "covered", "fault")
        click.echo(json.dumps({"ok": not found.fault, **{name: getattr(found, name) for name in names}}, indent=2))
    elif found.fault:
        click.echo(f"not what was written: {printable(found.fault)}")
    else:
        bodies = Manifest.read(manifest_of(file)).format == BODIES
        click.echo(f"ok: {found.records} records, {_proven(found, signed=key is not None, bodies=bodies)}")
    loose = key is not None and found.covered < found.records
    sys.exit(EXIT_DENY if found.fault else EXIT_LOOSE if loose else 0)


def _proven(found: Checked, *, signed: bool, bodies: bool) -> str:
    ways = ["the file is the one that was written"]
    if found.chained:
        ways.append("each record follows the one before it")
    if found.erased:
        ways.append(f"{found.erased} of them erased")
    if signed:
        ways.append(f"{found.covered} of them in the log that the key signed")
    as_there = "as in the Chron" if bodies else f"the first and the last are in the Chron (only {BODIES} is compared)"
    ways.append(as_there if found.compared else "not compared with a Chron (--chron)")
    return ", ".join(ways)
