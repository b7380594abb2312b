"""`claiim chron verify, checkpoint, prove, check, key, anchor, verifier`: what the log proves, and to whom.

    claiim chron verify --key VKEY --head head.note
    claiim chron verify postgresql://db/claiim              every chain there, and that none is hidden
    claiim chron checkpoint > head.note
    claiim chron prove chr_01k... -o decision.tlog-proof
    claiim chron check decision.tlog-proof --key VKEY

Exit codes of `verify`: 0 good, 1 tampered, 2 usage or no readable Chron, 11 good but records at the end are covered by
nothing that counts, 10 a segment that holds archived bodies is not where it was looked for.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

import chron
from chron import ChronError, find, printable
from chron.postgres.place import Place
from chron.sources import Source
from proxy.cli.chron import log_options, path_argument
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    read_input,
    refuse_gated_caller,
)

EXIT_MISSING = 10
EXIT_LOOSE = 11

_file = click.Path(dir_okay=False, path_type=Path)


def read_note(path: Path | None) -> str:
    """The checkpoint in a file; the last one, where it holds several as an anchor does."""
    if path is None:
        return ""
    text = read_input(path).decode("utf-8", "replace")
    return chron.last_note(text.rstrip("\n") + "\n\n") or text


def read_vkey(given: str) -> str:
    """A key as it is, or the file that holds it."""
    return given if "+" in given or not given else read_input(Path(given)).decode("utf-8", "replace").strip()


@click.command("verify")
@path_argument
@click.option("--lint", is_flag=True, help="Also look at JSON and at all pages of the file (slower).")
@click.option("--key", default="", metavar="VKEY", help="The key that must have signed, or a file that holds it.")
@click.option("--head", type=_file, help="A checkpoint kept elsewhere: nothing before its end may be missing.")
@click.option("--from", "old", type=_file, help="An older one: what it covers must be as it was.")
@click.option("--incremental", is_flag=True, help="Read only what came after --from.")
@click.option(
    "--indexes/--no-indexes",
    default=True,
    help="Look every record up in every index, so that no query misses one; without it takes half the time.",
)
@click.option("--jobs", type=click.IntRange(1), help="How many threads look at the indexes; as many as processors.")
@click.option(
    "--segments",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder with sealed segments [default: segments/ beside the log, or as configured].",
)
@json_option
@log_options
def verify(
    path: Source,
    lint: bool,
    key: str,
    head: Path | None,
    old: Path | None,
    incremental: bool,
    indexes: bool,
    jobs: int | None,
    segments: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Prove that no record was changed; exit 0 when all is well, 1 when not.

    10 when a segment with archived bodies is missing, 11 when the end of the log is not covered.
    """
    if isinstance(path, str) and chron.on_server(path) and not Place.read(path).chain:
        if key or head or old or segments:
            fail('a key, a head and segments are of one chain; name it in the URL, "?chain=NAME"', EXIT_USAGE)
        _verify_whole(path, lint, indexes, as_json)
    pinned = chron.parse_vkey(read_vkey(key)) if key else None
    known = chron.Known(pinned, read_note(head), read_note(old), incremental)
    folders = segments or _own_folder(path)
    found = chron.verify(path, lint=lint, known=known, segments=folders or None, indexes=indexes, jobs=jobs or 0)
    if as_json:
        print_json({"path": str(path), **asdict(found)})
    elif found.ok:
        _print_good(found, compared=bool(head))
    else:
        place = f"record {found.first_bad_seq}: " if found.first_bad_seq else ""
        click.echo(f"tampered: {place}{printable(found.fault)}; {found.records} records before it verify")
        click.echo("keep the file as evidence, start a new Chron, and compare with a copy", err=True)
    # Without a key or a head nobody has said what counts, and a running gate always has records not signed yet.
    loose = found.loose and (pinned or head)
    sys.exit(EXIT_DENY if not found.ok else EXIT_MISSING if found.missing else EXIT_LOOSE if loose else 0)


def _own_folder(path: Source) -> list[Path]:
    """Where the segments are of a log on a server that is the configuration's own: nothing is beside it."""
    if not chron.on_server(path):
        return []
    from proxy.config import ConfigError
    from proxy.configloading import load_config

    try:
        config = load_config(click.get_current_context().params["config_path"])
    except ConfigError:
        return []
    return [config.retention.folder] if config.chron == path else []


def _verify_whole(url: str, lint: bool, indexes: bool, as_json: bool) -> NoReturn:
    from chron.postgres.whole import verify_whole

    whole = verify_whole(url, time.time_ns(), lint=lint, indexes=indexes)
    if as_json:
        told = {"ok": whole.ok, "fault": whole.fault, "notices": whole.notices}
        print_json({"path": url, **told, "chains": {name: asdict(found) for name, found in whole.chains.items()}})
    else:
        for name, found in whole.chains.items():
            place = f"record {found.first_bad_seq}: " if found.first_bad_seq else ""
            good = f"{found.records} records verify, {found.covered} of them signed for, head {found.head_hash}"
            click.echo(f"{name}: {good}" if found.ok else f"{name}: tampered: {place}{printable(found.fault)}")
        for notice in whole.notices:
            click.echo(f"note: {printable(notice)}")
        if whole.fault:
            click.echo(f"tampered: {printable(whole.fault)}")
        elif whole.ok:
            click.echo("ok: every chain is in the directory")
    sys.exit(0 if whole.ok else EXIT_DENY)


def _print_good(found: "chron.Verification", *, compared: bool) -> None:
    again = f", the first {found.skipped} not read again" if found.skipped else ""
    click.echo(f"ok: {found.records} records verify{again}, head {found.head_hash}")
    if found.emptied:
        click.echo(f"{found.emptied} of them have no body any more, as the log says; {found.segments} segments verify")
    for name in found.missing:
        click.echo(f'missing: segment {name}, which has archived bodies; give its folder with "--segments"')
    if found.covered:
        by = "the head kept elsewhere" if compared else "a signed checkpoint"
        click.echo(f"{found.covered} records are covered by {by}, {found.loose} behind it by none")
    if not found.indexes:
        click.echo("indexes were not looked at: this proves the records, not that every query finds them", err=True)
    if not compared:
        click.echo("note the head elsewhere: records cut off at the end show only against it", err=True)


@click.command("checkpoint")
@click.option("--now", is_flag=True, help="Sign one over all that is recorded, instead of printing the last one.")
@log_options
def checkpoint(path: Source, now: bool) -> None:
    """Print a signed checkpoint; keep it elsewhere, it is the measure of the log."""
    if now:
        refuse_gated_caller("chron checkpoint --now")
        from proxy.cli.chronsigning import sign_now

        click.echo(sign_now(click.get_current_context().params["config_path"], path), nl=False)
        return
    records = list(find(path, kind="checkpoint", newest=1))
    if not records:
        fail('this log has no checkpoint yet; sign one with "claiim chron checkpoint --now"', EXIT_DENY)
    click.echo(records[0].text("note"), nl=False)


@click.command("prove")
@click.argument("record_id")
@click.option("-o", "--output", type=_file, help="Where to write it [default: standard output].")
@click.option("--newest", is_flag=True, help="Prove it by the last checkpoint, not by the first one over it.")
@log_options
def prove(path: Source, record_id: str, output: Path | None, newest: bool) -> None:
    """Write a proof that one record is in the log, for somebody who has nothing but its public key."""
    try:
        proof = chron.prove(path, record_id.lower(), newest=newest)
    except ChronError as error:
        fail(printable(str(error)), EXIT_DENY)
    if proof is None:
        fail(f'no record "{printable(record_id)}" in chron "{path}"; ids look like chr_01k...', EXIT_DENY)
    if output is None:
        click.echo(proof, nl=False)
        return
    try:
        output.write_text(proof, encoding="utf-8")
    except OSError as error:
        fail(f"{output}: cannot write: {(error.strerror or '').lower()}; give another file", EXIT_USAGE)


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", required=True, metavar="VKEY", help="The log's public key, or a file that holds it.")
@json_option
def check(file: Path, key: str, as_json: bool) -> None:
    """Check a proof of a record, without the log: exit 0 and the record when it holds, 1 when not."""
    text = read_input(file).decode("utf-8", "replace")
    try:
        vkey = chron.parse_vkey(read_vkey(key)).vkey
    except ChronError as error:
        fail(printable(str(error)), EXIT_USAGE)
    try:
        proven = chron.check(text, vkey)
    except ChronError as error:
        fail(f"not proved: {printable(str(error))}", EXIT_DENY)
    if as_json:
        print_json({"seq": proven.seq, "log": proven.checkpoint.name, "record": dict(proven.fields)})
        return
    click.echo(f"proved: record {proven.seq} of log {printable(proven.checkpoint.name)}")
    for name, value in sorted(proven.fields.items()):
        click.echo(f"  {name:<18} {printable(value if isinstance(value, str) else json.dumps(value))}")


@click.group("key")
def key() -> None:
    """The key that signs the log: show it, change it, make one."""


@key.command("show")
@path_argument
@click.option("--all", "every", is_flag=True, help="Also those before it, oldest first.")
@json_option
@log_options
def show_key(path: Source, every: bool, as_json: bool) -> None:
    """Print the public key; give it to whoever is to verify the log, by another way than the log."""
    records = list(find(path, kind="key"))
    if not records:
        fail('this log has no key yet; it gets one when "claiim serve" opens it', EXIT_DENY)
    shown = records if every else records[-1:]
    if as_json:
        print_json([{name: record.text(name) for name in ("ts", "event", "vkey", "vkey_second")} for record in shown])
        return
    for record in shown:
        for vkey in filter(None, (record.text("vkey"), record.text("vkey_second"))):
            click.echo(f"{record.text('ts')}  {record.text('event')}  {vkey}" if every else vkey)


@key.command("rotate")
@click.option("--lost", is_flag=True, help="The key is lost: go on with another. Every verifier sees the break.")
@config_option
@located_errors
def rotate_key(lost: bool, config_path: Path | None) -> None:
    """Have a new key take over; the old one signs that it does, and is kept aside as .old."""
    refuse_gated_caller("chron key rotate")
    from proxy.cli.chronsigning import rotate

    click.echo(rotate(config_path, lost=lost))


@key.command("make")
@click.argument("file", type=_file)
@click.option("--second", is_flag=True, help="An ML-DSA-44 key, to stand beside the one in use.")
@located_errors
def make_key_command(file: Path, second: bool) -> None:
    """Make a key in a file that only you can read, for "checkpoints.key" or "checkpoints.ml_dsa_key"."""
    refuse_gated_caller("chron key make")
    chron.make_key(file, second=second)
    click.echo(f"wrote {file}")


@click.group("anchor")
def anchor() -> None:
    """The places outside the log that keep its checkpoints."""


@anchor.command("status")
@json_option
@config_option
@located_errors
def anchor_status(as_json: bool, config_path: Path | None) -> None:
    """Show how far each place is; exit 1 when too few hold the log's last checkpoint."""
    from proxy.cli.chronsigning import anchors_of

    enough, anchors = anchors_of(config_path)
    if as_json:
        print_json({"enough": enough, "anchors": [asdict(each) for each in anchors]})
    for each in () if as_json else anchors:
        click.echo(printable(f"{each.name}  {each.told}"))
    if not anchors and not as_json:
        click.echo('no anchors; name some in "checkpoints.anchors"', err=True)
    sys.exit(0 if enough else EXIT_DENY)


@click.command("verifier")
def verifier() -> None:
    """Print a program of one file that verifies a log or a proof without any of ours."""
    from importlib import resources

    click.echo(resources.files("chron").joinpath("standalone.py").read_text("utf-8"), nl=False)
