"""docs/chron.md says of filters and fields what the code does."""

import re
from pathlib import Path

from chron.fieldnames import FIELDS
from chron.filtering import SYNTAX, parse_filter
from proxy.exports import LINES

PAGE = (Path(__file__).parents[2] / "docs" / "chron.md").read_text(encoding="utf-8")


def test_the_page_has_every_form_of_a_filter() -> None:
    """What the help of the command says stands on the page, word for word."""
    assert f"```text\n{SYNTAX}\n```" in PAGE


def test_the_page_has_every_field() -> None:
    """Each listed field with what it says, and none that is not listed."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE[PAGE.index("## Fields") :], re.MULTILINE)
    assert dict(rows) == FIELDS
    assert len(rows) == len(FIELDS)


def test_the_page_names_every_format() -> None:
    """Each export format has its row."""
    assert all(f"| `{form}` | " in PAGE for form in ("jsonl", *LINES))


def test_the_filters_of_the_page_are_filters() -> None:
    """Those in the examples are read without a fault."""
    from datetime import UTC, datetime

    examples = re.findall(r"claiim chron query ((?:[\w.]+[=<>]+\S+ ?)+)", PAGE)
    assert len(examples) >= 3
    for example in examples:
        parse_filter(example, datetime(2026, 1, 1, tzinfo=UTC))
