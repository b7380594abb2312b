"""Framing cases of others, from the folder that CLAIIM_CORPORA names; without it there is nothing to run.

Each case is sent as raw bytes through a tunnel to an allowed target. Whatever the case is, the target must
see the canonical form or nothing, and what its authors call severe must be refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.desync import CASES, raw
from support.gate import LiveGate
from support.raw import connect, read_all, status
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

pytestmark = pytest.mark.skipif(not CASES, reason="CLAIIM_CORPORA names no folder with the corpus")


@pytest.fixture(scope="module")
def everything_allowed(
    tmp_path_factory: pytest.TempPathFactory, target_ca: Any, target_ca_pem: Path
) -> Iterator[tuple[LiveGate, Origin]]:
    """One gate for all cases, with an agent that may read, write and delete anything."""
    skills = {"deploy-v2": {"skill": "deploy-v2", "allow": ["data:**", "infra:destroy", "deploy:staging"]}}
    skills["reader-v1"] = {"skill": "reader-v1", "allow": ["data:read"]}
    with Origin(target_ca, "plain.test", secure=False) as origin:
        gate = LiveGate(
            tmp_path_factory.mktemp("corpus"), origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, skills=skills
        )
        with gate:
            yield gate, origin


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']}: {case['name']}")
def test_the_target_sees_the_canonical_form_or_nothing(
    everything_allowed: tuple[LiveGate, Origin], case: dict[str, Any]
) -> None:
    """No framing on which two parsers may differ gets past the gate."""
    gate, origin = everything_allowed
    origin.clear()
    with connect(gate, "plain.test:80") as connection:
        connection.sendall(raw(case, "plain.test"))
        connection.shutdown(1)
        answer = read_all(connection)
    for seen in origin.seen:
        names = [name.lower() for name, _ in seen.headers]
        assert not ("content-length" in names and "transfer-encoding" in names)
        assert all(names.count(name) <= 1 for name in ("content-length", "transfer-encoding", "host"))
        text = seen.method + seen.path + "".join(name + value for name, value in seen.headers)
        assert text.isascii() or case["expected"]["tier"] in ("Compliant", "Acceptable")
        assert not any(ord(char) < 0x20 or ord(char) == 0x7F for char in text.replace("\t", ""))
        assert ".." not in seen.path
    if case["expected"]["tier"] == "Severe":
        assert origin.seen == []
        assert status(answer) in (0, 400), answer[:200]
