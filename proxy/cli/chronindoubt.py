"""`claiim chron indoubt`: requests of which nobody knows what came.

    claiim chron indoubt
    claiim chron indoubt --chron copy.db --json

JSON is one object per line. Exit 0 when there is none, 1 when there are some, 2 when the Chron cannot be read.
"""

import json

import click

from chron import printable
from chron.doubt import Doubt, doubts
from chron.sources import Source
from proxy.cli.chron import log_options
from proxy.cli.options import EXIT_DENY, LOG, json_option

_NAMES = ("ts", "agent", "anchor", "action", "target", "host")


@click.command("indoubt")
@click.argument("path", required=False, type=LOG)
@json_option
@log_options
def indoubt(path: Source, as_json: bool) -> None:
    """List the decisions whose outcome is not known; exit 1 when there are some."""
    found = 0
    for found, doubt in enumerate(doubts(path), start=1):  # noqa: B007 -- the count is the result
        click.echo(json.dumps(_told(doubt)) if as_json else _line(doubt))
    if found:
        raise SystemExit(EXIT_DENY)
    if not as_json:
        click.echo("every decision about a request has its outcome")


def _told(doubt: Doubt) -> dict[str, object]:
    names = ("ts", "request_bytes", "response_bytes", "duration_us")
    return {
        "state": doubt.state,
        "id": doubt.id,
        **{name: doubt.decision[name] for name in _NAMES if name in doubt.decision},
        "segment": {name: doubt.segment[name] for name in names if name in doubt.segment} or None,
    }


def _line(doubt: Doubt) -> str:
    at, agent, human, action, target, host = (str(doubt.decision.get(name, "")) for name in _NAMES)
    who = f"{agent or '-'} <- {human or '-'}"
    where = " on ".join(filter(None, (action or "erased", target or host)))
    moved = ""
    if doubt.segment:
        sent, received = (doubt.segment.get(name, 0) for name in ("request_bytes", "response_bytes"))
        moved = f"  at {doubt.segment['ts']} {sent} bytes sent, {received} received"
    return printable(f"{at}  {doubt.state:<8}  {who}  {where}  {doubt.id}{moved}")
