"""docs/ways-in.md says what tools make of NO_PROXY; the tools say whether that is so."""

from pathlib import Path

import pytest

from support.needed import needed
from support.noproxy import GO_PROGRAM, ROWS, TOOLS, build_go, goes_around
from support.torture.numbers import TORTURE

PAGE = (Path(__file__).parents[2] / "docs" / "ways-in.md").read_text()
COLUMNS = {
    "curl, git": ("curl", "git"),
    "urllib": ("urllib",),
    "requests": ("requests",),
    "aiohttp": ("aiohttp",),
    "httpx": ("httpx",),
    "Node": ("node",),
    "Go": ("Go",),
}


def written() -> dict[tuple[str, str, str], bool]:
    """What the table says: by tool, value and URL, whether the request goes around the proxy."""
    table = PAGE[PAGE.index("| `NO_PROXY` |") :].split("\n\n")[0].splitlines()
    head = [cell.strip() for cell in table[0].strip("|").split("|")][2:]
    said = {}
    for line in table[2:]:
        value, url, *cells = (cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for column, cell in zip(head, cells, strict=True):
            assert cell in ("around", "**asks**"), cell
            for tool in COLUMNS[column]:
                said[tool, "" if value == "(empty)" else value, f"http://{url}/"] = cell == "around"
    return said


def test_the_table_has_every_row_for_every_tool() -> None:
    """No value is left out for a tool that does something odd with it."""
    wanted = {(tool, value, url) for tool in TOOLS for value, url in ROWS.values()}
    assert set(written()) == wanted


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_does_what_the_table_says(tool: str, tmp_path: Path) -> None:
    """Each row with the real tool: it asks the proxy, or it does not."""
    if tool in ("curl", "git", "node", "Go"):
        needed(tool.lower())
    if tool == "Go":
        if not TORTURE:
            pytest.skip("building the program takes half a minute where nothing of Go is built yet; make torture does")
        build_go(tmp_path)
    said = {(value, url): around for (named, value, url), around in written().items() if named == tool}
    try:
        assert {(value, url): goes_around(TOOLS[tool], value, url) for value, url in said} == said
    finally:
        if tool == "Go":
            GO_PROGRAM.unlink(missing_ok=True)
