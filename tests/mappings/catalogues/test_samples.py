"""A sample of every self-test: requests made from the providers' own sources, and the operation each one is.

`make selftest` asks for every operation; it also writes these samples, every so-manieth request of each family.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mappings.catalogues import shipped

ROOT = Path(__file__).parents[3]
SAMPLES = Path(__file__).parent / "samples"

sys.path.insert(0, str(ROOT / "tools" / "selftest"))
from case import case_of, mappings_of  # noqa: E402

FEWEST = 15
"""A sample of fewer requests would say nothing."""


def _lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.gz")), ids=lambda path: path.name.partition(".")[0])
def test_every_request_of_a_sample_is_the_operation_it_was_made_from(path: Path) -> None:
    """Each request gives exactly the operations that its source says, and none of another name."""
    wrong: list[Any] = []
    results: Counter[bool] = Counter()
    head, *lines = _lines(path)
    mappings = mappings_of(json.loads(head)["site"])
    for line in lines:
        case = case_of(line)
        resolution = mappings.resolve(case.request())
        names = {operation.name for operation in resolution.operations}
        results[names == case.wanted] += 1
        if names != case.wanted:
            wrong.append((case.method, case.url, sorted(case.wanted), sorted(names), resolution.problem))
    assert not wrong, wrong[:5]
    assert results[True] >= FEWEST


def test_every_catalogue_has_a_sample() -> None:
    """No family is shipped whose names nothing checks."""
    sampled = {path.name.partition(".")[0] for path in SAMPLES.glob("*.gz")}
    assert set(shipped()) <= sampled
