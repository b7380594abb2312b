"""TLS on both sides: leaves of our CA towards agents, verified certificates towards targets.

Contexts are made here and not by mitmproxy's helper, which writes session keys to the file named by
`SSLKEYLOGFILE`: an environment variable must not open the tunnels of a gate.
"""

import datetime
import functools
import ipaddress
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from proxy.ca import Authority
from proxy.destinations import Route
from proxy.wire.listener import base_context

_ALPN = (b"h2", b"http/1.1")  # RFC 7301, 6 and RFC 9113, 3.2

_lib: Any = SSL._lib  # type: ignore[attr-defined] # pyOpenSSL has no public call for host verification


def agent_side(authority: Authority, host: str, now: datetime.datetime) -> SSL.Connection:
    """A server-side connection that shows a leaf for `host`."""
    leaf = authority.leaf(host, now)
    connection = SSL.Connection(_agent_context())
    connection.use_certificate(leaf.certificate)
    connection.use_privatekey(leaf.key)
    connection.set_accept_state()
    return connection


@functools.cache
def _agent_context() -> SSL.Context:
    context = base_context(SSL.TLS_SERVER_METHOD)
    context.set_alpn_select_callback(_choose_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/2 when the agent can, else HTTP/1.1; an agent that offers neither gets no answer here."""
    return next((name for name in _ALPN if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


def target_side(route: Route, roots: Path, offered: tuple[bytes, ...]) -> SSL.Connection:
    """A client-side connection that accepts only a certificate for `route.host`.

    `offered` is what the agent offered by ALPN: the target is asked for no protocol the agent cannot speak.
    """
    connection = SSL.Connection(_target_context(str(route.ca or roots), route.verify))
    parameters = _lib.SSL_get0_param(connection._ssl)
    # RFC 9525, 6.3: no partial wildcards; and no look at the common name, which is not the identity.
    _lib.X509_VERIFY_PARAM_set_hostflags(
        parameters, _lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | _lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    )
    try:
        packed = ipaddress.ip_address(route.host).packed
        accepted = _lib.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
    except ValueError:
        name = route.host.encode("ascii")
        connection.set_tlsext_host_name(name)
        accepted = _lib.X509_VERIFY_PARAM_set1_host(parameters, name, len(name))
    if accepted != 1:
        raise ValueError(f'"{route.host}" cannot be verified')
    protocols = [name for name in _ALPN if name in offered]
    if protocols:
        connection.set_alpn_protos(protocols)
    connection.set_connect_state()
    return connection


@functools.lru_cache(maxsize=256)
def _target_context(roots: str, verify: bool) -> SSL.Context:
    context = base_context(SSL.TLS_CLIENT_METHOD)
    if verify:
        context.load_verify_locations(roots)
        context.set_verify(SSL.VERIFY_PEER)
    else:
        context.set_verify(SSL.VERIFY_NONE)
    return context


def forget_contexts() -> None:
    """Read roots and CA files again at the next connection; called on reload."""
    _target_context.cache_clear()
