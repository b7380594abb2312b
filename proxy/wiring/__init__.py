"""Wiring: what an unmodified tool is given so that it goes through the gate and trusts its certificates.

It names the environment variables, writes the trust stores they point to, and renders both for a shell.
It never starts a process, never changes the machine's own trust stores, and never confines: a program that
opens sockets itself is stopped by the network around it.
"""

from proxy.wiring.given import ROUTING, overriding
from proxy.wiring.kubeconfig import write_kubeconfig
from proxy.wiring.listeners import by_socks, in_front
from proxy.wiring.stores import (
    JAVA_STORE_PASSWORD,
    Files,
    system_roots,
    write_bundle,
    write_files,
    write_java_store,
)
from proxy.wiring.variables import UNSET, environment, shell_lines

__all__ = [
    "JAVA_STORE_PASSWORD",
    "ROUTING",
    "UNSET",
    "Files",
    "by_socks",
    "environment",
    "in_front",
    "overriding",
    "shell_lines",
    "system_roots",
    "write_bundle",
    "write_files",
    "write_java_store",
    "write_kubeconfig",
]
