"""`claiim approvals`: see what agents wait for, and say yes or no.

    claiim approvals list
    claiim approvals approve apr_01... --reason "maintenance window"

Approving shows the request first and names its fingerprint to the gate: what was shown is what is approved, and
nothing else can be.
"""

import sys

import click

from proxy.cli.humans import Desk, desk_options, path_of, print_fields, print_table
from proxy.cli.options import EXIT_USAGE, fail, print_json, refuse_gated_caller

id_argument = click.argument("approval_id", metavar="ID")


@click.group()
def approvals() -> None:
    """See what agents wait for, and approve or deny it."""
    refuse_gated_caller("claiim approvals")


@approvals.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are decided or over.")
@desk_options
def list_approvals(desk: Desk, everything: bool) -> None:
    """List what waits for you and others."""
    found = desk.get("/v1/approvals")["approvals"]
    shown = [one for one in found if everything or one["state"] == "pending"]
    if desk.as_json:
        print_json(shown)
    elif shown:
        print_table(("approval", "state", "agent", "operations", "request", "needs", "expires"), shown)
    else:
        click.echo("nothing waits for approval", err=True)


@approvals.command()
@id_argument
@desk_options
def show(desk: Desk, approval_id: str) -> None:
    """Show one approval: exactly what would be let through."""
    found = desk.get(path_of("approvals", approval_id))
    if desk.as_json:
        print_json(found)
    else:
        print_fields(found)


@approvals.command()
@id_argument
@click.option("--reason", default="", help="Why; recorded with your name.")
@click.option("--fingerprint", help="Approve only the request with this fingerprint, without asking.")
@click.option("--yes", is_flag=True, help="Approve what is shown without asking.")
@desk_options
def approve(desk: Desk, approval_id: str, reason: str, fingerprint: str | None, yes: bool) -> None:
    """Let one exact request through, once."""
    shown = desk.get(path_of("approvals", approval_id))
    print_fields(shown, err=True)
    if fingerprint is None and not yes:
        if not sys.stdin.isatty():
            fail("this would approve what nobody has looked at; give --fingerprint, or --yes", EXIT_USAGE)
        click.confirm("approve this request?", abort=True, err=True)
    body = {"fingerprint": fingerprint or shown["fingerprint"], "reason": reason}
    _said(desk, desk.post(path_of("approvals", approval_id, "approve"), body))


@approvals.command()
@id_argument
@click.option("--reason", default="", help="Why; recorded with your name, and told to the agent.")
@desk_options
def deny(desk: Desk, approval_id: str, reason: str) -> None:
    """Refuse a request."""
    _said(desk, desk.post(path_of("approvals", approval_id, "refuse"), {"reason": reason}))


def _said(desk: Desk, answer: dict[str, object]) -> None:
    if desk.as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['approval']}: {answer['state']}", err=True)
