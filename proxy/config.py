"""What the gate is told, as one frozen value: built once (`proxy.configloading`), never changed.

Nothing is checked here but how an address is written: the rest was checked at the door (`proxy.configfile`).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, assert_never

from chron.sources import Source
from mappings import DocumentError
from proxy.checkpointconfig import CheckpointsConfig
from proxy.limits import DEFAULTS, Limits
from proxy.retention import RetentionConfig

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- RFC 1122, 3.2.1.3 and RFC 4291, 2.5.2
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")

type SignatureAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]

SIGNATURE_ALGORITHMS: tuple[SignatureAlgorithm, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
"""What a workload token may be signed with unless the configuration says otherwise: RFC 7518, 3.1; RFC 8037, 3.1;
RFC 9864, 2.2. Never a shared key (HS256 and its like) and never "none": who can check such a token can make one."""


class ConfigError(DocumentError):
    """The configuration cannot be used; every fault has its place, where it has one."""

    @classmethod
    def plain(cls, message: str) -> "ConfigError":
        """A fault that stands in no document: a missing file, a busy port, an expired certificate."""
        error = cls(())
        error.args = (message,)
        return error


def why(error: OSError) -> str:
    """What the system says about a file or a socket, in the case our messages have."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to connect: an IP address or name and a port (0 = any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> "Address":
        """Where something that listens here is reached from this machine."""
        return Address(_ANY_ADDRESS.get(self.host, self.host), self.port)


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080` or `[::1]:8080`; raises ValueError with the remedy."""
    host, _, port = text.rpartition(":")
    if _PORT.fullmatch(port) and int(port) <= 65535:
        if _HOST.fullmatch(host):
            return Address(host, int(port))
        if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
            return Address(host[1:-1], int(port))
    raise ValueError(f'"{text}" is not an address; write "host:port", e.g. "127.0.0.1:8181"')


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """What the proxy's own listener shows to agents, and which certificates of theirs it believes."""

    certificate: Path
    """PEM, with the intermediates after it."""
    key: Path
    client_ca: Path | None
    """The authorities of agents' certificates; without it agents are asked for none."""
    ca: Path | None
    """What agents need to trust the listener, when it is neither the system's roots nor in `certificate`."""


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """Somebody whose workload tokens are believed."""

    issuer: str
    audience: str
    jwks: Path
    """Its public keys, RFC 7517; never fetched."""
    algorithms: tuple[SignatureAlgorithm, ...]


type EngineName = Literal["fast", "mitmproxy"]

DEFAULT_ENGINE: EngineName = "fast"
"""Of the ways in that both serve (docs/why/014-two-engines.md)."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The listener that agents are routed through."""

    listen: Address
    allowed_ports: frozenset[int]
    """Ports a CONNECT or an absolute URI may name; others are refused before any connection."""
    max_body_bytes: int
    """The most of a request body that is read to name the request; above it the body is unreadable."""
    drain_timeout_s: int
    """How long open exchanges may go on after a stop was asked for."""
    segment_s: int = 300
    """How often the log is told how far an exchange is that goes on."""
    tls: TlsConfig | None = None
    """Given: the listener speaks TLS, and nothing else."""
    engine: EngineName = DEFAULT_ENGINE
    """What serves the listener, and every other one that names none, where it can (`proxy.engines`)."""
    workers: int = 1
    """How many processes serve the listeners; with more than one, another one writes the log and has the API."""

    @property
    def scheme(self) -> str:
        """How a proxy URL of this listener begins."""
        return "https" if self.tls else "http"


type Proof = Literal["nothing", "listener", "address"]


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """A further way in, beside the proxy's own listener."""

    name: str
    mode: Literal["proxy", "reverse", "socks5", "transparent"]
    listen: Address
    target: tuple[str, str, int] | None
    """Of `reverse`: scheme, host and port of the one API that is behind it."""
    proves: Proof
    """What it proves of whoever reaches it: which listener it was, its address, or nothing."""
    tls: bool
    """Whether it speaks TLS, with the certificate of `proxy.tls`."""
    engine: EngineName | None = None
    """What serves it; None is the proxy's own engine, where that can."""

    def identities(self, client: str) -> tuple[str, ...]:
        """What is proven of a connection from that address by its coming here."""
        match self.proves:
            case "nothing":
                return ()
            case "listener":
                return (f"listener:{self.name}",)
            case "address":
                return (f"address:{client}",)
            case _:
                assert_never(self.proves)


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """The control API; never reachable through the proxy."""

    listen: Address


@dataclass(frozen=True, slots=True)
class UpstreamProxyConfig:
    """The proxy that targets are reached through."""

    host: str
    port: int
    tls: bool
    ca: Path | None
    credentials_file: Path | None
    credentials_env: str | None
    """The variable that holds them."""
    by_name: bool
    """Whether it is asked for names, and resolves them."""


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """How targets are reached and verified."""

    ca_bundle: Path | None
    """Extra roots, added to the system's."""
    connect_timeout_s: int
    response_timeout_s: int
    """How long a target may take to begin its answer."""
    allow_private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    unverified_hosts: frozenset[str]
    """Hosts whose certificate is not verified; each use stands in the record."""
    proxy: UpstreamProxyConfig | None = None
    no_proxy: tuple[str, ...] = ()
    """What is reached directly all the same."""


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A chat tool that is told of requests for approval, and may say what a human answered."""

    url: str
    secret: Path
    """The file of the key that both sides sign with: "whsec_" and base64."""
    vouches_for: tuple[str, ...]
    """Globs of the humans whose word it may bring; none unless they are named."""


@dataclass(frozen=True, slots=True)
class ApprovalsConfig:
    """How requests wait for humans."""

    wait_s: int = 60
    """How long a request is held before its agent is told to come back; 0 for not at all."""
    expire_s: int = 900
    """How long an approval may take, its use included."""
    most_pending: int = 10
    """Of one agent."""
    most_per_hour: int = 60
    """Of one agent."""
    keep_alive_s: int = 15
    """How often a waiting HTTP/1.1 client is sent a sign of life; 0 for never."""
    url: str | None = None
    """How agents reach the control API, where that is not the address it listens on."""
    webhook: WebhookConfig | None = None


@dataclass(frozen=True, slots=True)
class ResolveEntry:
    """An operator's own answer to "where is this host": an address, and the CA that vouches for it."""

    address: Address
    ca: Path | None


@dataclass(frozen=True, slots=True)
class ActivationConfig:
    """What it takes to put a version of a skill or policy in force."""

    simulation: bool = False
    """A recorded simulation of exactly these texts."""
    second_approver: bool = False
    """Another human than the one who asked."""
    window: timedelta = timedelta(days=30)
    """How far back that simulation goes."""

    @property
    def required(self) -> bool:
        """Whether what was never activated is out of force."""
        return self.simulation or self.second_approver


@dataclass(frozen=True, slots=True)
class BundlesConfig:
    """Whose signatures count on bundles of texts."""

    keys: tuple[Path, ...] = ()
    require: bool = False
    """Whether nothing but signed bundles is loaded."""


@dataclass(frozen=True, slots=True)
class PdpConfig:
    """An external policy decision point that has to allow what our rules allow."""

    url: str
    """Where its AuthZEN endpoints are, without the path of one."""
    token: Path | None
    """The file of the bearer token it knows us by."""
    ca: Path | None
    """What vouches for its certificate, where the system's roots do not."""
    timeout_s: int
    """How long an answer may take, connecting included; then the request is denied."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the gate is told; built once, never changed."""

    path: Path | None
    """The file it was read from; None when built in memory."""
    proxy: ProxyConfig
    api: ApiConfig
    state: Path
    chron: Source
    """The log: a file, or a chain in PostgreSQL."""
    agents: Path
    policies: tuple[Path, ...]
    mappings: tuple[Path, ...]
    catalogues: Path
    """Where `claiim mappings refresh` writes; what is there goes before the shipped catalogues."""
    ca_certificate: Path
    ca_key: Path
    ca_supplied: bool
    """Whether the operator brought the CA; then it is never created."""
    upstream: UpstreamConfig
    checkpoints: CheckpointsConfig
    """How the Chron is signed, and where its heads are kept."""
    retention: RetentionConfig
    """How long what is kept where."""
    resolve: Mapping[str, ResolveEntry] = field(default_factory=dict)
    listeners: tuple[ListenerConfig, ...] = ()
    """Ways in beside the proxy's own."""
    issuers: tuple[JwtIssuer, ...] = ()
    """Whose workload tokens agents may bring."""
    activation: ActivationConfig = ActivationConfig()
    bundles: BundlesConfig = BundlesConfig()
    approvals: ApprovalsConfig = field(default_factory=ApprovalsConfig)
    limits: Limits = DEFAULTS
    """What one client may cost."""
    pdp: PdpConfig | None = None
    chron_writer: Path | None = None
    """The socket of the process that writes the Chron for several gates; None where this gate writes its own."""
    chron_spool: Path | None = None
    """Where records are set aside while the server of the Chron is away; None where nothing is forwarded meanwhile."""
    forward_auth_token: Path | None = None
    """The file of the token by which a fleet proxy may ask about requests that it forwards; without it none may."""

    @property
    def operator_token(self) -> Path:
        """The file that holds the token for reloads and suspensions, 0600, made by `serve`."""
        return self.state / "operator.token"
