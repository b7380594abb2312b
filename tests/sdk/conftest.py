"""The loopback gate as a fixture, and an environment without settings of its own."""

from collections.abc import Iterator

import pytest

from sdk.loopback_gate import LoopbackGate, loopback


@pytest.fixture
def served() -> Iterator[LoopbackGate]:
    """A gate that allows `deploy:staging` on `api-v2` until told otherwise."""
    with loopback() as gate:
        yield gate


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLAIIM_AGENT", "CLAIIM_TOKEN", "CLAIIM_TOKEN_FILE", "CLAIIM_URL"):
        monkeypatch.delenv(name, raising=False)
