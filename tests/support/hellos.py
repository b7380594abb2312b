"""TLS hellos: real ones of OpenSSL, and ones that no library makes."""

import ssl

from proxy.attack.hellos import hello, named, record, server_name

__all__ = ["RETRY", "SERVER_HELLO", "hello", "named", "real_hello", "record", "server_name"]


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


RETRY = record(
    b"\x02\x00\x00\x2c\x03\x03"
    + bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    + b"\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04"
)
"""A HelloRetryRequest (RFC 8446, 4.1.4)."""
SERVER_HELLO = record(b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x01\x00")
"""Any other answer."""
