"""docs/denials.md says what the tests hold, and of every idiom that there is."""

from pathlib import Path

import pytest

from clients.denials import SDKS, TOOLS, Caller, table
from proxy.answers import FAMILIES

PAGE = Path(__file__).parents[2] / "docs/denials.md"


@pytest.mark.parametrize("rows", [TOOLS, SDKS], ids=["tools", "libraries"])
def test_the_page_has_the_table_of_the_tests(rows: dict[str, Caller]) -> None:
    """Word for word; what a tool begins or ceases to print changes both."""
    assert table(rows) in PAGE.read_text(), f"put this into {PAGE.name}:\n{table(rows)}"


def test_the_page_names_every_family() -> None:
    """A shape for callers that the page does not know would be one that nobody looks at."""
    text = PAGE.read_text()
    assert [family for family in sorted(FAMILIES) if f"`{family}`" not in text] == []
