"""The facts of one request, in canonical form, as every rule and pack sees them.

Whoever builds a `Request` has put host, path and query through `mappings.canonical`; rules do the same with
what they compare against. Nothing is checked again here, and nothing here decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    """The method token, upper case."""
    scheme: Literal["http", "https", "tcp"]
    """``tcp`` is that of a CONNECT whose connection is passed through unread."""
    host: str
    """Canonical: lower-case A-label or IP address, no brackets, no trailing dot."""
    port: int
    path: str
    """Canonical origin form, still percent-encoded where reserved (``%2F`` stays)."""
    query: tuple[tuple[str, str], ...]
    """Decoded pairs in wire order, duplicates kept."""
    headers: tuple[tuple[str, str], ...]
    """Lower-case names, wire order, duplicates kept."""
    body: bytes | None
    """b"" is known to be empty; None was not read, too large or not decodable."""
    body_complete: bool = True
    """False when `body` holds only the first bytes of a longer one. Such a body counts as not read, but for the
    git pack, which finds all it needs at the head of a push."""

    def whole(self) -> Request:
        """Return the request with a body of which only the first bytes are known taken for one not read."""
        return self if self.body_complete else replace(self, body=None, body_complete=True)

    def header(self, name: str) -> str | None:
        """Return the header's value, several joined with ", "; None when it is absent."""
        values = [*self.header_values(name)]
        return ", ".join(values) if values else None

    def header_values(self, name: str) -> tuple[str, ...]:
        """Return every value of the header, in wire order."""
        return tuple(value for key, value in self.headers if key == name)
