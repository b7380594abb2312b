"""Makes a YAML pack from an OpenAPI 2.0, 3.0 or 3.1 description, and tries it before anybody uses it.

Every operation becomes one line of a route table (`mappings.packformat`): its name is the operationId, its route the
method and path below what ``servers`` or ``basePath`` say. Then the pack is compiled and each operation asked for with
sample values: it must come out as itself and nothing else. What does not, what was left out and which operations
some path fits equally is said; nothing is fetched, nothing written.

    import_openapi(text, "shop.yaml", pack="shop", hosts=["api.shop.test"])
        Imported(text="pack: shop\\n...", operations=42, problems=(), notes=())
    a description whose paths lead to another file, to nothing or to themselves      SourceError
    two operations that nothing tells apart                                          a problem that names both

A pack with problems is still made: the operations it has are right, the others are not recognised, which is a deny.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mappings.canonical import CanonicalError, canonical_path
from mappings.hosts import host_pattern
from mappings.sources.compiling import SourceError
from mappings.sources.openapi_document import Description, read_description, shown_text
from mappings.sources.openapi_routes import Named, Report, named_routes
from mappings.sources.openapi_trial import Trial, compiled, overlapping, tried

MAX_PREFIXES = 8
MAX_SAID_CHARS = 600

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Imported:
    """A pack and what is to be known about it."""

    text: str
    """The YAML file."""
    operations: int
    problems: tuple[str, ...]
    """What would go unnamed, or be named by two operations; worth correcting in the description."""
    notes: tuple[str, ...]
    """What was decided without being asked."""


def import_openapi(
    text: str,
    source: str,
    *,
    pack: str,
    hosts: Sequence[str],
    prefix: str | None = None,
    slashed: Collection[str] = (),
) -> Imported:
    """Return the pack of a description; raise SourceError when it cannot be read safely, or host or name is none.

    `prefix` stands before every path in place of what the description says; `slashed` names parameters that may
    hold "/".
    """
    patterns = _checked(source, pack, hosts)
    description = read_description(text, source)
    report = Report([], [])
    prefixes = [_canonical_prefix(source, prefix)] if prefix is not None else _prefixes(description, report)
    named = named_routes(description, slashed, report)
    lines = {each.name: _routes(each, patterns, prefix is not None) for each in named}
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    pack_text = _written(pack, patterns, prefixes, lines, f"{_printable(source)}, sha256 {digest}")
    trial = Trial(compiled(pack_text, source), pack, patterns[0], prefixes[0])
    overlapping(trial, named, report)
    report.problems.extend(tried(trial, named, lines))
    return Imported(pack_text, len(lines), _said(report.problems), _said(report.notes))


def _said(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what is reported, each once and safe to print: names in it are the description's."""
    return tuple(dict.fromkeys(shown_text(text, MAX_SAID_CHARS) for text in texts))


def _checked(source: str, pack: str, hosts: Sequence[str]) -> list[str]:
    if not _NAME.fullmatch(pack):
        raise SourceError(f'{source}: pack "{_printable(pack)}" is no name; write small letters, digits, "-" or "_"')
    try:
        patterns = [host_pattern(host) for host in hosts]
    except ValueError as error:
        raise SourceError(f"{source}: {error}") from None
    if not patterns:
        raise SourceError(f"{source}: no host is named; say where the API is served")
    return list(dict.fromkeys(patterns))


# --- what stands before the paths ---


def _prefixes(description: Description, report: Report) -> list[str]:
    """Return what the description says stands before every path."""
    if description.version == "2.0":
        base = description.root.get("basePath")
        return [_canonical_prefix(description.source, base if isinstance(base, str) else "")]
    servers = description.root.get("servers")
    urls = [_url(each) for each in servers] if isinstance(servers, list) else []
    found = dict.fromkeys(_path_of(description.source, url) for url in urls if url)
    if len(found) > MAX_PREFIXES:
        raise description.fault("servers", f"more than {MAX_PREFIXES} paths; say which with a prefix")
    if len(found) > 1:
        report.notes.append(f"the servers have several paths, and all are taken: {', '.join(map(repr, found))}")
    return list(found) or [""]


def _url(server: object) -> str:
    """Return the URL of a server with the defaults of its variables."""
    if not isinstance(server, dict) or not isinstance(server.get("url"), str):
        return ""
    variables = server.get("variables")
    defaults: dict[str, Any] = variables if isinstance(variables, dict) else {}

    def default(match: re.Match[str]) -> str:
        variable = defaults.get(match[1])
        return str(variable.get("default", "")) if isinstance(variable, dict) else ""

    return _VARIABLE.sub(default, server["url"])


def _path_of(source: str, url: str) -> str:
    try:
        return _canonical_prefix(source, urlsplit(url).path if "//" in url else url.partition("?")[0])
    except ValueError:
        raise SourceError(f'{source}: servers: "{_printable(url)}" is no URL; give a prefix') from None


def _canonical_prefix(source: str, text: str) -> str:
    trimmed = text.strip("/")
    try:
        if "{" in trimmed:
            raise ValueError("it holds a parameter")
        return canonical_path(f"/{trimmed}") if trimmed else ""
    except (CanonicalError, ValueError) as error:
        shown = _printable(text)
        raise SourceError(f'{source}: "{shown}" cannot stand before a path: {error}; give a prefix') from None


# --- the file ---


def _routes(each: Named, hosts: Iterable[str], prefix_given: bool) -> list[str]:
    query = f"?{'&'.join(each.query)}" if each.query else ""
    if not each.servers or prefix_given:
        return [f"{each.method} {each.path}{query}"]
    # A route with a host takes no prefix, so what servers of its own say is written out.
    own = dict.fromkeys(_path_of(each.shown, _url({"url": url})) for url in each.servers)
    return [f"{each.method} {host}{before}{each.path}{query}" for host in hosts for before in own]


def _written(pack: str, hosts: Sequence[str], prefixes: Sequence[str], lines: dict[str, list[str]], origin: str) -> str:
    text = [f"# Imported from {origin}.", f"pack: {pack}", f"hosts: {json.dumps(list(hosts))}"]
    if list(prefixes) != [""]:
        text.append(f"prefixes: {json.dumps(list(prefixes))}")
    text.append("operations:" if lines else "operations: {}")
    text += [f"  {json.dumps(name)}: {json.dumps(routes)}" for name, routes in sorted(lines.items())]
    return "\n".join(text) + "\n"


def _printable(text: str) -> str:
    shown = "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
    return shown if len(shown) <= 200 else shown[:197] + "..."
