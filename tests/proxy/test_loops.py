"""What a gate runs on where uvloop is not there, as on Windows."""

import sys
from pathlib import Path

import pytest

from proxy import loops
from support.clients import client_of
from support.gate import LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin


@pytest.mark.engines("fast")
def test_the_fast_engine_serves_without_uvloop(
    tmp_path: Path,
    origin: Origin,
    target_ca_pem: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On asyncio's own loop, which is told once; the decisions are the same."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loops.fast_runner.cache_clear()
    try:
        for name in ("one", "two"):
            live = LiveGate(tmp_path / name, origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
            with running(live) as gate, client_of(gate, http2=True) as client:
                assert "uvloop" not in type(gate.loop).__module__
                assert client.get("https://origin.test/things").status_code == 200
                assert client.delete("https://origin.test/things").status_code == 403
    finally:
        loops.fast_runner.cache_clear()
    told = [each.getMessage() for each in caplog.records if "uvloop" in each.getMessage()]
    assert len(told) == 1
    assert "the fast engine runs on asyncio's own loop" in told[0]
