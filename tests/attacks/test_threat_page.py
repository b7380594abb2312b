"""docs/threat-model.md: every id of the catalogue stands there, with tests that exist."""

import re
from pathlib import Path

from proxy.attack import ATTACKS, UNSEEN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
OF_THE_ENGINE = {f"M{number}" for number in range(1, 16)}


def rows() -> list[tuple[set[str], str]]:
    """Ids and the rest of each line of the tables."""
    found = re.findall(r"^\| ((?:[BM]\d+ ?)+)\|(.*)\|$", PAGE, re.MULTILINE)
    return [(set(ids.split()), rest) for ids, rest in found]


def test_every_attack_stands_in_one_row() -> None:
    """Those that are sent, those that cannot be, and those of the engine."""
    listed = [each for ids, _ in rows() for each in sorted(ids)]
    assert sorted(listed) == sorted({attack.id for attack in ATTACKS} | set(UNSEEN) | OF_THE_ENGINE)


def test_every_row_names_a_test_that_is_there() -> None:
    """A promise without a test is none."""
    for ids, rest in rows():
        named = re.findall(r"`(tests/[\w/.]+)`", rest)
        assert named, ids
        assert [name for name in named if not (ROOT / name).exists()] == [], ids
