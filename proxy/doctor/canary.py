"""The canary: a call that must be denied, made as the agent's tools make theirs, and looked for in the Chron.

    GET http://3f9c...e1.canary.invalid/ by HTTP_PROXY     403 and X-Chron-Id; the record has that host
    the same by CONNECT and TLS                            and the certificate is one that the environment trusts

The host is new each time and exists nowhere (RFC 6761, 6.4): a record that has it is of this call, and a call that goes
around the gate reaches nobody.
"""

import base64
import contextlib
import http.client
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote

from proxy.doctor.findings import Finding

type Look = Callable[[str], Mapping[str, Any] | None]
"""Finds a record by its id, by the control API; None when there is none for this caller. Raises GateAway."""

_CHRON_ID = "X-Chron-Id"
_MOST_BYTES = 65_536
PATIENCE_S = 15.0
"""How long the gate may take: it is there, and may have much to do."""


class GateAway(Exception):
    """The gate, or its control API, does not answer."""


def canary_host() -> str:
    """A host that is nowhere, and was never asked for before."""
    return f"{secrets.token_hex(8)}.canary.invalid"


class Canary:
    """Calls by the environment's proxy that must be denied."""

    def __init__(self, proxy: SplitResult, look: Look) -> None:
        self._proxy = proxy
        self._look = look

    def sing(self) -> Finding:
        """Make the call as plain HTTP."""
        host = canary_host()
        with contextlib.closing(self._connection()) as connection:
            connection.request("GET", f"http://{host}/", headers=self._credentials())
            return self._judged("canary", host, connection.getresponse())

    def sing_secured(self) -> Finding:
        """Make it by CONNECT and TLS, trusting what the environment trusts."""
        host = canary_host()
        if self._proxy.scheme == "https":
            return Finding("trust", True, "not tried: TLS within TLS is for tools that can")
        address = (self._proxy.hostname or "", self._proxy.port or 80)
        connection = http.client.HTTPSConnection(*address, timeout=PATIENCE_S, context=ssl.create_default_context())
        connection.set_tunnel(host, 443, self._credentials())
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/")
                return self._judged("trust", host, connection.getresponse())
            except ssl.SSLError as error:
                said = f"the certificates that the gate shows are not trusted here: {error.reason or error}"
                return Finding("trust", False, f"{said}; set SSL_CERT_FILE as claiim env does")
            except (OSError, http.client.HTTPException) as error:
                return Finding("trust", False, f"no call comes through by CONNECT: {error}")

    def recognise(self, raw: socket.socket, tls: bool) -> str:
        """The id of the record of a call over a connection that was not made to the gate; "" when nobody recorded it.

        A redirect may lead there: then a connection to anywhere is one to the gate.
        """
        host = canary_host()
        raw.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.ExitStack() as stack:
            if tls:
                raw = stack.enter_context(ssl.create_default_context().wrap_socket(raw, server_hostname=host))
            raw.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            response = stack.enter_context(contextlib.closing(http.client.HTTPResponse(raw)))
            response.begin()
            chron_id = response.headers.get(_CHRON_ID, "")
            record = self._look(chron_id) if chron_id else None
            # Believed for the record alone: it is of this agent, and of a host that nobody else has asked for.
            if record is not None and record.get("host") == host:
                return chron_id
        return ""

    def _judged(self, check: str, host: str, response: http.client.HTTPResponse) -> Finding:
        response.read(_MOST_BYTES)
        chron_id = response.headers.get(_CHRON_ID, "")
        if not chron_id:
            return Finding(check, False, f"what answered the call names no record (status {response.status}): no gate")
        record = self._look(chron_id)
        if record is None:
            return Finding(check, False, "the call is not in the Chron, or not this agent's", chron_id)
        if record.get("host") != host:
            return Finding(check, False, "the record that was named is of another call", chron_id)
        if record.get("outcome") != "DENY":
            return Finding(check, False, f"a call to nowhere is no denial: {record.get('reason')}", chron_id)
        observed = "; the agent is observed only, and its calls go through" if record.get("mode") == "observe" else ""
        return Finding(check, True, f"denied and in the Chron, as {record.get('agent')}{observed}", chron_id)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._proxy.hostname or "", self._proxy.port
        if self._proxy.scheme == "https":
            trusted = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port or 443, timeout=PATIENCE_S, context=trusted)
        return http.client.HTTPConnection(host, port or 80, timeout=PATIENCE_S)

    def _credentials(self) -> dict[str, str]:
        if self._proxy.username is None:
            return {}
        pair = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
