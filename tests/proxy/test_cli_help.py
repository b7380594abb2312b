"""`claiim help` as a person and as a script sees it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.help import EXIT_MEANINGS, RUN_CODES
from proxy.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def claiim(*arguments: str) -> tuple[int, str, str]:
    said = CliRunner().invoke(main, arguments, prog_name="claiim")
    return said.exit_code, said.stdout, said.stderr


def test_exit_codes_are_one_table() -> None:
    """Each code with its meaning, for people and as JSON."""
    code, out, err = claiim("help", "exit-codes")
    header, *rows, blank, last = out.splitlines()
    assert (code, err, header.split(), blank, last) == (0, "", ["code", "meaning"], "", RUN_CODES)
    table = {int(number): meaning for number, meaning in (re.split(" {2,}", row) for row in rows)}
    assert table == EXIT_MEANINGS
    assert {number: table[number].split(";")[0] for number in (0, 1, 8, 69)} == {
        0: "done",
        1: "denied",
        8: "a human has to say yes first",
        69: "the gate cannot be reached",
    }
    code, out, _ = claiim("help", "exit-codes", "--json")
    assert (code, {row["code"]: row["meaning"] for row in json.loads(out)}) == (0, EXIT_MEANINGS)


def test_no_command_ends_with_a_code_of_its_own() -> None:
    """Every code that the command line has a name for stands in the table."""
    sources = [path.read_text() for path in (ROOT / "proxy" / "cli").glob("*.py")]
    named = {int(code) for text in sources for code in re.findall(r"^EXIT_\w+ = (\d+)", text, re.MULTILINE)}
    assert named >= {1, 2, 4, 8, 10, 11, 69, 78, 126, 127}
    assert named | {0} == set(EXIT_MEANINGS)


def test_the_page_has_the_same_table() -> None:
    """docs/configuration.md says of each code what the command says."""
    page = (ROOT / "docs" / "configuration.md").read_text().replace("`", "").partition("## Exit codes")[2]
    assert {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)} == (
        EXIT_MEANINGS
    )
    assert RUN_CODES in page


@pytest.mark.parametrize("names", [[], ["agent"], ["agent", "add"], ["chron", "verify"], ["help"]])
def test_help_of_a_command_is_its_help(names: list[str]) -> None:
    """`claiim help agent add` prints what `claiim agent add --help` prints."""
    said = claiim("help", *names)
    assert said == claiim(*names, "--help")
    assert said[1].startswith(f"Usage: {' '.join(['claiim', *names])} ")


def test_help_about_nothing_is_wrong_usage() -> None:
    """What is no command is named, with where the commands are listed."""
    wrong = ((["nonsense"], "claiim"), (["agent", "nonsense"], "claiim agent"), (["can", "x"], "claiim can"))
    for names, where in wrong:
        code, out, err = claiim("help", *names)
        assert (code, out) == (2, "")
        assert f'no command "{" ".join(names)}"; "{where} --help" lists them' in err
    assert claiim("help", "agent", "--json")[0] == 2
