"""The vendors' own libraries: what they raise has our reason and the record in it, and a denial is asked for once."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clients.denials import SDKS, UNTRIED, Gates

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".clients/bin/python"
MOST_TRIES = 5
"""Of what is no denial: gRPC and urllib3 knock four times at a proxy, the others twice."""

type Ask = Callable[[str, dict[str, str]], tuple[str, str]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Have a call made by a process that has loaded the libraries once; what it raised."""
    if not PYTHON.exists():
        pytest.skip('the vendors\' libraries are not here; "make clients" fetches them')
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home")), "LANG": "C.UTF-8"}
    command = [PYTHON, Path(__file__).parent / "sdks/calls.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def asked(name: str, environ: dict[str, str]) -> tuple[str, str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([name, environ]) + "\n")
            process.stdin.flush()
            kind, text = json.loads(process.stdout.readline())
            return kind, text

        yield asked
        process.stdin.close()


ALIKE = ("boto3, REST JSON", "Kubernetes Python client", "hvac", "MCP, streamable HTTP", "gRPC, unary")
"""One of each way to be told, for refusals that differ from a denial in their words alone."""
ROWS = [
    *((case, name) for case in ("denied", "unrecorded", "wrong token") for name in SDKS),
    *((case, name) for case in ("suspended", "waiting") for name in ALIKE),
]


@pytest.mark.parametrize(("case", "name"), [row for row in ROWS if SDKS[row[1]].shows(row[0]) != UNTRIED])
def test_a_library_shows_what_the_page_says(gates: Gates, ask: Ask, case: str, name: str) -> None:
    """It fails, shows of the refusal what its row says, and comes back no more often than it may."""
    caller, before = SDKS[name], gates.count(case)
    kind, text = ask(name, gates.environments[case])
    assert kind, "it has taken the refusal for success"
    asked = gates.count(case) - before
    if case in ("unrecorded", "wrong token"):
        assert 1 <= asked <= MOST_TRIES
    else:
        assert asked == caller.requests
    assert gates.shown(text, case, before) == caller.shows(case), f"{kind}: {text}"


def test_every_call_has_a_row() -> None:
    """And every row a call."""
    source = (Path(__file__).parent / "sdks/calls.py").read_text()
    assert all(f'call("{name}")' in source for name in SDKS)
    assert source.count('call("') == len(SDKS)
