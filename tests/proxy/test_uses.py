"""Limits are counted as anybody would count them on paper."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Limit
from proxy.uses import Uses, went_on

BEGIN = datetime(2026, 1, 2, tzinfo=UTC)
LIMITS = [Limit("a/60s agent:x", 3, 60), Limit("b/3600s human:y", 5, 3600)]
EVENTS = st.lists(
    st.tuples(st.integers(0, 120), st.sampled_from(["use", "look", "take back"]), st.sampled_from(LIMITS)), max_size=40
)


@given(events=EVENTS)
def test_against_paper(events: list[tuple[int, str, Limit]]) -> None:
    """A use counts while its window has not passed, to the second, and not once it was taken back."""
    uses, paper, charges, at = Uses(), [], [], BEGIN
    for later_s, what, limit in events:
        at += timedelta(seconds=later_s)
        if what == "use":
            charges += uses.charge([limit], at)
            paper.append((limit.key, at))
        elif what == "take back" and charges:
            charge = charges.pop()
            uses.release([charge])
            paper.remove((charge.key, charge.at))
        counted = {
            each.key: sum(key == each.key and at - timedelta(seconds=each.window_s) < used for key, used in paper)
            for each in LIMITS
        }
        assert uses.counts(LIMITS, at) == counted


DECISIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "allowed": ({"outcome": "ALLOW"}, True),
    "denied": ({"outcome": "DENY"}, False),
    "held": ({"outcome": "HOLD", "held": "apr_1"}, False),
    "allowed, of a request that was held for something else in it": ({"outcome": "ALLOW", "held": "apr_1"}, False),
    "allowed by an approval": ({"outcome": "ALLOW", "approval": "apr_1"}, True),
    "only observed": ({"outcome": "DENY", "mode": "observe"}, True),
}


@pytest.mark.parametrize(("fields", "counts"), DECISIONS.values(), ids=DECISIONS)
def test_only_what_went_on_is_a_use(fields: dict[str, Any], counts: bool) -> None:
    """A call that waited for a human stands in the log twice and counts once."""
    assert went_on(fields) is counts
