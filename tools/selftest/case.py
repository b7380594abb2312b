"""One request of a self-test, with the operations it is known to be: made from the source, never from the catalogue."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mappings import Mappings, Request, canonical_host, canonical_target, load_mappings


@dataclass(frozen=True, slots=True)
class Case:
    """A request as a client sends it."""

    method: str
    url: str
    wanted: frozenset[str]
    """Full operation names: ``github:pulls/merge``."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = b""
    group: str = ""
    """What the table shows apart: ``min`` and ``max`` parameters, a spelling of the URL; "" is the family's only."""

    def request(self) -> Request:
        """Return it as the proxy would read it; raises CanonicalError when the proxy would refuse it."""
        parts = urlsplit(self.url)
        target = canonical_target(self.url.split("://", 1)[1].removeprefix(parts.netloc) or "/")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        scheme = "http" if parts.scheme == "http" else "https"
        headers = tuple((name.lower(), value) for name, value in self.headers)
        host = canonical_host(parts.hostname or "")
        return Request(self.method, scheme, host, port, target.path, target.query, headers, self.body)

    def line(self) -> str:
        """Return it as a line of a sample."""
        body = None if self.body is None else base64.b64encode(self.body).decode()
        row = [self.method, self.url, sorted(self.wanted), [list(pair) for pair in self.headers], body, self.group]
        return json.dumps(row, separators=(",", ":"))


def mappings_of(site: str) -> Mappings:
    """Return the shipped mappings, with an operator's file when a family's hosts must be bound."""
    if not site:
        return load_mappings([])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_text(site, "utf-8")
        return load_mappings([path])


def case_of(line: str) -> Case:
    """Return the case of a line."""
    method, url, wanted, headers, body, group = json.loads(line)
    content = None if body is None else base64.b64decode(body)
    return Case(method, url, frozenset(wanted), tuple((name, value) for name, value in headers), content, group)


def filled(template: str, value: str = "x1", plus: str = "x1/y2") -> str:
    """Return a path template with every ``{x}`` and ``{x+}`` replaced; for sources that only list templates."""
    import re

    return re.sub(r"\{[^{}]*\+\}", plus, re.sub(r"\{[^{}+]*\}", value, template))


def each(method: str, urls: Iterable[str], wanted: str) -> Iterable[Case]:
    """Yield a case for every URL of one operation."""
    for url in urls:
        yield Case(method, url, frozenset({wanted}))
