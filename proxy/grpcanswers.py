"""A refusal as gRPC callers read it: a status and a message in the head of an answer without a body.

    grpc-status: 7                                  PERMISSION_DENIED; 14 where trying again may help
    grpc-message: skill:deploy-v2 -- action%20...   percent-encoded; what the client raises

Status, message and nothing else in one head is what the protocol calls "Trailers-Only"
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Responses"). gRPC-Web reads it the same way.
"""

from urllib.parse import quote

_STATUS = {403: 7, 202: 7, 407: 16, 400: 3, 414: 3, 431: 3, 408: 4, 504: 4, 429: 8, 502: 14, 503: 14}
"""PERMISSION_DENIED, UNAUTHENTICATED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
(https://github.com/grpc/grpc/blob/master/doc/statuscodes.md) by the HTTP status of a refusal."""
_UNKNOWN = 2
_UNESCAPED = "".join(chr(byte) for byte in range(0x20, 0x7F) if byte != 0x25)
"""PROTOCOL-HTTP2, "Percent-Byte-Unencoded"."""


def grpc_status(status: int) -> int:
    """The status of gRPC for a refusal that plain HTTP would be told with this one."""
    return _STATUS.get(status, _UNKNOWN)


def grpc_fields(status: int, sentence: str) -> tuple[tuple[bytes, bytes], ...]:
    """The fields that make an empty answer a gRPC error; `status` is what plain HTTP would be told."""
    message = quote(sentence.encode("utf-8", "replace"), safe=_UNESCAPED)
    return (
        (b"grpc-status", b"%d" % grpc_status(status)),
        (b"grpc-message", message.encode("ascii")),
    )
