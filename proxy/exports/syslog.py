"""A record as a line of syslog, RFC 5424, with its fields as structured data.

    <109>1 2026-01-31T12:00:00.000000Z gate claiim - decision [claiim@32473 agent="deploy-bot" ...] BOM DENY ...

The message is one line whatever a record says. Facility 13 is "log audit" (6.2.1). Until there is a number of our own,
the private enterprise number is that of RFC 5612, for examples.
"""

import re

from chron import printable
from proxy.exports.events import Event

_FACILITY = 13
_NOTICE, _INFORMATIONAL = 5, 6
_SD_ID = "claiim@32473"
_BOM = "\ufeff"  # 6.4: it says that the message is UTF-8
_NAME = re.compile(r"""[^\x00-\x20"=\]\x7f-\U0010ffff]{1,32}""")  # 6.3.3: SD-NAME
_MOST_HOST_CHARS = 255  # 6: HOSTNAME
_MOST_KIND_CHARS = 32  # 6: MSGID
_MOST_TIME_CHARS = 32  # 6.2.3: TIMESTAMP, with microseconds and an offset


def syslog(event: Event) -> str:
    """The event as one line."""
    severity = _NOTICE if event.text("outcome") in ("DENY", "HOLD") else _INFORMATIONAL
    host, kind = _header(event.origin, _MOST_HOST_CHARS), _header(event.kind, _MOST_KIND_CHARS)
    fields = {**event.fields, "seq": event.seq, "id": event.id, "hash": event.hash}
    data = "".join(
        f' {name}="{_value(event.text(name) if name in event.fields else str(value))}"'
        for name, value in sorted(fields.items())
        if _NAME.fullmatch(name)
    )
    head = f"<{_FACILITY * 8 + severity}>1 {_header(event.text('ts'), _MOST_TIME_CHARS)} {host} claiim - {kind}"
    return f"{head} [{_SD_ID}{data}] {_BOM}{printable(_message(event))}"


def _header(text: str, most_chars: int) -> str:
    """A part of the header: 6 wants printable ASCII without spaces, and "-" for nothing."""
    return "".join(char for char in text if "!" <= char <= "~")[:most_chars] or "-"


def _message(event: Event) -> str:
    words = [event.kind, event.text("event"), event.text("outcome"), event.text("agent"), event.text("action")]
    words += [event.text("target"), event.text("result"), event.text("reason")]
    return " ".join(filter(None, words))


def _value(text: str) -> str:
    """A value inside of quotes: 6.3.3 wants a backslash before these three, and a collector wants one line."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
