"""A record as a CloudEvent 1.0 in its JSON format, one a line.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md: id, source, specversion and type are required;
names of extensions are small letters and digits, twenty at most.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import json
from urllib.parse import quote

from proxy.exports.events import Event, without_empty


def cloudevent(event: Event) -> str:
    """The event as one line of JSON; `data` is the record, `chronhash` its place in the chain."""
    told = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"urn:claiim:chron:{quote(event.origin, safe='')}",
        "type": ".".join(filter(None, ("claiim", event.kind, event.text("event") or event.text("outcome").lower()))),
        "subject": event.text("action") or event.text("ref"),
        "time": event.text("ts"),
        "datacontenttype": "application/json",
        "data": dict(event.fields),
        "chronseq": str(event.seq),  # an Integer has 32 bits there, and a log may grow longer
        "chronhash": event.hash,
        "traceparent": event.text("traceparent"),  # extensions/distributed-tracing.md
    }
    return json.dumps(without_empty(told), ensure_ascii=False, separators=(",", ":"))
