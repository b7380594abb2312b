"""The places that keep a log's heads, each for real: a file, a datagram socket, a store by HTTP."""

import base64
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chron.notes import Checkpoint
from chron.signing import Signer
from proxy.anchors import AnchorError, FileAnchor, HttpAnchor, SyslogAnchor, make_anchor, read_headers
from proxy.checkpointconfig import AnchorConfig
from proxy.config import ConfigError
from support.store import ObjectStore

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIGNER = Signer(Ed25519PrivateKey.generate())


def note(size: int) -> str:
    return SIGNER.checkpoint(Checkpoint("claiim/chr_1", size, bytes(32)), 0)


async def test_a_file_keeps_every_checkpoint(tmp_path: Path) -> None:
    """One after the other, each whole; the last one is read back, also by another program."""
    anchor = FileAnchor(tmp_path / "notes")
    assert await anchor.read() is None
    for size in (1, 2, 3):
        await anchor.write(note(size))
        assert await anchor.read() == note(size)
    assert (tmp_path / "notes").read_text() == "".join(note(size) + "\n" for size in (1, 2, 3))


async def test_a_torn_note_does_not_count_and_swallows_nothing(tmp_path: Path) -> None:
    """After a crash in the middle of a note the one before it counts, and the next is whole."""
    path = tmp_path / "notes"
    anchor = FileAnchor(path)
    await anchor.write(note(1))
    with path.open("a") as file:
        file.write(note(2)[:-30])
    assert await anchor.read() == note(1)
    await anchor.write(note(3))
    assert await anchor.read() == note(3)


async def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """No folder, or something that is no anchor: an error with its reason, and nothing is overwritten."""
    with pytest.raises(AnchorError, match="no such file or directory"):
        await FileAnchor(tmp_path / "none" / "notes").write(note(1))
    other = tmp_path / "other"
    other.write_text("shopping list\n")
    with pytest.raises(AnchorError, match="holds something, but no checkpoint"):
        await FileAnchor(other).read()


async def test_a_syslog_gets_a_message_for_each() -> None:
    """RFC 5424 by UDP: facility "log audit", size and root to read, the note to verify."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        anchor = SyslogAnchor(f"udp://127.0.0.1:{server.getsockname()[1]}", now=lambda: NOW)
        await anchor.write(note(7))
        message = server.recv(65536).decode()
    assert message.startswith("<109>1 2026-01-01T12:00:00.000+00:00 ")
    assert " checkpoint - log=claiim/chr_1 size=7 root=AAAA" in message
    assert base64.b64decode(message.rpartition("note=")[2]).decode() == note(7)
    assert await anchor.read() is None


async def test_a_syslog_on_this_machine(tmp_path: Path) -> None:
    """By the socket that a local syslog listens on; none there is an error."""
    path = tmp_path / "log"
    anchor = SyslogAnchor(f"unix:{path}", now=lambda: NOW)
    with pytest.raises(AnchorError, match="no such file or directory"):
        await anchor.write(note(7))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(30)
        await anchor.write(note(7))
        assert b" size=7 " in server.recv(65536)


async def test_a_store_keeps_each_for_good_and_names_the_newest(tmp_path: Path) -> None:
    """Each under its size, locked; the newest under one name, which is read back."""
    (tmp_path / "headers").write_text("Authorization: Bearer s3cret\n\nX-Site: acme\n")
    with ObjectStore() as store:
        config = AnchorConfig("http", store.url, headers=tmp_path / "headers", lock_days=30)
        anchor = make_anchor(config, now=lambda: NOW)
        assert await anchor.read() is None
        for size in (7, 1204):
            await anchor.write(note(size))
        assert await anchor.read() == note(1204)
        assert store.objects == {
            "/claiim/0000000000000007.note": note(7).encode(),
            "/claiim/0000000000001204.note": note(1204).encode(),
            "/claiim/newest.note": note(1204).encode(),
        }
        locked = next(headers for verb, path, headers in store.requests if path.endswith("7.note"))
        assert locked["x-amz-object-lock-mode"] == "COMPLIANCE"
        assert locked["x-amz-object-lock-retain-until-date"] == "2026-01-31T12:00:00Z"
        assert (locked["Authorization"], locked["X-Site"]) == ("Bearer s3cret", "acme")
        with pytest.raises(AnchorError, match="status 403"):
            await anchor.write(note(7))


async def test_a_store_like_s3_is_asked_with_a_signature(tmp_path: Path) -> None:
    """Each request is signed with the credentials of the file, the lock's headers among what is signed."""
    (tmp_path / "credentials").write_text("access_key = AKIA\nsecret_key = hush\nregion = eu-central-1\n")
    with ObjectStore() as store:
        config = AnchorConfig("http", store.url, credentials=tmp_path / "credentials", lock_days=30)
        anchor = make_anchor(config, now=lambda: NOW)
        await anchor.write(note(7))
        assert await anchor.read() == note(7)
        for verb, path, headers in store.requests:
            sent = headers["Authorization"]
            assert sent.startswith("AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-central-1/s3/aws4_request,")
            wanted = path.endswith("7.note") and verb == "PUT"
            assert ("x-amz-object-lock-mode;x-amz-object-lock-retain-until-date" in sent) is wanted
            assert headers["Host"] in store.url
    (tmp_path / "credentials").write_text("secret = 1\n")
    with pytest.raises(ConfigError, match='credentials: "secret" is none of access_key'):
        make_anchor(config, now=lambda: NOW)


async def test_a_store_that_fails_says_how() -> None:
    """A status, a connection that is not there, an answer that is no checkpoint; redirects are not followed."""
    with ObjectStore() as store:
        anchor = HttpAnchor(store.url, {}, 0, now=lambda: NOW)
        store.status = 500
        for ask in (anchor.write(note(7)), anchor.read()):
            with pytest.raises(AnchorError, match="status 500"):
                await ask
        store.status = 0
        store.objects["/claiim/newest.note"] = b"<html>"
        with pytest.raises(AnchorError, match="holds something, but no checkpoint"):
            await anchor.read()
    with pytest.raises(AnchorError, match="ClientConnectorError"):
        await anchor.read()


def test_the_file_of_headers(tmp_path: Path) -> None:
    """What is not a header is named with its line; a missing file with its remedy."""
    path = tmp_path / "headers"
    with pytest.raises(ConfigError, match="cannot read: no such file or directory; write the headers"):
        read_headers(path)
    path.write_text("A: 1\nnonsense\n")
    with pytest.raises(ConfigError, match=r"headers:2: not a header; write"):
        read_headers(path)
