"""TLS hellos: real ones of OpenSSL, and ones that no library makes."""

import ssl


def real_hello(name: str | None) -> bytes:
    """The first flight of OpenSSL's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(received, sent, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a server")


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """The content of a server_name extension (RFC 6066, 3)."""
    listed = b"".join(bytes((kind,)) + len(name).to_bytes(2) + name for name in names)
    return len(listed).to_bytes(2) + listed


def hello(*extensions: tuple[int, bytes], behind: bytes = b"", kind: int = 1, block: bool = True) -> bytes:
    """A ClientHello message (RFC 8446, 4.1.2) with these extensions."""
    listed = b"".join(number.to_bytes(2) + len(content).to_bytes(2) + content for number, content in extensions)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += (len(listed).to_bytes(2) + listed if block else b"") + behind
    return bytes((kind,)) + len(body).to_bytes(3) + body


def record(content: bytes, kind: int = 22) -> bytes:
    """One TLS record."""
    return bytes((kind, 3, 1)) + len(content).to_bytes(2) + content


def named(name: str) -> bytes:
    """The record of a hello for a name."""
    return record(hello((0, server_name(name.encode()))))


RETRY = record(
    b"\x02\x00\x00\x2c\x03\x03"
    + bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    + b"\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04"
)
"""A HelloRetryRequest (RFC 8446, 4.1.4)."""
SERVER_HELLO = record(b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x01\x00")
"""Any other answer."""
