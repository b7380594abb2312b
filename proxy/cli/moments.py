"""Times on the command line: a span (`24h`, `30d`) from now, or an ISO 8601 time."""

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span(text: str) -> timedelta | None:
    """The time that `24h` or `7d` lasts; None when it is no such text."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})


def read_time(text: str) -> datetime | None:
    """What an ISO 8601 time means, without a zone in UTC; None when it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def coming(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """`30d` from now or a time that has not come yet, for an option."""
    if value is None:
        return None
    lasting, now = span(value), datetime.now(UTC)
    at = read_time(value) if lasting is None else now + lasting
    if at is None:
        raise click.BadParameter(f'"{value}" is not a time; write "30d", "24h" or "2026-12-31T18:00:00Z"', ctx, param)
    if at <= now:
        raise click.BadParameter(f'"{value}" has passed; give a time that comes', ctx, param)
    return at.astimezone(UTC)
