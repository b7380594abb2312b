"""TLS between an agent and the gate's own listener, around whatever is said there: a proxy reached by https://.

The agent is asked for a certificate where the configuration names authorities for them. One that is not in order
does not end the handshake: the engine is told what is wrong with it and refuses every request, so that the agent
gets an answer it can read and the Chron a record. That the agent holds the key is shown by the handshake itself.

Nothing is taken from another session: every connection shows its certificate anew.
"""

import asyncio
import contextlib
from typing import Any

from OpenSSL import SSL

from proxy.config import TlsConfig
from proxy.identity import ClientCertificate, client_certificate

_HANDSHAKE = 0x16
"""RFC 8446, 5.1: the content type that a TLS connection begins with."""
_RECORD_BYTES = 16_384
"""RFC 8446, 5.1: the most that one record carries."""


class NoTls(Exception):
    """The handshake failed; its text says why, where OpenSSL knows in OpenSSL's words."""

    def __init__(self, why: str, *, plain: bool = False) -> None:
        super().__init__(why)
        self.plain = plain
        """Whether the agent seems to speak HTTP, and can be answered so."""


def listener_context(tls: TlsConfig) -> SSL.Context:
    """The context of the listener; its files have been checked. Blocks."""
    context = base_context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(tls.certificate))
    context.use_privatekey_file(str(tls.key))
    context.set_alpn_select_callback(_choose_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    if tls.client_ca is not None:
        context.load_verify_locations(str(tls.client_ca))
        context.load_client_ca(str(tls.client_ca).encode())
        context.set_verify(SSL.VERIFY_PEER, _note_fault)
    return context


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/1.1, which every client of a proxy speaks; HTTP/2 is for what is inside."""
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class _Verification:
    """What OpenSSL found in verifying one certificate; nothing found is no approval until it has looked."""

    def __init__(self) -> None:
        self.error: int | None = _NOT_LOOKED_AT

    def note(self, error: int, ok: bool) -> None:
        if not ok and self.error in (None, _NOT_LOOKED_AT):
            self.error = error
        elif self.error == _NOT_LOOKED_AT:
            self.error = None


_NOT_LOOKED_AT = -1


def _note_fault(connection: SSL.Connection, _certificate: Any, error: int, _depth: int, ok: int) -> bool:
    """Go on whatever is wrong with a certificate, and remember the first thing that is."""
    # If this line is removed, no certificate is believed.
    connection.get_app_data().note(error, bool(ok))
    return True


class SecuredStream:
    """Reader and writer of a connection in one, as far as the engine uses them; what goes out is encrypted."""

    def __init__(self, context: SSL.Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._tls = SSL.Connection(context)
        self._verification = _Verification()
        self._tls.set_app_data(self._verification)
        self._tls.set_accept_state()

    async def handshake(self) -> ClientCertificate | None:
        """Do the handshake; the agent's certificate if it brought one. Raises NoTls, or OSError when it went away."""
        first = True
        while True:
            try:
                self._tls.do_handshake()
                break
            except SSL.WantReadError:
                self._send()
            except SSL.Error as error:
                self._send()  # the alert that says why
                raise _no_tls(error) from None
            received = await self._reader.read(65_536)
            if not received:
                raise ConnectionResetError("the agent went away during the handshake")
            if first and received[0] != _HANDSHAKE:
                raise NoTls("it begins with no handshake", plain=received[:1].isalpha())
            first = False
            self._tls.bio_write(received)
        self._send()
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        return client_certificate(certificate, self._verification.error)

    async def read(self, most: int) -> bytes:
        """Bytes that the agent sent; b"" when it has ended."""
        while True:
            try:
                return self._tls.recv(most)
            except SSL.WantReadError:
                if self._send():  # an answer to a key update, of which whoever reads none may ask for any number
                    await self.drain()
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as error:
                raise ConnectionError("TLS with the agent failed") from error
            received = await self._reader.read(65_536)
            if not received:
                return b""
            self._tls.bio_write(received)

    def write(self, data: bytes) -> None:
        """Encrypt and send; what cannot be sent any more is dropped, as by any transport."""
        try:
            for start in range(0, len(data), _RECORD_BYTES):
                self._tls.sendall(data[start : start + _RECORD_BYTES])
        except SSL.Error:
            self._writer.close()
            return
        self._send()

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        await self._writer.drain()

    def write_eof(self) -> None:
        """Say that nothing more will come (RFC 8446, 6.1); what the agent sends is still read."""
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        self._send()

    def close(self) -> None:
        """Say so and close."""
        if not self._writer.is_closing():
            self.write_eof()
        self._writer.close()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._writer.is_closing()

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The socket's own, to break the connection off."""
        return self._writer.transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection beneath."""
        return self._writer.get_extra_info(name, default)

    def answer_plainly(self, answer: bytes) -> None:
        """Send bytes as they are, to an agent that spoke no TLS."""
        self._writer.write(answer)

    def _send(self) -> bool:
        """Send what is to be sent; whether there was anything."""
        sent = False
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self._writer.write(self._tls.bio_read(65_536))
                sent = True
        return sent


def _no_tls(error: SSL.Error) -> NoTls:
    reasons = error.args[0] if error.args else ()
    return NoTls(str(reasons[0][2]) if reasons else "the handshake failed")


def base_context(method: int) -> SSL.Context:
    """A context with what holds for every connection here."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)  # RFC 8996: TLS 1.0 and 1.1 are retired
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context
