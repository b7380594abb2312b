"""A proxy between the gate and the targets: how it is reached, what it is told, and what goes around it.

    upstream:
      proxy: {url: "http://proxy.acme.test:3128", credentials_file: parent-credentials}
      no_proxy: ["*.svc.acme.test", "10.20.0.0/16"]

    https://api.github.com/    CONNECT 140.82.121.6:443, then TLS that the gate verifies itself
    http://plain.test/         CONNECT 192.0.2.7:80, unless the proxy resolves: then GET http://plain.test/
    10.20.0.7                  directly, as "no_proxy" says
    a host of "resolve"        directly: that address is where the gate itself reaches it

Whoever resolves decides where a name leads. By default that is the gate, which checks every address and asks the proxy
for the one it checked; with `resolves: proxy` it is the proxy, which is asked for names. What an agent proved itself
with is never told on.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mappings.hosts import covers, host_pattern
from proxy.config import ConfigError, UpstreamConfig
from proxy.secretfiles import read_secret_line

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED = re.compile(r"Upstream proxy (?:.* )?refused HTTP CONNECT request: ([0-9]{3})\b", re.DOTALL)
"""mitmproxy's words; those of the proxy, which follow, are nobody's that should stand in a record."""
REFUSED_WORDS = "the proxy that the gate goes through answered"


@dataclass(frozen=True, slots=True)
class Chaining:
    """The proxy beyond, and what goes around it."""

    host: str
    port: int
    tls: bool
    ca: Path | None
    """The only CA that vouches for it; None means the system's roots and the configured bundle."""
    by_name: bool
    """Whether it resolves the names of targets."""
    authorization: str = field(repr=False)
    """The field that it knows us by; "" where it wants none."""
    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    """What is reached directly."""

    def around_by_name(self, host: str) -> bool:
        """Whether a canonical host is reached directly, whatever its address."""
        return any(covers(pattern, host) for pattern in self.hosts)

    def around_by_address(self, address: str) -> bool:
        """Whether what is at an address is reached directly."""
        ip = ipaddress.ip_address(address)
        return any(ip in network for network in self.networks if network.version == ip.version)


def read_exception(text: str) -> Network | str:
    """One entry of `no_proxy`: a network, an address, or a pattern of hosts; raises ValueError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        if "/" in text:
            raise ValueError(f'"{text}" is not a network; write e.g. "10.20.0.0/16"') from None
    if text.startswith("."):
        raise ValueError(f'"{text}" is no host; write "*{text}", and "{text[1:]}" too if that is meant')
    return host_pattern(text)


def chaining(config: UpstreamConfig, environ: Mapping[str, str]) -> Chaining | None:
    """What the configuration says of it, secrets read; None where targets are reached directly. Raises ConfigError."""
    proxy = config.proxy
    if proxy is None:
        return None
    read = [read_exception(text) for text in config.no_proxy]
    return Chaining(
        host=proxy.host,
        port=proxy.port,
        tls=proxy.tls,
        ca=proxy.ca,
        by_name=proxy.by_name,
        authorization=_authorization(proxy.credentials_file, proxy.credentials_env, environ),
        hosts=tuple(each for each in read if isinstance(each, str)),
        networks=tuple(each for each in read if not isinstance(each, str)),
    )


def _authorization(path: Path | None, variable: str | None, environ: Mapping[str, str]) -> str:
    if path is not None:
        text, where = read_secret_line(path, "user and password"), str(path)
    elif variable is not None:
        text, where = environ.get(variable, ""), f"upstream.proxy.credentials_env: {variable}"
    else:
        return ""
    if ":" not in text or not text.isascii() or not text.isprintable():
        raise ConfigError.plain(f'{where}: no credentials; write one line of ASCII, "user:password"')
    return "Basic " + base64.b64encode(text.encode("ascii")).decode("ascii")  # RFC 7617, 2


def told(message: str) -> str:
    """What the engine says of a failure, in our words where the proxy beyond has refused."""
    found = _REFUSED.match(message)
    if found is None:
        return message
    hint = ": it wants other credentials than the gate has" if found[1] == "407" else ""
    return f"{REFUSED_WORDS} {found[1]}{hint}"
