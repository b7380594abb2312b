"""TLS hellos as bytes, also ones that no library makes."""


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
    """One TLS record (RFC 8446, 5.1)."""
    return bytes((kind, 3, 1)) + len(content).to_bytes(2) + content


def named(name: str) -> bytes:
    """The record of a hello for a name."""
    return record(hello((0, server_name(name.encode()))))
