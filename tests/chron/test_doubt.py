"""Which decisions have no known outcome, told from the log alone."""

from pathlib import Path
from typing import Any

import pytest

from chron import ChronError
from chron.doubt import Doubt, doubts


async def _decide(chron: Any, name: str, channel: str = "wire") -> str:
    receipt = await chron.append("decision", {"channel": channel, "target": name})
    return str(receipt.id)


def _states(path: Path) -> list[tuple[str, object]]:
    return [(doubt.state, doubt.decision["target"]) for doubt in doubts(path)]


async def test_open_then_in_doubt(path: Path, open_chron: Any) -> None:
    """Without an outcome it is open, in every channel of requests; after the next start it is in doubt, for ever."""
    chron = open_chron()
    for name, channel in (("a", "wire"), ("b", "forward"), ("asked", "api"), ("ended", "wire")):
        id_ = await _decide(chron, name, channel)
    await chron.append("outcome", {"ref": id_, "result": "sent"})
    assert _states(path) == [("open", "a"), ("open", "b")]
    chron.close()
    chron = open_chron()
    await _decide(chron, "c")
    chron.close()
    open_chron().close()
    open_chron().close()
    assert _states(path) == [("in doubt", "a"), ("in doubt", "b"), ("in doubt", "c")]


async def test_a_segment_is_no_outcome(path: Path, open_chron: Any) -> None:
    """How far it was when that was last told is known, and nothing of its end."""
    chron = open_chron()
    id_ = await _decide(chron, "stream")
    for received in (10, 20):
        await chron.append("segment", {"ref": id_, "response_bytes": received})
    (doubt,) = doubts(path)
    assert isinstance(doubt, Doubt)
    assert (doubt.state, doubt.id, doubt.segment["response_bytes"]) == ("open", id_, 20)
    chron.close()
    open_chron().close()
    (doubt,) = doubts(path)
    assert (doubt.state, doubt.segment["response_bytes"]) == ("in doubt", 20)


def test_no_chron(path: Path) -> None:
    """A look where there is none is told, and makes none."""
    with pytest.raises(ChronError, match="there is no Chron"):
        list(doubts(path))
    assert not path.exists()
