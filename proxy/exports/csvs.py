"""Cells of a CSV file that a spreadsheet shows and does not calculate."""

from chron import printable

_CALCULATED = ("=", "+", "-", "@")
"""What makes a spreadsheet calculate a cell (OWASP, "CSV Injection"); tab and CR are escaped by `printable`."""


def cell(value: object) -> str | int | float:
    """A value on one line; a text that begins like a formula gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = printable(str(value))
    return f"'{text}" if text.startswith(_CALCULATED) else text
