"""`claiim map`: which operation, action, target and environment a request is, by which rule, and why.

The request goes through the same reading as one on the wire and through the mappings as they are on disk; nothing
is sent anywhere. Without any configuration the shipped packs answer alone.

    claiim map POST https://app.terraform.io/api/v2/runs -H 'Content-Type: application/json' -d @run.json
    claiim map CONNECT updates.vendor.test:443      is it a tunnel that passes unread?
    claiim map --har traffic.har --json             one line for each recorded request
"""

from collections.abc import Sequence
from pathlib import Path

import click

from mappings import Considered, Operation, Resolution, load_mappings
from proxy.cli.options import EXIT_DENY, config_option, fail, json_option, located_errors, print_json
from proxy.configloading import load_config
from proxy.facts import FactsError, Inbound
from proxy.offline import as_judged, on_paper

_ATTRIBUTES = ("access", "executes", "mints", "known")
"""What packs tell of an operation itself (`mappings.recognition.Call.attributes`)."""


@click.command("map")
@click.argument("method", required=False)
@click.argument("url", required=False)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; repeatable.")
@click.option("-d", "--data", "data", metavar="BODY|@FILE", help="The body, or a file that holds it.")
@click.option(
    "--har",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Recorded traffic, an HTTP Archive 1.2; - is stdin.",
)
@json_option
@config_option
@located_errors
def map_request(
    method: str | None,
    url: str | None,
    headers: Sequence[str],
    data: str | None,
    har: Path | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Show which action a request is, and by which rule; exit 0 when it is named, 1 when it is not.

    With --har every recorded request, one line each; exit 0 when all of them are named.
    """
    if har is not None:
        from proxy.cli.maphar import map_archive

        if method is not None or headers or data is not None:
            raise click.UsageError("--har takes its requests from the file; leave METHOD, URL, -H and -d out")
        map_archive(har, load_config(config_path, required=False), as_json)
        return
    if method is None or url is None:
        missing = "'URL'" if method else "'METHOD'"
        raise click.MissingParameter("Or give --har FILE.", param_hint=missing, param_type="argument")
    _map_one(*_written(method, url, headers, data), config_path, as_json)


def _map_one(inbound: Inbound, body: bytes, config_path: Path | None, as_json: bool) -> None:
    config = load_config(config_path, required=False)
    mappings = load_mappings(config.mappings, config.catalogues)
    try:
        request = as_judged(inbound, body, mappings, config.proxy.max_body_bytes)
    except FactsError as error:
        fail(f"{error.code}: {error.message}", EXIT_DENY)
    resolution, considered = mappings.explain(request)
    if as_json:
        print_json(_described(resolution, considered))
    else:
        _print(resolution, considered)
    if resolution.problem is not None:
        raise SystemExit(EXIT_DENY)


def _written(method: str, url: str, headers: Sequence[str], data: str | None) -> tuple[Inbound, bytes]:
    """Return the request that the command line writes, and its body."""
    fields, body = [_header(text) for text in headers], _body(data)
    try:
        inbound, taken = on_paper(method, url, fields, body)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    if taken:
        click.echo("taken as content-type: application/json; say otherwise with -H", err=True)
    return inbound, body


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f'"{text}" is no header; write "Name: value"', param_hint="-H")
    return name.strip(), value.strip()


def _body(data: str | None) -> bytes:
    if data is None:
        return b""
    if not data.startswith("@"):
        return data.encode()
    path = Path(data[1:])
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.BadParameter(f'"{path}" cannot be read: {error.strerror}', param_hint="-d") from None


def _print(resolution: Resolution, considered: Sequence[Considered]) -> None:
    for operation in resolution.operations:
        for name, text in _rows(operation):
            click.echo(f"{name:11}  {text}")
        click.echo()
    if resolution.problem is not None:
        click.echo(f"{resolution.problem.code}  {resolution.problem.message}")
        click.echo(f"{'action':11}  {resolution.unnamed}")
        if not resolution.family:
            click.echo("the host is bound to no pack; bind it, or name it in a rule, in a mapping file", err=True)
    others = [each for each in considered if each.verdict != "won"]
    if others:
        click.echo("also considered:")
    for each in others:
        detail = f": {each.detail}" if each.detail else ""
        click.echo(f"  {each.rule.id}  {each.rule.place}  {each.verdict}{detail}")


def _rows(operation: Operation) -> list[tuple[str, str]]:
    rule = f"{operation.rule.id}  {operation.rule.place}" if operation.rule else "none; the operation is the action"
    return [
        ("operation", operation.name),
        ("action", operation.action),
        ("target", operation.target),
        ("environment", operation.environment or "none"),
        ("rule", rule),
        *((name, operation.attributes[name]) for name in _ATTRIBUTES if name in operation.attributes),
    ]


def _described(resolution: Resolution, considered: Sequence[Considered]) -> dict[str, object]:
    problem = resolution.problem
    return {
        "family": resolution.family,
        "unnamed": resolution.unnamed,
        "problem": {"code": problem.code, "message": problem.message} if problem else None,
        "operations": [
            {
                "operation": operation.name,
                "action": operation.action,
                "target": operation.target,
                "environment": operation.environment,
                "rule": operation.rule.id if operation.rule else "",
                "pack": operation.rule.pack if operation.rule else "",
                "place": operation.rule.place if operation.rule else "",
                "attributes": dict(operation.attributes),
            }
            for operation in resolution.operations
        ],
        "considered": [
            {"rule": each.rule.id, "place": each.rule.place, "verdict": each.verdict, "detail": each.detail}
            for each in considered
        ],
    }
