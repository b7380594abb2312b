"""The same drafts over HTTP/2: what the gate makes of them is HTTP/1, and must be read alike."""

import ssl
from contextlib import suppress

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from support.garden.mutations import Draft
from support.gate import LiveGate
from support.raw import tunnel


def converse(gate: LiveGate, drafts: list[Draft], host: bytes) -> int:
    """Send each draft on a stream of its own, fields and body as they are; how many streams came to an end."""
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=False
    )
    agent = h2.connection.H2Connection(config)
    agent.initiate_connection()
    waiting: set[int] = set()
    for number, draft in enumerate(drafts):
        stream = 1 + 2 * number
        agent.send_headers(stream, _fields(draft, host), end_stream=not draft.body)
        if draft.body:
            agent.send_data(stream, draft.body, end_stream=True)
        waiting.add(stream)
    with suppress(ConnectionError, ssl.SSLError), tunnel(gate, alpn="h2") as secure:
        secure.sendall(agent.data_to_send())
        while waiting and (received := secure.recv(65_536)):
            try:
                waiting -= _ended(agent.receive_data(received))
            except h2.exceptions.ProtocolError:
                break
    return len(drafts) - len(waiting)


def _fields(draft: Draft, host: bytes) -> list[tuple[bytes, bytes]]:
    pseudo = [
        (b":method", draft.method),
        (b":scheme", b"https"),
        (b":authority", draft.host or host),
        (b":path", draft.target),
    ]
    return pseudo + [(name.lower(), value.removeprefix(b" ")) for name, value in draft.fields]


def _ended(events: list[h2.events.Event]) -> set[int]:
    ends = (h2.events.StreamEnded, h2.events.StreamReset)
    return {event.stream_id for event in events if isinstance(event, ends) and event.stream_id is not None}
