"""`claiim chron seal, segments, archive, erase, prune, removals, approve, refuse`: living with a log that grows.

    claiim chron seal                               state/segments/chron-1-1204.db
    claiim chron archive --older-than 90d           bodies older than that are in their segments alone
    claiim chron erase chr_01k... --basis "..."     rmv_01k... waits for another human
    claiim chron approve rmv_01k...                 3 bodies are gone

What lets bodies go for good takes two humans, each with a token of their own, and a gate that runs.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from chron import Chron
from chron.living import archive as archive_now
from chron.living import compact as compact_now
from chron.living import seal as seal_now
from chron.segments import known_folders, sealed
from chron.sources import Source, file_of
from proxy.cli.asking import PATIENT_S
from proxy.cli.chron import log_options, when
from proxy.cli.chronsigning import asked_or_done
from proxy.cli.humans import Desk, desk_options, path_of, print_fields, print_table
from proxy.cli.options import (
    EXIT_HOLD,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    refuse_gated_caller,
)
from proxy.config import Config
from proxy.configloading import load_config

_SPAN = re.compile(r"([1-9][0-9]{0,14})-([1-9][0-9]{0,14})")

_older = click.option(
    "--older-than", "before", required=True, callback=when, metavar="WHEN", help='"90d", or a time in ISO 8601.'
)
_basis = click.option("--basis", required=True, help="Why: a law, a ticket. It is recorded; name nobody.")


@click.command("seal")
@json_option
@config_option
@located_errors
def seal(as_json: bool, config_path: Path | None) -> None:
    """Write a sealed segment of all that is recorded since the last one."""
    refuse_gated_caller("chron seal")
    config = load_config(config_path)
    found = _asked(config, "/v1/segments", {}, lambda log: {"segment": _text(seal_now(log, config.retention.folder))})
    if as_json:
        print_json(found)
    elif found["segment"]:
        click.echo(found["segment"])
    else:
        click.echo("nothing is new since the last segment", err=True)


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


@click.command("archive")
@_older
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Move the segments to this folder, on another disk; also those archived before.",
)
@json_option
@config_option
@located_errors
def archive(before: datetime, to: Path | None, as_json: bool, config_path: Path | None) -> None:
    """Let the bodies of old records be in their segments alone; the log keeps what proves them."""
    refuse_gated_caller("chron archive")
    config = load_config(config_path)
    to = to.resolve() if to else config.retention.archive_folder
    body = {"before": before.astimezone(UTC).isoformat(), **({"to": str(to)} if to else {})}

    def act(log: Chron) -> dict[str, Any]:
        return {"archived": [each.file for each in archive_now(log, [config.retention.folder], before, to)]}

    found = _asked(config, "/v1/archives", body, act)
    if as_json:
        print_json(found)
        return
    for name in found["archived"]:
        click.echo(name)
    if not found["archived"]:
        click.echo("no sealed segment is that old, or all of them are archived already", err=True)


@click.command("compact")
@json_option
@log_options
def compact(path: Source, as_json: bool) -> None:
    """Give back the room that archived bodies left; with the gate stopped, and room for a second log."""
    refuse_gated_caller("chron compact")
    before, after = compact_now(file_of(path, "a server gives room back by itself").resolve())
    if as_json:
        print_json({"path": str(path), "before_bytes": before, "after_bytes": after})
    else:
        click.echo(f"{path}: {before >> 20} MiB before, {after >> 20} MiB now")


@click.command("segments")
@json_option
@log_options
def segments(path: Source, as_json: bool) -> None:
    """List the sealed segments of a log: which records, since when, and where their bodies are."""
    folders = [load_config(click.get_current_context().params["config_path"]).retention.folder]
    folders += known_folders(path)
    rows = []
    for each in sealed(path):
        file = each.find(folders)
        place = "removed" if each.state == "pruned" else str(file) if file else "not here"
        rows.append(
            {"segment": each.file, "first": each.first, "last": each.last, "sealed": each.at, "bodies": each.state}
            | {"file": place}
        )
    if as_json:
        print_json(rows)
    else:
        print_table(("segment", "sealed", "bodies", "file"), rows)


@click.command("erase")
@click.argument("records", nargs=-1, metavar="CHR_ID...")
@click.option("--seq", "span", default="", metavar="A-B", help="All records from one place in the log to another.")
@click.option("--person", default="", metavar="HUMAN", help="The name that is kept of a person, beside the log.")
@_basis
@desk_options
def erase(desk: Desk, records: tuple[str, ...], span: str, person: str, basis: str) -> None:
    """Ask that the bodies of records go, with what came of them; a second human has to agree. Exit 8."""
    if sum(map(bool, (records, span, person))) != 1:
        fail("name records by id, or --seq, or --person", EXIT_USAGE)
    if person:
        _ask(desk, {"what": "forget", "human": person, "basis": basis})
    elif records:
        _ask(desk, {"what": "erase", "records": list(records), "basis": basis})
    else:
        _ask(desk, {"what": "erase", **_places(span), "basis": basis})


def _places(span: str) -> dict[str, int]:
    named = _SPAN.fullmatch(span)
    if named is None:
        fail(f'--seq "{span}": write the first and the last record, as in 17-40', EXIT_USAGE)
    return {"first": int(named[1]), "last": int(named[2])}


@click.command("prune")
@_older
@_basis
@desk_options
def prune(desk: Desk, before: datetime, basis: str) -> None:
    """Ask that sealed segments go that are older, bodies and files; a second human has to agree. Exit 8."""
    _ask(desk, {"what": "prune", "before": before.astimezone(UTC).isoformat(), "basis": basis})


def _ask(desk: Desk, body: Mapping[str, object]) -> None:
    refuse_gated_caller("claiim chron")
    found = desk.post(path_of("removals"), body)
    if desk.as_json:
        print_json(found)
    else:
        click.echo(f'{found["id"]} waits for another human: "claiim chron approve {found["id"]}"')
    raise SystemExit(EXIT_HOLD)


@click.command("removals")
@desk_options
def removals(desk: Desk) -> None:
    """List what waits for a second human before it goes."""
    found = desk.get(path_of("removals"))["waiting"]
    if desk.as_json:
        print_json(found)
    for each in [] if desk.as_json else found:
        print_fields(each)


@click.command("approve")
@click.argument("id_", metavar="RMV_ID")
@desk_options
def approve(desk: Desk, id_: str) -> None:
    """Agree to what another human asked for; then it is gone."""
    refuse_gated_caller("claiim chron")
    found = desk.post(path_of("removals", id_, "approve"), {}, timeout_s=PATIENT_S)
    if desk.as_json:
        print_json(found)
    else:
        click.echo(f"{found['bodies']} bodies are gone")


@click.command("refuse")
@click.argument("id_", metavar="RMV_ID")
@click.option("--reason", default="", help="Why not; it is recorded.")
@desk_options
def refuse(desk: Desk, id_: str, reason: str) -> None:
    """Say no to what another human asked for, or take back what you did."""
    refuse_gated_caller("claiim chron")
    found = desk.post(path_of("removals", id_, "refuse"), {"reason": reason})
    if desk.as_json:
        print_json(found)
    else:
        click.echo(f"{id_} is refused", err=True)


def _asked(
    config: Config, route: str, body: Mapping[str, object], act: Callable[[Chron], dict[str, Any]]
) -> dict[str, Any]:
    return asked_or_done(config, route, act, body, PATIENT_S)
