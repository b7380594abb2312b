"""Times as people write them when they ask about the log: a span (`24h`, `30d`) before now, or an ISO 8601 time.

24h   7d   2026-01-31   2026-01-31T12:00:00Z   2026-01-31T12:00:00+02:00   (without a zone: UTC)
"""

import re
from datetime import UTC, datetime, timedelta

TIMES = '"24h", "7d" or "2026-01-31T12:00:00Z"'
"""For messages: what can be written."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FIRST_YEAR = 1000
"""Before it, a year has not the four digits that times in records are compared by."""


def span(text: str) -> timedelta | None:
    """The time that `24h` or `7d` lasts; None when it is no such text."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})


def read_time(text: str) -> datetime | None:
    """What an ISO 8601 time means, without a zone in UTC; None when it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def past(text: str, now: datetime) -> datetime | None:
    """The time that a text means, spans counted back from `now`, in UTC; None when it is no time."""
    lasting = span(text)
    try:
        at = read_time(text) if lasting is None else now - lasting
        at = at and at.astimezone(UTC)
    except OverflowError:
        return None
    return at if at and at.year >= _FIRST_YEAR else None


def time_text(at: datetime) -> str:
    """A time as records have it; comparing such texts is comparing times."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
