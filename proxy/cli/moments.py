"""Times on the command line: a span (`24h`, `30d`) from now, or an ISO 8601 time."""

from datetime import UTC, datetime

import click

from chron.times import read_time, span


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
