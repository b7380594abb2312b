"""Tables as plain aligned text: the same on a terminal, in a pipe and under NO_COLOR."""

from collections.abc import Iterable, Sequence

import click

from chron import printable

MAX_CELL_CHARS = 100
"""A wider cell pushes no other cell aside; the text itself is never cut."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a header and rows, each cell on one line and as wide as its column."""
    texts = [tuple(columns), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [min(MAX_CELL_CHARS, max(len(row[at]) for row in texts)) for at in range(len(columns))]
    for row in texts:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
