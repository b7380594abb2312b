"""A record as a line of syslog, RFC 5424, with its fields as structured data.

    <109>1 2026-01-31T12:00:00.000000Z gate claiim - decision [claiim@32473 agent="deploy-bot" ...] BOM DENY ...

The message is one line whatever a record says. Facility 13 is "log audit" (6.2.1). Until there is a number of our own,
the private enterprise number is that of RFC 5612, for examples.
"""

from chron import printable
from proxy.exports.events import Event

_FACILITY = 13
_NOTICE, _INFORMATIONAL = 5, 6
_SD_ID = "claiim@32473"
_BOM = "\ufeff"  # 6.4: it says that the message is UTF-8
_MOST_NAME_CHARS = 32  # 6.3.3: SD-NAME
_MOST_HOST_CHARS = 255  # 6: HOSTNAME


def syslog(event: Event) -> str:
    """The event as one line."""
    severity = _NOTICE if event.text("outcome") in ("DENY", "HOLD") else _INFORMATIONAL
    host = "".join(char for char in event.origin if "!" <= char <= "~")[:_MOST_HOST_CHARS] or "-"
    fields = {**event.fields, "seq": event.seq, "id": event.id, "hash": event.hash}
    data = "".join(
        f' {name}="{_value(event.text(name) if name in event.fields else str(value))}"'
        for name, value in sorted(fields.items())
        if len(name) <= _MOST_NAME_CHARS
    )
    head = f"<{_FACILITY * 8 + severity}>1 {event.text('ts') or '-'} {host} claiim - {event.kind}"
    return f"{head} [{_SD_ID}{data}] {_BOM}{printable(_message(event))}"


def _message(event: Event) -> str:
    words = [event.kind, event.text("event"), event.text("outcome"), event.text("agent"), event.text("action")]
    words += [event.text("target"), event.text("result"), event.text("reason")]
    return " ".join(filter(None, words))


def _value(text: str) -> str:
    """A value inside of quotes: 6.3.3 wants a backslash before these three, and a collector wants one line."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
