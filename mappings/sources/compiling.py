"""What every compiler of a catalogue shares: rows, checks, access levels and corrections.

A correction is a file ``overrides/FAMILY.yaml``; nothing else is written by hand:

    - op: actions/create-workflow-dispatch      # a glob over names with {a,b}, or a list of them
      executes: true                            # also: mints, access, routes (in place of those compiled), drop: true
      reason: runs a workflow whose steps stand in the repository
    - op: registry/provider-versions            # an operation that the source lacks: its routes, and `add`
      add: true
      access: read
      routes: ["GET /v1/providers/{namespace}/{type}/versions"]
      reason: the registry protocol is no part of the client

A correction that fits no operation is an error, so that none outlives what it corrected; so is an addition of one
that is there. They apply in order.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mappings.actions import canonical_action
from mappings.catalogues.routes import EXECUTES, MINTS, split_route
from mappings.globs import compile_glob
from mappings.pathtemplates import read_template
from mappings.recognition import ACCESS

COMPILERS: Mapping[str, str] = {
    "anthropic": "mappings.sources.anthropic",
    "aws": "mappings.sources.aws",
    "cloudflare": "mappings.sources.cloudflare",
    "datadog": "mappings.sources.datadog",
    "github": "mappings.sources.github",
    "gitlab": "mappings.sources.gitlab",
    "google": "mappings.sources.google",
    "openai": "mappings.sources.openai",
    "pagerduty": "mappings.sources.pagerduty",
    "slack": "mappings.sources.slack",
    "stripe": "mappings.sources.stripe",
    "terraform": "mappings.sources.terraform",
}
"""Module of each family's compiler. A module has `PACKAGES`, as ``PyPI:botocore`` or ``npm:@octokit/openapi``,
and `compile_catalogue`, which takes the folder of each."""

OVERRIDES = Path(__file__).parent / "overrides"

_CORRECTIONS = frozenset({"op", "reason", "executes", "mints", "access", "routes", "drop", "add"})


class SourceError(Exception):
    """A package does not hold what its compiler reads; one line with the place."""


@dataclass(frozen=True, slots=True)
class Described:
    """One operation, as compiled."""

    name: str
    """Without the family."""
    access: str
    """A word of `mappings.recognition.ACCESS`."""
    routes: tuple[str, ...]
    """``METHOD [host]/path/{template}[?key[=value]]``."""
    executes: bool = False
    mints: bool = False


@dataclass(frozen=True, slots=True)
class Compiled:
    """A catalogue before it is written."""

    family: str
    operations: int
    members: Mapping[str, object]
    """JSON values by member name."""
    hosts: tuple[str, ...] = ()
    refusals: str = ""
    prefixes: tuple[str, ...] = ("",)
    fold: tuple[str, ...] = ()
    keeps_slashes: bool = False
    """Whether the provider documents identifiers that hold ``%2F``."""
    notes: tuple[str, ...] = field(default=())
    """What the compiler left out, and why; printed, not kept."""


Compiler = Callable[[Mapping[str, Path]], Compiled]


def compiler(family: str) -> tuple[tuple[str, ...], Compiler]:
    """Return the packages a family is compiled from and its compiler."""
    module = importlib.import_module(COMPILERS[family])
    return module.PACKAGES, module.compile_catalogue


def catalogue(
    family: str,
    described: Iterable[Described],
    *,
    hosts: Sequence[str] = (),
    refusals: str = "",
    prefixes: Sequence[str] = ("",),
    fold: Sequence[str] = (),
    keeps_slashes: bool = False,
    notes: Sequence[str] = (),
) -> Compiled:
    """Return the catalogue of a REST family, kept in one member; raise SourceError when a row is wrong."""
    rows = written(corrected(family, described), family)
    return Compiled(
        family,
        len(rows),
        {"routes.json": rows},
        tuple(hosts),
        refusals,
        tuple(prefixes),
        tuple(fold),
        keeps_slashes,
        tuple(notes),
    )


def written(described: Iterable[Described], family: str) -> list[list[object]]:
    """Return the rows of a member, checked and sorted by name."""
    rows: list[list[object]] = []
    owners: dict[tuple[object, ...], str] = {}
    for each in sorted(described, key=lambda each: each.name):
        _check(each, family, owners)
        traits = (EXECUTES if each.executes else "") + (MINTS if each.mints else "")
        rows.append([each.name, each.access[0], traits, list(each.routes)])
    return rows


def _check(each: Described, family: str, owners: dict[tuple[object, ...], str]) -> None:
    try:
        canonical_action(f"{family}:{each.name}")
        if each.access not in ACCESS:
            raise ValueError(f'access "{each.access}" is none of {", ".join(ACCESS)}')
        for route in each.routes:
            method, host, path, query = split_route(route)
            for template in read_template(path):
                key = (method, host, template.steps, frozenset(query))
                if owners.setdefault(key, each.name) != each.name:
                    raise ValueError(f'route "{route}" is also that of "{owners[key]}"')
    except ValueError as error:
        raise SourceError(f"{family}: {each.name}: {error}") from None


def corrected(family: str, described: Iterable[Described]) -> list[Described]:
    """Return the operations with the family's corrections applied; raise SourceError for one that fits nothing."""
    found = list(described)
    path = OVERRIDES / f"{family}.yaml"
    if not path.exists():
        return found
    for correction in yaml.safe_load(path.read_text("utf-8")):
        if not correction.get("reason") or not set(correction) <= _CORRECTIONS:
            raise SourceError(f"{path.name}: {correction}: write op, reason and what is corrected")
        wanted = [correction["op"]] if isinstance(correction["op"], str) else correction["op"]
        if correction.get("add"):
            found.append(_added(found, correction, path.name))
            continue
        for glob in itertools.chain.from_iterable(map(_alternatives, wanted)):
            found, changed = _applied(found, compile_glob(glob).fullmatch, correction)
            if not changed:
                raise SourceError(f'{path.name}: no operation is called "{glob}"; remove the correction')
    return found


def _alternatives(glob: str) -> Iterable[str]:
    parts = re.split(r"\{([^{}]*)\}", glob)
    options = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    return ("".join(choice) for choice in itertools.product(*options))


def _added(found: Sequence[Described], correction: Mapping[str, Any], file: str) -> Described:
    name, routes = correction["op"], correction.get("routes")
    if not isinstance(name, str) or not routes or any(each.name == name for each in found):
        raise SourceError(f'{file}: cannot add "{name}"; name one operation that is not there, with its routes')
    traits = {key: bool(correction.get(key)) for key in ("executes", "mints")}
    return Described(name, correction.get("access", "write"), tuple(routes), **traits)


def _applied(
    found: list[Described], fits: Callable[[str], object], correction: Mapping[str, Any]
) -> tuple[list[Described], bool]:
    changes = {key: correction[key] for key in ("executes", "mints", "access") if key in correction}
    if "routes" in correction:
        changes["routes"] = tuple(correction["routes"])
    changed = False
    kept: list[Described] = []
    for each in found:
        if not fits(each.name):
            kept.append(each)
            continue
        changed = True
        if not correction.get("drop"):
            kept.append(replace(each, **changes))
    return kept, changed


def access_of_method(method: str) -> str:
    """Return what a method promises (RFC 9110 section 9.2.1): only GET and HEAD are reads."""
    return "read" if method in ("GET", "HEAD", "OPTIONS") else "write"
