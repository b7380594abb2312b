"""`claiim chron erase`: let what the log says of somebody go for good; takes two people.

    claiim chron erase chr_01k... --basis "GDPR Art. 17, request 2026-114"       or --seq 17-40, or --person HUMAN
    era_01k...
    claiim chron erase --approve era_01k...        (somebody else)

Exit 8 while it waits, 1 when it is refused.
"""

import re
from typing import NoReturn

import click

from proxy.cli.humans import Desk, desk_options, path_of, print_table
from proxy.cli.options import EXIT_DENY, EXIT_HOLD, EXIT_USAGE, fail, print_json, refuse_gated_caller

_SPAN = re.compile(r"([1-9][0-9]{0,14})-([1-9][0-9]{0,14})")


@click.command("erase")
@click.argument("record_id", required=False, default="")
@click.option("--seq", "span", default="", metavar="A-B", help="All records from one place in the log to another.")
@click.option("--person", default="", metavar="HUMAN", help="The name that is kept of a person.")
@click.option("--basis", default="", help="On what ground; recorded, so name nobody in it.")
@click.option("--approve", default="", metavar="ERA_ID", help="Agree to what another human asked for.")
@click.option("--refuse", default="", metavar="ERA_ID", help="Say no to it, or take your own back.")
@click.option("--waiting", is_flag=True, help="List what waits for another human.")
@desk_options
def erase(
    desk: Desk, record_id: str, span: str, person: str, basis: str, approve: str, refuse: str, waiting: bool
) -> None:
    """Let the body of a record, or the name of a person, go for good; takes two people.

    Hashes stay: the log verifies as before, and proofs given out before still hold.
    """
    refuse_gated_caller("claiim chron erase")
    if sum(map(bool, (record_id, span, person, approve, refuse, waiting))) != 1:
        fail("name one of RECORD_ID, --seq, --person, --approve, --refuse and --waiting", EXIT_USAGE)
    if waiting:
        _list(desk)
    elif approve:
        _approve(desk, approve)
    elif refuse:
        done = desk.post(path_of("erasures", refuse, "refuse"), {})
        print_json(done) if desk.as_json else click.echo(f"{refuse} is refused", err=True)
    else:
        _ask(desk, _wanted(record_id, span, person), basis)


def _wanted(record_id: str, span: str, person: str) -> dict[str, object]:
    if not span:
        return {"human": person} if person else {"record": record_id.lower()}
    named = _SPAN.fullmatch(span)
    if named is None:
        fail(f'--seq "{span}": write the first and the last record, as in 17-40', EXIT_USAGE)
    return {"first": int(named[1]), "last": int(named[2])}


def _ask(desk: Desk, wanted: dict[str, object], basis: str) -> NoReturn:
    if not basis.strip():
        fail('say on what ground: --basis "GDPR Art. 17, request 2026-114"', EXIT_USAGE)
    asked = desk.post("/v1/erasures", {**wanted, "basis": basis})
    if desk.as_json:
        print_json(asked)
    else:
        click.echo(asked["id"])
        click.echo(
            f'{asked["what"]}: waits for another human; they run "claiim chron erase --approve {asked["id"]}"', err=True
        )
    raise SystemExit(EXIT_HOLD)


def _approve(desk: Desk, id_: str) -> None:
    found = next((each for each in desk.get("/v1/erasures")["waiting"] if each["id"] == id_), None)
    if found is None:
        fail(f'nothing waits as "{id_}"; "claiim chron erase --waiting" lists what does', EXIT_DENY)
    done = desk.post(path_of("erasures", id_, "approve"), {"what": found["what"]})
    if desk.as_json:
        print_json(done)
    else:
        click.echo(f"{done['what']}: {done['erased']} erased", err=True)


def _list(desk: Desk) -> None:
    found = desk.get("/v1/erasures")["waiting"]
    if desk.as_json:
        print_json(found)
    elif found:
        print_table(("id", "what", "by", "at", "basis"), found)
    else:
        click.echo("nothing waits", err=True)
