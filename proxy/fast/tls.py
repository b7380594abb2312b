"""TLS as a function of bytes: what came in, what is to go out, and what stands inside. No sockets.

`ssl` over two memory buffers, because a tunnel may itself run inside TLS, and because what is written while one event
is handled then leaves as one piece.
"""

import contextlib
import datetime
import functools
import logging
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization

from proxy.ca import Authority, Leaf
from proxy.destinations import Route

_log = logging.getLogger(__name__)

_ALPN = ("h2", "http/1.1")  # RFC 7301, 6 and RFC 9113, 3.2
_RECORD_BYTES = 16 * 1024  # RFC 8446, 5.1; OpenSSL reads no more at once
_CACHED_CONTEXTS = 1024


class TlsError(Exception):
    """The handshake or a record is not in order; the text is OpenSSL's."""


class Tls:
    """One side of a TLS connection.

    `receive` takes what came from the socket and returns what stands inside; `pending` is what is to be sent now.
    """

    def __init__(self, context: ssl.SSLContext, *, server: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=host)
        self.open = False
        """Whether the handshake is over."""
        self.ended = False
        """Whether the other side has said that nothing more will come."""
        self._failed: TlsError | None = None

    @classmethod
    def of_agent(
        cls, contexts: "AgentContexts", host: str, now: datetime.datetime, named: Callable[[str | None], str]
    ) -> Self:
        """The gate's side towards an agent. `named` is told the name in the hello, and says whose leaf is shown."""
        made = cls(contexts.context(host, now), server=True)
        made._tls.claiim_named = lambda name: contexts.context(named(name), now)  # type: ignore[attr-defined]
        return made

    @property
    def failed(self) -> bool:
        """Whether nothing more can be read: `receive` raises, whatever comes."""
        return self._failed is not None

    @property
    def protocol(self) -> str | None:
        """What ALPN has chosen."""
        return self._tls.selected_alpn_protocol()

    def begin(self) -> None:
        """Say the first words, where they are ours."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """What stands in these bytes and in those before them; raises TlsError, but not before what stands whole."""
        if self._failed is not None:
            raise self._failed
        self._incoming.write(data)
        if not self.open and not self._shake_hands():
            return b""
        pieces = []
        try:
            while piece := self._tls.read(_RECORD_BYTES):
                pieces.append(piece)
                if not self._incoming.pending and not self._tls.pending():
                    break  # asked again it would only raise that it wants more
            else:
                self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self._failed = TlsError(_words(error))
            if not pieces:
                raise self._failed from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._tls.claiim_named = None  # type: ignore[attr-defined]
            raise TlsError(_words(error)) from None
        self._tls.claiim_named = None  # type: ignore[attr-defined]  # it refers to who has this connection
        self.open = True
        return True

    def send(self, data: bytes) -> None:
        """Encrypt; raises TlsError."""
        try:
            view = memoryview(data)
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from None

    def end(self) -> None:
        """Say that nothing more will come from here (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()

    def pending(self) -> bytes:
        """What is to be sent, once."""
        return self._outgoing.read() if self._outgoing.pending else b""


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


class AgentContexts:
    """The contexts that show agents a leaf for the host they ask for; sessions are resumed within each."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._contexts: OrderedDict[str, tuple[Leaf, ssl.SSLContext]] = OrderedDict()

    def context(self, host: str, now: datetime.datetime) -> ssl.SSLContext:
        """The context for a host, a canonical name or an address."""
        leaf = self._authority.leaf(host, now)
        known = self._contexts.get(host)
        if known is None or known[0] is not leaf:
            known = self._contexts[host] = leaf, _agent_context(leaf)
        self._contexts.move_to_end(host)
        if len(self._contexts) > _CACHED_CONTEXTS:
            self._contexts.popitem(last=False)
        return known[1]


def _agent_context(leaf: Leaf) -> ssl.SSLContext:
    context = _base(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(_ALPN)
    context.sni_callback = _name
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # `ssl` reads from files alone; this one has no name that anybody else could open.
    with _nameless() as (descriptor, path):
        os.write(descriptor, leaf.certificate.public_bytes(serialization.Encoding.PEM) + key)
        context.load_cert_chain(path)
    return context


def _name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
    try:
        connection.context = connection.claiim_named(name)  # type: ignore[attr-defined]
    except Exception:
        _log.exception("choosing a certificate failed")
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
    return None


@contextlib.contextmanager
def _nameless() -> Iterator[tuple[int, str]]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            yield descriptor, f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            yield file.fileno(), file.name


def target_side(route: Route, roots: Path, offered: tuple[str, ...]) -> Tls:
    """A client that accepts only a certificate for `route.host`.

    `offered` is what the target is asked for by ALPN: nothing that the agent cannot speak.
    """
    context = _target_context(str(route.ca or roots), route.verify, offered)
    return Tls(context, server=False, host=route.host)


@functools.lru_cache(maxsize=256)
def _target_context(roots: str, verify: bool, offered: tuple[str, ...]) -> ssl.SSLContext:
    context = _base(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # RFC 9525, 6.3: it is not the identity
    if verify:
        context.load_verify_locations(roots)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if offered:
        context.set_alpn_protocols([name for name in _ALPN if name in offered])
    return context


def forget_contexts() -> None:
    """Read roots and CA files again at the next connection; called on reload."""
    _target_context.cache_clear()


def _base(protocol: int) -> ssl.SSLContext:
    """A context with what holds for every connection here; `SSLKEYLOGFILE` counts for none of them."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context
