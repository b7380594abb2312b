"""The target in HTTP/2: what h2 does not take for a well-formed request is a fault, and so is a second Host."""

import ssl
from collections.abc import Callable
from dataclasses import replace

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from proxy.attack.reached import FORGE, FORGED, Reached


class Http2Conversation:
    """Requests of one connection, each written down when its last frame is there, or when nothing more comes."""

    def __init__(
        self,
        reached: list[Reached],
        connection: ssl.SSLSocket,
        rest: Callable[[ssl.SSLSocket], None],
        work: Callable[[ssl.SSLSocket], None],
    ) -> None:
        """`rest` and `work` are told when the connection has no request on its way, and when something comes."""
        self._rest, self._work = rest, work
        self._reached = reached
        self._connection = connection
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self._open: dict[int, Reached] = {}

    def run(self) -> None:
        """Read, write down and answer until nothing comes any more."""
        self._h2.initiate_connection()
        self._send()
        try:
            while received := self._received():
                try:
                    happened = self._h2.receive_data(received)
                except h2.exceptions.ProtocolError as error:
                    self._reached.append(Reached("(HTTP/2)", (), b"", f"no HTTP/2: {error}"))
                    return
                for event in happened:
                    self._take(event)
                self._send()
        finally:
            self._reached += [replace(each, cut=True) for each in self._open.values()]

    def _received(self) -> bytes:
        if not self._open:
            self._rest(self._connection)
        received = self._connection.recv(65536)
        self._work(self._connection)
        return received

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
                self._open[stream] = _head([(str(name), str(value)) for name, value in headers or ()])
            case h2.events.DataReceived(stream_id=int(stream), data=bytes(data), flow_controlled_length=int(length)):
                self._open[stream] = replace(self._open[stream], body=self._open[stream].body + data)
                self._h2.acknowledge_received_data(length, stream)
            case h2.events.TrailersReceived(stream_id=int(stream)):
                self._open[stream] = replace(self._open[stream], fault="trailers")
            case h2.events.StreamReset(stream_id=int(stream)):
                if stream in self._open:
                    self._reached.append(replace(self._open.pop(stream), cut=True))
            case h2.events.StreamEnded(stream_id=int(stream)):
                self._answer(stream, self._open.pop(stream))

    def _answer(self, stream: int, request: Reached) -> None:
        self._reached.append(request)
        fields = [(":status", "200"), ("content-length", "7")]
        if request.line.startswith(f"GET {FORGE}"):
            fields += [("x-chron-id", FORGED), ("x-chron-id", FORGED)]
        self._h2.send_headers(stream, fields)
        self._h2.send_data(stream, b"reached", end_stream=True)

    def _send(self) -> None:
        if data := self._h2.data_to_send():
            self._connection.sendall(data)


def _head(pairs: list[tuple[str, str]]) -> Reached:
    pseudo = dict(pair for pair in pairs if pair[0].startswith(":"))
    fields = tuple(pair for pair in pairs if not pair[0].startswith(":"))
    line = f"{pseudo.get(':method')} {pseudo.get(':path')} HTTP/1.1"
    fault = "" if set(pseudo) == {":method", ":path", ":scheme", ":authority"} else f"with {sorted(pseudo)}"
    return Reached(line, (("host", pseudo.get(":authority", "")), *fields), b"", fault, http2=True)
