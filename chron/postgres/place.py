"""A chain by its URL: which server and database, and which of the chains there.

    postgresql://db.internal/claiim?chain=gate-1
    postgresql:///claiim?host=/run/postgresql&chain=gate-1&sslmode=verify-full      whatever libpq knows may follow

    ChronError: "postgresql://alice:...@db/claiim" has a password in it; put it into ~/.pgpass and leave it out here

A password in a URL would stand in configuration, process lists and messages, so it is refused; libpq finds it in a
file (https://www.postgresql.org/docs/15/libpq-pgpass.html) or needs none with a client certificate.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chron.errors import ChronError

_CHAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECRETS = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and one chain in it if one is named."""

    url: str
    """For libpq: without the chain."""
    chain: str
    """"" when none is named."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The place that a URL names; raises ChronError."""
        try:
            parts = urlsplit(text)
            secret = bool(parts.password)
            asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise ChronError(f"this is no URL of a Chron: {error}; {_FORM}") from None
        if secret or any(name in _SECRETS for name, _ in asked):
            shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
            raise ChronError(f'the URL of "{shown}" has a password in it; put it into ~/.pgpass and leave it out here')
        chains = [value for name, value in asked if name == "chain"]
        if len(chains) > 1 or any(not _CHAIN.fullmatch(chain) for chain in chains):
            named = '" and "'.join(chains)
            raise ChronError(f'"{named}" is no name of a chain; use small letters, digits, ".", "_" and "-"')
        rest = urlencode([pair for pair in asked if pair[0] != "chain"])
        return cls(urlunsplit((parts.scheme, parts.netloc, parts.path, rest, "")), "".join(chains))

    def with_chain(self, chain: str) -> str:
        """The URL of one chain in the same database."""
        return f"{self.url}{'&' if '?' in self.url else '?'}chain={chain}"


_FORM = "write postgresql://HOST/DATABASE?chain=NAME"
