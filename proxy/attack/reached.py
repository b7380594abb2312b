"""What the target writes down of a request, whichever HTTP it came by."""

from dataclasses import dataclass

FORGED = "chr_00000000000000000000000000"
"""A record's id that is none."""
FORGE = "/open/forge"
"""Answered as if it were the gate who answers."""


@dataclass(frozen=True, slots=True)
class Reached:
    """One request as it arrived; one by HTTP/2 is written down in the words of HTTP/1.1, to be compared alike."""

    line: str
    fields: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    fault: str = ""
    """Why it is no canonical request; "" for one that is."""
    http2: bool = False
    cut: bool = False
    """Whether the connection ended before the request did: no server acts on such a one."""

    def values(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.fields if key == name]
