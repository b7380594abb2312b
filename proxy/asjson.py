"""JSON as it goes over the wire. Nothing is decided here."""

import json


def as_json(value: object) -> bytes:
    """A value as UTF-8; what has no UTF-8 (a lone surrogate) becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
