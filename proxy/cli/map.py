"""`claiim map`: which operation, action, target and environment a request is, by which rule, and why.

The request goes through the same reading as one on the wire and through the mappings as they are on disk; nothing
is sent anywhere. Without any configuration the shipped packs answer alone.

    claiim map POST https://app.terraform.io/api/v2/runs -H 'Content-Type: application/json' -d @run.json
"""

from collections.abc import Sequence
from pathlib import Path

import click

from mappings import Considered, Operation, Request, Resolution, load_mappings
from proxy.cli.options import EXIT_DENY, config_option, fail, json_option, located_errors, print_json
from proxy.config import load_config
from proxy.facts import FactsError, Inbound, read_facts

_SCHEMES = ("http", "https")


@click.command("map")
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; repeatable.")
@click.option("-d", "--data", "data", metavar="BODY|@FILE", help="The body, or a file that holds it.")
@json_option
@config_option
@located_errors
def map_request(
    method: str, url: str, headers: Sequence[str], data: str | None, as_json: bool, config_path: Path | None
) -> None:
    """Show which action a request is, and by which rule; exit 0 when it is named, 1 when it is not."""
    request = _request(method, url, headers, data)
    mappings = load_mappings(load_config(config_path, required=False).mappings)
    resolution, considered = mappings.explain(request)
    if as_json:
        print_json(_described(resolution, considered))
    else:
        _print(resolution, considered)
    if resolution.problem is not None:
        raise SystemExit(EXIT_DENY)


def _request(method: str, url: str, headers: Sequence[str], data: str | None) -> Request:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise click.BadParameter(f'"{url}" is no http:// or https:// URL', param_hint="URL")
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[cut:] if rest[cut:].startswith("/") else f"/{rest[cut:]}"
    body = _body(data)
    fields = [(name.encode(), value.encode()) for name, value in map(_header, headers)]
    named = {name.lower() for name, _ in fields}
    if data is not None and b"content-type" not in named and body[:1] in (b"{", b"["):
        click.echo("taken as content-type: application/json; say otherwise with -H", err=True)
        fields.append((b"content-type", b"application/json"))
    if body and b"content-length" not in named:
        fields.append((b"content-length", str(len(body)).encode()))
    try:
        inbound = Inbound(method.upper(), scheme, target, tuple(fields), "", uri_authority=rest[:cut])
        return read_facts(inbound, body).request
    except FactsError as error:
        fail(f"{error.code}: {error.message}", EXIT_DENY)


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
    ]


def _described(resolution: Resolution, considered: Sequence[Considered]) -> dict[str, object]:
    problem = resolution.problem
    return {
        "family": resolution.family,
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
