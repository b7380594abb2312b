"""The `--har` half of `claiim map`: recorded traffic, one line for each request.

What a line says where one request does several things: `operation`, `action`, `target`, `env` and `rule` are lists
of the same length, one place for each operation; where it does one, they are plain texts. Of a request that is not
named, `operation` and `action` say so (`github:unrecognised`, `conflict`, `http:unbound`) and `problem` says why.
Texts from the request are masked as in the Chron, and no query value is shown.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from chron import printable, redacted_text
from mappings import Mappings, Operation, Problem, Resolution, load_mappings
from proxy.cli.options import EXIT_DENY, EXIT_USAGE, fail, read_input
from proxy.config import Config
from proxy.facts import FactsError
from proxy.har import HarError, Recorded, read_har
from proxy.offline import as_judged

type Line = dict[str, object]

NOT_READ = "har.entry"
"""Code of a problem that is the recording's, not the request's."""


def map_archive(path: Path, config: Config, as_json: bool) -> None:
    """Print what each recorded request is; end with 1 when one is not named."""
    mappings = load_mappings(config.mappings, config.catalogues)
    try:
        recorded = read_har(read_input(path))
    except HarError as error:
        fail(f"{path}: {error}", EXIT_USAGE)
    unnamed = 0
    for line in _lines(recorded, mappings, config.proxy.max_body_bytes):
        unnamed += line["problem"] is not None
        click.echo(json.dumps(line, ensure_ascii=False) if as_json else "  ".join(_cells(line)))
    click.echo(f"{len(recorded)} requests, {unnamed} of them not named", err=True)
    if unnamed:
        raise SystemExit(EXIT_DENY)


def _lines(recorded: list[Recorded], mappings: Mappings, max_body_bytes: int) -> Iterator[Line]:
    for each in recorded:
        problem = Problem(NOT_READ, f"log.entries[{each.at}]: {each.fault}") if each.fault else None
        resolution = Resolution((), problem, "")
        if each.inbound is not None:
            try:
                request = as_judged(each.inbound, each.body, mappings, max_body_bytes)
                resolution = mappings.resolve(request)
            except FactsError as error:
                resolution = Resolution((), Problem(error.code, error.message), "")
        yield {"entry": each.at, "method": each.method, "url": each.url, **_said(resolution)}


def _said(resolution: Resolution) -> Line:
    problem = resolution.problem
    if problem is not None:
        nothing = dict.fromkeys(("target", "env", "rule"), "")
        said = {"operation": resolution.unnamed, "action": resolution.unnamed, **nothing}
        return {**said, "problem": {"code": problem.code, "message": redacted_text(problem.message)}}
    every = [_of(operation) for operation in resolution.operations]
    together: Line = {name: [one[name] for one in every] if len(every) > 1 else every[0][name] for name in every[0]}
    return {**together, "problem": None}


def _of(operation: Operation) -> dict[str, str]:
    return {
        "operation": operation.name,
        "action": operation.action,
        "target": redacted_text(operation.target),
        "env": operation.environment,
        "rule": operation.rule.id if operation.rule else "",
    }


def _cells(line: Line) -> Iterator[str]:
    yield f"{line['entry']:>4}"
    yield f"{printable(str(line['method'])):<6}"
    yield printable(str(line["url"]))
    action = line["action"]
    yield "->"
    yield ", ".join(dict.fromkeys(action)) if isinstance(action, list) else str(action)
    problem = line["problem"]
    if isinstance(problem, dict):
        yield printable(f"[{problem['code']}] {problem['message']}")
        return
    for name in ("target", "env"):
        value = line[name]
        shown = ", ".join(dict.fromkeys(value)) if isinstance(value, list) else str(value)
        if shown:
            yield printable(shown)
