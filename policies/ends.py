"""When what is allowed now may end by itself, without anybody changing a text; pure.

An agent, its human and their tokens can have an end, and so can an organisation's leave to act in another. Whoever
keeps something open for an agent asks again then, with `Policies.identify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from policies.deciding import Policies


def next_end(policies: Policies, after: datetime) -> datetime | None:
    """Return the first time after `after` at which some agent may have to stop; None when none is known."""
    return min((end for end in _ends(policies) if end is not None and end > after), default=None)


def _ends(policies: Policies) -> Iterator[datetime | None]:
    for agent in policies.agents.values():
        yield agent.expires
        yield from (token.expires for token in agent.tokens)
    yield from (human.expires for human in policies.humans.values())
    yield from (grant.until for grant in policies.boundaries.grants)
