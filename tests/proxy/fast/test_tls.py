"""TLS as a function of bytes: two sides that talk through this file, in any pieces."""

import datetime
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mappings import canonical_host
from proxy.ca import create_authority, load_authority
from proxy.destinations import Route
from proxy.fast.streams import Secure
from proxy.fast.tls import AgentContexts, Tls, TlsError, forget_contexts, target_side
from support.dialogues import Pieces, run

NOW = datetime.datetime.now(datetime.UTC)
HOST = "target.test"


def _agent(authority: trustme.CA, host: str = HOST, *, protocols: tuple[str, ...] = (), newest: Any = None) -> Tls:
    """A client of somebody else that trusts this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if newest:
        context.maximum_version = newest
    return Tls(context, server=False, host=host)


def _server(authority: trustme.CA, host: str = HOST, *, protocols: tuple[str, ...] = (), newest: Any = None) -> Tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, common_name=host).configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if newest:
        context.maximum_version = newest
    return Tls(context, server=True)


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    forget_contexts()
    yield
    forget_contexts()


def _whole(data: bytes) -> list[bytes]:
    return [data]


def _bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def _pass_on(source: Tls, sink: Tls, cut: Callable[[bytes], list[bytes]] = _whole) -> bytes:
    """What the sink reads of all that the source has to send."""
    return b"".join(sink.receive(piece) for piece in cut(source.pending()))


def _connect(client: Tls, server: Tls, cut: Callable[[bytes], list[bytes]] = _whole) -> None:
    client.begin()
    for _ in range(5):
        _pass_on(client, server, cut)
        _pass_on(server, client, cut)
    assert client.open
    assert server.open


def _route(host: str, *, ca: Path | None = None, verify: bool = True) -> Route:
    return Route(host, ("127.0.0.1", 1), ca, verify)


@pytest.mark.parametrize("cut", [_whole, _bytewise])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_a_dialogue(target_ca: trustme.CA, target_ca_pem: Path, cut: Any, newest: Any) -> None:
    """Both ways, more than a record holds, to the end that each side says."""
    client = target_side(_route(HOST), target_ca_pem, ())
    server = _server(target_ca, newest=newest)
    _connect(client, server, cut)
    data = bytes(range(256)) * 300
    client.send(data)
    assert _pass_on(client, server, cut) == data
    server.send(data)
    server.send(b"")
    server.end()
    assert _pass_on(server, client, cut) == data
    assert (client.ended, server.ended) == (True, False)
    client.send(b"still")
    assert _pass_on(client, server, cut) == b"still"
    client.end()
    assert _pass_on(client, server, cut) == b""
    assert server.ended


def test_what_comes_with_the_end_of_the_handshake_is_read(target_ca: trustme.CA, target_ca_pem: Path) -> None:
    """A client sends its first request behind its last words of the handshake."""
    client, server = target_side(_route(HOST), target_ca_pem, ()), _server(target_ca)
    client.begin()
    _pass_on(client, server)
    _pass_on(server, client)
    client.send(b"hello")
    assert _pass_on(client, server) == b"hello"


def test_one_side_has_ended_and_the_other_goes_on(target_ca: trustme.CA, target_ca_pem: Path) -> None:
    """Also where half a record had come when the end was said."""
    client, server = target_side(_route(HOST), target_ca_pem, ()), _server(target_ca)
    _connect(client, server)
    server.send(b"a" * 5000)
    record = server.pending()
    client.receive(record[:100])
    client.end()
    assert client.receive(record[100:]) == b"a" * 5000
    _pass_on(client, server)
    assert server.ended
    server.send(b"b" * 40_000)
    server.end()
    assert _pass_on(server, client) == b"b" * 40_000
    assert client.ended


WRONG: dict[str, dict[str, Any]] = {
    "another host": {"host": "other.test"},
    "an address": {"host": "127.0.0.1"},
    "the host in its common name alone": {"host": "other.test", "common": HOST},
    "an authority that nobody trusts": {"authority": trustme.CA},
    "too old a version": {"newest": ssl.TLSVersion.TLSv1_1},
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize("name", WRONG)
def test_a_target_that_cannot_prove_itself(target_ca: trustme.CA, target_ca_pem: Path, name: str) -> None:
    """It gets not one byte of a request, and is told why by an alert."""
    wrong = WRONG[name]
    authority = wrong["authority"]() if "authority" in wrong else target_ca
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if "newest" in wrong:
        context.minimum_version = context.maximum_version = wrong["newest"]
        context.set_ciphers("ALL:@SECLEVEL=0")
    authority.issue_cert(wrong.get("host", HOST), common_name=wrong.get("common")).configure_cert(context)
    server = Tls(context, server=True)
    client = target_side(_route(HOST), target_ca_pem, ())
    client.begin()
    with pytest.raises(TlsError) as failed:  # noqa: PT012 -- which side sees it first depends on the version
        for _ in range(3):
            _pass_on(client, server)
            _pass_on(server, client)
    assert str(failed.value) == str(failed.value).lower()
    assert not client.open


def test_verification_is_off_where_the_operator_says_so(target_ca_pem: Path) -> None:
    """And nowhere else."""
    client = target_side(_route(HOST, verify=False), target_ca_pem, ())
    _connect(client, _server(trustme.CA(), "other.test"))


def test_the_only_ca_of_a_host_is_the_only_one(target_ca: trustme.CA, target_ca_pem: Path, tmp_path: Path) -> None:
    """A target that the roots vouch for is not believed where the route names its own authority."""
    own = trustme.CA()
    own.cert_pem.write_to_path(str(tmp_path / "own.pem"))
    route = _route(HOST, ca=tmp_path / "own.pem")
    _connect(target_side(route, target_ca_pem, ()), _server(own))
    with pytest.raises(TlsError):
        _connect(target_side(route, target_ca_pem, ()), _server(target_ca))


@pytest.mark.parametrize(
    ("offered", "spoken", "expected"),
    [
        (("h2", "http/1.1"), ("h2", "http/1.1"), "h2"),
        (("h2", "http/1.1"), ("http/1.1",), "http/1.1"),
        (("http/1.1",), ("h2", "http/1.1"), "http/1.1"),
        ((), ("h2",), None),
        (("h2",), ("http/1.1",), None),
        (("h2",), (), None),
    ],
)
def test_a_target_is_offered_what_its_agent_speaks(
    target_ca: trustme.CA,
    target_ca_pem: Path,
    offered: tuple[str, ...],
    spoken: tuple[str, ...],
    expected: str | None,
) -> None:
    """RFC 7301: it chooses of that, or nothing."""
    client, server = target_side(_route(HOST), target_ca_pem, offered), _server(target_ca, protocols=spoken)
    _connect(client, server)
    assert client.protocol == server.protocol == expected


NAMES = ("a.test", "_a.b-c.test", "a--b.test", "xn--bcher-kva.test", "a" * 63 + ".test", ".".join(["a" * 49] * 5))


@pytest.mark.parametrize("name", [*NAMES, "10.1.2.3", "[::1]"])
def test_every_host_that_has_a_canonical_name_can_be_asked_for(target_ca_pem: Path, name: str) -> None:
    """No name that the rules can allow is an error of `ssl`, which no step expects."""
    target_side(_route(canonical_host(name)), target_ca_pem, ()).begin()


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[AgentContexts, Path]:
    """Contexts of an authority of our own, and its certificate."""
    paths = tmp_path / "ca.pem", tmp_path / "key.pem"
    create_authority(*paths, NOW)
    authority = load_authority(*paths, NOW)
    (tmp_path / "roots.pem").write_bytes(authority.pem)
    return AgentContexts(authority), tmp_path / "roots.pem"


@pytest.mark.parametrize("host", ["a.test", "10.1.2.3", "::1", ".".join(["a" * 49] * 5)])
def test_agents_are_shown_a_leaf_for_the_host(contexts: tuple[AgentContexts, Path], host: str) -> None:
    """One that any verifying client believes; and HTTP/2 where it can."""
    made, roots = contexts
    for offered, chosen in ((("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)):
        client = target_side(_route(host), roots, offered)
        server = Tls.of_agent(made, host, NOW, lambda _: host)
        _connect(client, server)
        assert client.protocol == chosen
    assert made.context(host, NOW) is made.context(host, NOW)


def test_an_agent_is_shown_the_host_that_its_hello_names(contexts: tuple[AgentContexts, Path]) -> None:
    """Chosen while the hello is read."""
    made, roots = contexts
    named: list[str | None] = []

    def choose(name: str | None) -> str:
        named.append(name)
        return name or "a.test"

    client = target_side(_route("b.test"), roots, ())
    _connect(client, Tls.of_agent(made, "a.test", NOW, choose))
    assert named == ["b.test"]


def test_a_name_that_cannot_be_chosen_ends_the_handshake(
    contexts: tuple[AgentContexts, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in choosing shows nobody a leaf."""
    made, roots = contexts

    def choose(_: str | None) -> str:
        raise LookupError

    with pytest.raises(TlsError):
        _connect(target_side(_route("b.test"), roots, ()), Tls.of_agent(made, "a.test", NOW, choose))
    assert "choosing a certificate failed" in caplog.text


# --- what is not TLS, and what breaks off ---

NOT_TLS = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(100),
    "an empty hello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
}


@pytest.mark.parametrize("name", NOT_TLS)
@pytest.mark.parametrize("cut", [_whole, _bytewise])
def test_what_is_no_tls(target_ca: trustme.CA, name: str, cut: Any) -> None:
    """It is a TlsError and nothing else."""
    server = _server(target_ca)
    with pytest.raises(TlsError):
        [server.receive(piece) for piece in cut(NOT_TLS[name])]


@pytest.mark.parametrize("cut", [_whole, _bytewise])
def test_what_stands_before_a_broken_record_is_read(target_ca: trustme.CA, target_ca_pem: Path, cut: Any) -> None:
    """What was whole when it came does not depend on what came with it; then it is an error, every time."""
    client, server = target_side(_route(HOST), target_ca_pem, ()), _server(target_ca)
    _connect(client, server)
    server.send(b"hello")
    good = server.pending()
    server.send(b"world")
    bad = bytearray(server.pending())
    bad[-1] ^= 1
    stream = Pieces([*cut(good + bytes(bad)), b"more"])
    secure = Secure(stream, client)
    assert run(secure.read()) == b"hello"
    for _ in range(2):
        with pytest.raises(ConnectionError, match="TLS failed"):
            run(secure.read())
    assert client.failed
    assert stream.sent  # the alert


def test_a_handshake_that_breaks_off(target_ca_pem: Path) -> None:
    """The other side went away: that is an error of the connection."""
    secure = Secure(Pieces([]), target_side(_route(HOST), target_ca_pem, ()))
    with pytest.raises(ConnectionResetError):
        run(secure.shake_hands())


def test_a_connection_that_is_kept_is_quiet(target_ca: trustme.CA, target_ca_pem: Path) -> None:
    """Session tickets are nothing; a byte, an end or a broken record is something, and no byte is lost."""
    client, server = target_side(_route(HOST), target_ca_pem, ()), _server(target_ca)
    _connect(client, server)
    stream = Pieces([])
    secure = Secure(stream, client)
    assert secure.quiet()
    server.send(b"x")
    stream.put_back(server.pending())
    assert not secure.quiet()
    assert run(secure.read()) == b"x"
    assert secure.quiet()
    server.end()
    stream.put_back(server.pending())
    assert not secure.quiet()
    assert run(secure.read()) == b""
    secure.close()
    assert stream.closed
