"""h2, where it would end a connection for what concerns one request, or spend time on what nobody reads.

What is overridden is not public; tests/proxy/fast/test_http2.py fails when h2 calls it no more.
"""

from h2 import events
from h2.connection import AllowedStreamIDs, H2Connection
from h2.stream import H2Stream
from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame


class LenientStream(H2Stream):
    """A stream whose content length is compared by us: h2 would end the whole connection for it."""

    def _initialize_content_length(self, headers: object) -> None:
        pass


class Plain(Encoder):
    """Encodes fields without Huffman's code, which costs more time here than a fourth of a head's bytes is worth."""

    def encode(self, headers, huffman=False):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """The fields as bytes."""
        return super().encode(headers, huffman=False)


def _no_text() -> str:
    return ""


class LenientConnection(H2Connection):
    """A connection on which flows go on after GOAWAY, as RFC 9113, 6.8 has it."""

    MAX_CLOSED_STREAMS = 1024

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = LenientStream
        return stream

    def _receive_frame(self, frame: Frame) -> list[events.Event]:
        # h2 writes each frame out, for a log that is not kept; of a download that was a third of the time.
        frame._body_repr = _no_text  # type: ignore[method-assign]
        return super()._receive_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[events.Event]]:
        event = events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]
