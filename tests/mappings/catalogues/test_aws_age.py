"""Today's requests against a catalogue compiled from an SDK a year older: unrecognised, never under another's name.

`aged/` holds the rows of some services as botocore 1.41.5 had them, and the requests that botocore 1.44.5 makes for
what these rows do not have; `tools/selftest/aged/aws.py` writes both, and asks for all services.
"""

import gzip
import sys
from pathlib import Path

import pytest

from mappings.catalogues import read_folder
from mappings.packs.aws import AwsPack

ROOT = Path(__file__).parents[3]
AGED = Path(__file__).parent / "aged"

sys.path.insert(0, str(ROOT / "tools" / "selftest"))
from case import Case, case_of  # noqa: E402

FEWEST = 200
"""So many requests of these services were new in that year."""

PACK = AwsPack(read_folder(AGED)["aws"])
CASES = [case_of(line) for line in gzip.decompress((AGED / "requests.jsonl.gz").read_bytes()).decode().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.method} {','.join(case.wanted)}")
def test_a_request_newer_than_the_catalogue_is_never_misnamed(case: Case) -> None:
    """It comes out unrecognised, whether a path names it or the wire does."""
    recognition = PACK.recognise(case.request())
    assert recognition.problem is None
    assert recognition.calls == ()


def test_the_drift_is_real() -> None:
    """The requests are of services that name by path and of services that the wire names, S3 among them."""
    assert len(CASES) >= FEWEST
    services = {name.split(":")[1] for case in CASES for name in case.wanted}
    assert {"s3", "lambda", "glue"} <= services
    assert {"x-amz-target" in dict(case.headers) for case in CASES} == {True, False}
