"""Tries a pack made from a description: each operation asked for with sample values, and paths that two could be.

The pack is compiled alone, so what comes out is what its routes say and nothing else. It decides nothing: what is
found is put into words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mappings.canonical import CanonicalError, canonical_host, canonical_target
from mappings.documents import read_document
from mappings.loading import compile_mappings
from mappings.mapping import Mappings
from mappings.places import DocumentError, PackError
from mappings.request import Request
from mappings.sources.compiling import SourceError
from mappings.sources.openapi_overlaps import overlaps
from mappings.sources.openapi_routes import Named, Report

_VARIABLE = re.compile(r"\{([^{}]*)\}")


def compiled(pack_text: str, source: str) -> Mappings:
    """Return the mappings of a pack alone; raise SourceError when it does not load."""
    try:
        return compile_mappings([read_document(pack_text, f"pack from {source}", error=PackError)], [])
    except DocumentError as error:
        raise SourceError(f"{source}: the pack does not load: {error.faults[0]}; correct the description") from None


@dataclass(frozen=True, slots=True)
class Trial:
    """The pack at work, on one of its hosts."""

    mappings: Mappings
    pack: str
    host: str
    prefix: str

    def asked(self, method: str, url: str) -> set[str] | str:
        """Return the names that a request gets, without the pack's, or why it gets none."""
        try:
            target = canonical_target(url)
        except CanonicalError as error:
            return str(error)
        host = canonical_host(self.host.replace("*", "a", 1))
        request = Request(method, "https", host, 443, target.path, target.query, (), b"")
        resolution = self.mappings.resolve(request)
        if resolution.problem is not None:
            return resolution.problem.message
        return {operation.name.removeprefix(f"{self.pack}:") for operation in resolution.operations}


def overlapping(trial: Trial, named: Sequence[Named], report: Report) -> None:
    """Report the operations that some path fits alike, with what such a path is taken for."""
    bare = [each for each in named if not each.query and not each.servers]
    found, complete = overlaps([(each.method, each.path) for each in bare])
    if not complete:
        report.problems.append("so many routes fit one path in pairs that those listed here are not all")
    for first, second, path in found:
        one, other = bare[first], bare[second]
        both = f'{one.method} {path}: "{one.shown}" ({one.path}) and "{other.shown}" ({other.path}) both fit it'
        names = trial.asked(one.method, f"{trial.prefix}{path}")
        if isinstance(names, str) or len(names) != 1:
            report.problems.append(f"{both} alike; it is named by both, or refused")
        else:
            report.notes.append(f'{both}; it is taken for "{names.pop()}", which has more literal text')


def tried(trial: Trial, named: Sequence[Named], lines: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Yield what came out wrong of each operation, asked for with sample values."""
    for each in named:
        route = lines[each.name][0].partition(" ")[2]
        path, _, query = route[route.index("/") :].partition("?")
        before = trial.prefix if route.startswith("/") else ""
        names = trial.asked(each.method, f"{before}{_sample(path)}{'?' if query else ''}{query}")
        if names != {each.name}:
            said = names if isinstance(names, str) else "it is " + ", ".join(sorted(names))
            yield f'{each.method} {each.path}: "{each.shown}", asked for with sample values: {said}'


def _sample(path: str) -> str:
    return _VARIABLE.sub(lambda match: "x1/y2" if match[1].endswith("+") else "x1", path)
