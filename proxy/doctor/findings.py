"""What one look found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and whether it is as it should be."""

    check: str
    ok: bool
    said: str
    chron_id: str = ""
    """The record that shows it."""
