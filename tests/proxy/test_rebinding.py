"""A name that leads elsewhere from one request of a connection to the next."""

from pathlib import Path

from support.gate import LiveGate, running
from support.raw import authorization, dial, read_head, status
from support.targets import Origin

RULES = {
    "version": 1,
    "rules": [{"id": "read", "match": {"host": "turning.test", "path": "/{x+}"}, "action": "data:read"}],
}


def test_a_name_that_turns_inwards_on_a_kept_connection(tmp_path: Path, plain_origin: Origin) -> None:
    """Each request is led anew: the old address counts for as long as it was remembered, the new one is checked, and
    the connection that stands to the old one does not carry the request either."""
    leads_to = ["127.0.0.1"]

    async def lookup(_: str) -> tuple[str, ...]:
        return tuple(leads_to)

    port = plain_origin.port
    config = {
        "proxy": {"listen": "127.0.0.1:0", "allowed_ports": [port]},
        "upstream": {"allow_private": ["127.0.0.1/32"]},
    }
    live = LiveGate(tmp_path / "gate", mappings=RULES, config=config)
    live.service_options = {"lookup": lookup}
    sends = f"GET http://turning.test:{port}/echo HTTP/1.1\r\nHost: turning.test:{port}\r\n".encode()
    with running(live) as gate, dial(gate) as raw:
        answered = []
        for address in ("127.0.0.1", "10.0.0.7", "169.254.169.254"):
            leads_to[:] = [address]
            gate.service.gate.destinations._answers.clear()  # as when the time is over for which it is remembered
            raw.sendall(sends + authorization() + b"\r\n")
            head = read_head(raw)
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while length:
                length -= len(raw.recv(length))
            answered.append(status(head))
        assert [record["code"] for record in gate.records()] == [
            "skill.allowed",
            "destination.private",
            "destination.metadata",
        ]
    assert answered == [200, 403, 403]
    assert (len(plain_origin.seen), plain_origin.connections) == (1, 1)
