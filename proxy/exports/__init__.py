"""How records look to other systems: CSV, OCSF, CloudEvents, syslog. Pure: a record in, a line out.

Nothing is added that a record does not say and nothing is hidden that it does: what was redacted stays so.
"""

from collections.abc import Callable

from proxy.exports.cloudevents import cloudevent
from proxy.exports.csvs import COLUMNS, csv_line
from proxy.exports.events import Event
from proxy.exports.ocsf import ocsf
from proxy.exports.syslog import syslog

__all__ = ["COLUMNS", "LINES", "Event", "cloudevent", "csv_line", "ocsf", "syslog"]

LINES: dict[str, Callable[[Event], str]] = {
    "csv": csv_line,
    "ocsf": ocsf,
    "cloudevents": cloudevent,
    "syslog": syslog,
}
"""The formats, each a line for an event."""
