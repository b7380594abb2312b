"""`claiim exception`: two people let one agent do one thing to one target, for at most an hour (break-glass).

claiim exception request --agent deploy-bot --action infra:destroy --target db-7 --minutes 20 --reason "INC-12"
claiim exception approve bgl_01...        (somebody else)
"""

import click

from proxy.cli.humans import Desk, desk_options, path_of, print_table
from proxy.cli.options import print_json, refuse_gated_caller

id_argument = click.argument("exception_id", metavar="ID")


@click.group()
def exception() -> None:
    """Make an exception for an agent; takes two people."""
    refuse_gated_caller("claiim exception")


@exception.command()
@click.option("--agent", required=True, help="The agent it is for.")
@click.option("--action", required=True, help='The action, or a pattern: "infra:destroy".')
@click.option("--target", required=True, help='The target, or a glob: "db-*".')
@click.option("--minutes", required=True, type=click.IntRange(1, 60), help="For how long, once it is approved.")
@click.option("--reason", required=True, help="Why; recorded.")
@desk_options
def request(desk: Desk, agent: str, action: str, target: str, minutes: int, reason: str) -> None:
    """Ask for an exception; somebody else has to approve it within the hour."""
    body = {"agent": agent, "action": action, "target": target, "minutes": minutes, "reason": reason}
    answer = desk.post("/v1/exceptions", body)
    if desk.as_json:
        print_json(answer)
        return
    click.echo(answer["exception"])
    click.echo(f"somebody else has to approve it: claiim exception approve {answer['exception']}", err=True)


@exception.command()
@id_argument
@desk_options
def approve(desk: Desk, exception_id: str) -> None:
    """Approve an exception that somebody else asked for; it begins now."""
    _said(desk, desk.post(path_of("exceptions", exception_id, "approve"), {}))


@exception.command()
@id_argument
@desk_options
def end(desk: Desk, exception_id: str) -> None:
    """End an exception, or refuse one that was asked for."""
    _said(desk, desk.post(path_of("exceptions", exception_id, "end"), {}))


@exception.command("list")
@desk_options
def list_exceptions(desk: Desk) -> None:
    """List the exceptions of the last hours."""
    found = desk.get("/v1/exceptions")["exceptions"]
    if desk.as_json:
        print_json(found)
    elif found:
        columns = ("exception", "state", "agent", "action", "target", "until", "requested_by", "approved_by", "reason")
        print_table(columns, found)
    else:
        click.echo("there are no exceptions", err=True)


def _said(desk: Desk, answer: dict[str, object]) -> None:
    if desk.as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['exception']}: {answer['state']} until {answer['until']}", err=True)
