"""Network namespaces for tests: a machine of its own for the gate, with an "internet" behind it.

    machine ---- 198.51.100.1  198.51.100.2 ---- outside      (RFC 5737, RFC 3849: they lead nowhere)
                 2001:db8::1    2001:db8::2

A thread started while a namespace is entered stays in it, so targets and gates are started there as anywhere else.
"""

import contextlib
import itertools
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

OUTSIDE, OUTSIDE6 = "198.51.100.2", "2001:db8::2"
"""Where something answers: connections to 80, 443 and 53, and datagrams to 443 and 53."""
_count = itertools.count()
NEEDED = ("ip", "nft", "nsenter", "unshare", "setpriv")


def need_namespaces() -> None:
    """End the test here where namespaces cannot be made.

    `.ci/run` installs the tools; a container without the right to make networks is no fault of the gate.
    """
    if missing := [tool for tool in NEEDED if not shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin")]:
        pytest.skip(f"{missing[0]} is not installed; this test makes networks with it")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("network namespaces need root")


def sh(*command: str, **environ: str) -> str:
    """Run a command to its end; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={**os.environ, **environ})
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Network:
    """One namespace between enter and exit of `networks`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = Path("/run/netns") / name

    @contextlib.contextmanager
    def entered(self) -> Iterator[Self]:
        """This thread, and the threads and processes that it starts, are in it."""
        with Path("/proc/thread-self/ns/net").open("rb") as before, self._path.open("rb") as there:
            os.setns(there.fileno(), os.CLONE_NEWNET)
            try:
                yield self
            finally:
                os.setns(before.fileno(), os.CLONE_NEWNET)


class Outside:
    """Answers whatever comes, and remembers that it came."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        """Listen; called in the namespace."""
        for port in (53, 80, 443):
            stream = socket.create_server(("0.0.0.0", port))
            self._serve(stream, f"tcp {port}", stream=True)
        for port in (53, 443):
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind(("0.0.0.0", port))
            self._serve(datagrams, f"udp {port}", stream=False)

    def close(self) -> None:
        """Stop listening."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self, listening: socket.socket, what: str, *, stream: bool) -> None:
        def streams() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    self.came.append(what)
                    connection.close()

        def datagrams() -> None:
            with contextlib.suppress(OSError):
                while received := listening.recvfrom(2048):
                    if not received[0]:
                        return
                    self.came.append(what)
                    listening.sendto(_answer(received[0]), received[1])

        self._sockets.append(listening)
        self._threads.append(threading.Thread(target=streams if stream else datagrams, name=what))
        self._threads[-1].start()


def _answer(datagram: bytes) -> bytes:
    """As a name server that knows example.com, and as anything else that answers."""
    if b"\x07example\x03com\x00" not in datagram:
        return datagram[:2] + b"\x81\x83" + datagram[4:12] + datagram[12:]
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton("192.0.2.7")
    return datagram[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + datagram[12:] + record


@contextlib.contextmanager
def networks() -> Iterator[tuple[Network, Outside]]:
    """A machine for the gate, and what is outside of it."""
    need_namespaces()
    made = f"{os.getpid()}-{next(_count)}"
    machine, beyond = Network(f"claiim-m{made}"), Network(f"claiim-o{made}")
    outside = Outside()
    try:
        for each in (machine, beyond):
            sh("ip", "netns", "add", each.name)
            sh("ip", "-n", each.name, "link", "set", "lo", "up")
        sh("ip", "-n", machine.name, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", beyond.name)
        for each, address in ((machine, "198.51.100.1"), (beyond, OUTSIDE)):
            sh("ip", "-n", each.name, "address", "add", f"{address}/24", "dev", "up0")
            address6 = address.replace("198.51.100.", "2001:db8::")
            sh("ip", "-n", each.name, "address", "add", f"{address6}/64", "dev", "up0", "nodad")
            sh("ip", "-n", each.name, "link", "set", "up0", "up")
        sh("ip", "-n", machine.name, "route", "add", "default", "via", OUTSIDE)
        sh("ip", "-n", beyond.name, "route", "add", "default", "via", "198.51.100.1")
        with machine.entered():
            # The machine passes packets on: it is the rules that keep the agent in, not a machine that is no router.
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with beyond.entered():
            outside.open()
        yield machine, outside
    finally:
        outside.close()
        for each in (machine, beyond):
            subprocess.run(["ip", "netns", "delete", each.name], capture_output=True)
