"""Everybody who is connected is looked at together; what one of them does must not keep the limits from the others."""

from asyncio import CancelledError
from typing import Any
from unittest.mock import Mock

import pytest

from proxy.limits import DEFAULTS
from proxy.quotas import Quotas
from proxy.wire.crowd import HEAD_TIME, LOOK_EVERY_S, Crowd


@pytest.mark.parametrize("fault", [RuntimeError("planted"), CancelledError("planted")], ids=["error", "cancelled"])
@pytest.mark.parametrize("name", ["bodies", "waits", "beginning"])
def test_a_connection_that_cannot_be_looked_at_is_closed(name: str, fault: BaseException) -> None:
    """And the one behind it is ended for its own reason, and everybody is looked at again."""
    at, turned_away, again = [0.0], Mock(), Mock()
    crowd = Crowd(DEFAULTS, Quotas(DEFAULTS, lambda: at[0]), turned_away, clock=lambda: at[0], later=again)
    ones: list[Any] = []
    for _ in range(2):
        seat = crowd.admit("192.0.2.1", Mock())
        assert seat is not None
        seat.served = Mock()
        seat.served.bodies.return_value, seat.served.waits.return_value = [], False
        ones.append(seat)
    getattr(ones[0].served, name).side_effect = fault
    ones[0].agent = "deploy-bot"  # else it would be ended unasked, as one that has proven nothing in time
    at[0] = DEFAULTS.head_s + 1
    again.reset_mock()
    crowd.look()
    ones[0].close.assert_called_once_with()
    ones[1].served.end.assert_called_once_with(HEAD_TIME)
    again.assert_called_once()


def test_a_timer_that_got_lost_is_set_again() -> None:
    """The next connection sets another, and the limits of time hold; while one is to come, there is no second."""
    at, later = [0.0], Mock()
    crowd = Crowd(DEFAULTS, Quotas(DEFAULTS, lambda: at[0]), Mock(), clock=lambda: at[0], later=later)
    for at[0] in (0.0, LOOK_EVERY_S, 3 * LOOK_EVERY_S):
        crowd.admit("192.0.2.1", Mock())
    assert later.call_count == 2
