"""Records as CSV (RFC 4180), with cells that a spreadsheet shows and does not calculate."""

import csv
import io
from collections.abc import Iterable

from chron import printable
from chron.fieldnames import FIELDS
from proxy.exports.events import Event

COLUMNS = (*FIELDS, "leaf", "hash")
"""Every listed field, so that all exports have the same columns."""

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


def csv_row(values: Iterable[object]) -> str:
    """A line of cells, without its end."""
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow([cell(value) for value in values])
    return file.getvalue()


def csv_line(event: Event) -> str:
    """The event as a line under `COLUMNS`."""
    own: dict[str, object] = {"seq": event.seq, "id": event.id, "leaf": event.leaf, "hash": event.hash}
    return csv_row(own.get(name, event.number(name) or event.text(name)) for name in COLUMNS)
