"""Read `claiim.yaml` into one frozen value.

Where the file comes from, first hit wins: `--config`, `CLAIIM_CONFIG`, `./claiim.yaml`,
`$XDG_CONFIG_HOME/claiim/claiim.yaml`, `/etc/claiim/claiim.yaml`. Single settings come from
`CLAIIM_PROXY_LISTEN`, `CLAIIM_API_LISTEN`, `CLAIIM_STATE` and `CLAIIM_CHRON` before the file.
A variable that is set but empty counts as not set. Relative paths are relative to the file's folder.
Nothing here opens a socket or creates a file.

    version: 1
    proxy: {listen: "127.0.0.1:8080", allowed_ports: [443, 80]}
    resolve: {api.k8s.test: {address: "127.0.0.1:6443", ca: k8s-ca.pem}}

    claiim.yaml:3:10: unknown key "listn"; did you mean "listen"?
    claiim.yaml:4:11: "8181" is not an address; write "host:port", e.g. "127.0.0.1:8181"
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mappings import CanonicalError, DocumentError, canonical_host, parse, read_document

FILE_NAME = "claiim.yaml"

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- RFC 1122, 3.2.1.3 and RFC 4291, 2.5.2
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_ISSUER = re.compile(r"[^#\s]{1,512}")
_DAYS = re.compile(r"([1-9][0-9]{0,2})d")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#@]+(?:/[^\s#]*)?")  # RFC 3986, 3; no user information, no fragment


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


def _is_address(text: str) -> str:
    parse_address(text)
    return text


def _is_place(text: str) -> str:
    if parse_address(text).port == 0:
        raise ValueError(f'"{text}" has no port to connect to; write the one the target listens on')
    return text


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a network ({error}); write e.g. "10.20.0.0/16"') from None
    return text


def _is_host(text: str) -> str:
    try:
        return canonical_host(text)
    except CanonicalError as error:
        raise ValueError(str(error)) from None


def _is_web_address(text: str) -> str:
    if not _WEB_ADDRESS.fullmatch(text):
        raise ValueError(f'"{text}" is not a web address; write for example "https://chat.acme.test/hooks/claiim"')
    return text


def _is_base_address(text: str) -> str:
    if not _WEB_ADDRESS.fullmatch(text) or "?" in text:
        raise ValueError(f'"{text}" is not where a PDP is; write for example "https://pdp.acme.test"')
    return text


def _names_each_host_once(table: object) -> object:
    """Refuse two spellings of one host: the last would silently win."""
    seen: dict[str, str] = {}
    for name in table if isinstance(table, dict) else ():
        try:
            host = canonical_host(name)
        except CanonicalError:
            continue  # told where the key is validated
        if host in seen:
            raise ValueError(f'"{seen[host]}" and "{name}" are the same host; keep one')
        seen[host] = name
    return table


def _is_issuer(text: str) -> str:
    # An identity is written "jwt:<issuer>#<subject>": a "#" or a blank in the issuer would make it another's.
    if not _ISSUER.fullmatch(text):
        raise ValueError(f'"{text}" is not an issuer; write what stands in the tokens as "iss", without blanks and "#"')
    return text


def _names_each_issuer_once(entries: list["_JwtEntry"]) -> list["_JwtEntry"]:
    seen: set[str] = set()
    for entry in entries:
        if entry.issuer in seen:
            raise ValueError(f'issuer "{entry.issuer}" stands here twice; keep one')
        seen.add(entry.issuer)
    return entries


def _is_days(text: str) -> str:
    if not _DAYS.fullmatch(text):
        raise ValueError(f'"{text}" is not a number of days; write for example "30d"')
    return text


def _needs_keys(section: "_BundlesSection") -> "_BundlesSection":
    if section.require and not section.keys:
        raise ValueError('"require" needs "keys": without one no bundle can be verified')
    return section


type AddressText = Annotated[str, AfterValidator(_is_address)]
type PlaceText = Annotated[str, AfterValidator(_is_place)]
type NetworkText = Annotated[str, AfterValidator(_is_network)]
type HostText = Annotated[str, AfterValidator(_is_host)]
type IssuerText = Annotated[str, AfterValidator(_is_issuer)]
type Port = Annotated[int, Field(ge=1, le=65535)]
type SignatureAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]

SIGNATURE_ALGORITHMS: tuple[SignatureAlgorithm, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
"""What a workload token may be signed with unless the configuration says otherwise: RFC 7518, 3.1; RFC 8037, 3.1;
RFC 9864, 2.2. Never a shared key (HS256 and its like) and never "none": who can check such a token can make one."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _TlsSection(_Section):
    certificate: str
    key: str
    client_ca: str | None = None
    ca: str | None = None


class _ProxySection(_Section):
    listen: AddressText = "127.0.0.1:8080"
    tls: _TlsSection | None = None
    allowed_ports: list[Port] = [443, 80]
    max_body_bytes: Annotated[int, Field(ge=0, le=64 * 2**20)] = 2**20
    drain_timeout_s: Annotated[int, Field(ge=0, le=600)] = 25
    segment_s: Annotated[int, Field(ge=1, le=86_400)] = 300


class _ApiSection(_Section):
    listen: AddressText = "127.0.0.1:8181"


class _CaSection(_Section):
    certificate: str
    key: str


class _UpstreamSection(_Section):
    ca_bundle: str | None = None
    connect_timeout_s: Annotated[int, Field(ge=1, le=300)] = 10
    response_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    allow_private: list[NetworkText] = []
    unverified_hosts: list[HostText] = []


class _JwtEntry(_Section):
    issuer: IssuerText
    audience: Annotated[str, Field(min_length=1)]
    jwks: str
    algorithms: Annotated[list[SignatureAlgorithm], Field(min_length=1)] = list(SIGNATURE_ALGORITHMS)


class _IdentitySection(_Section):
    jwt: Annotated[list[_JwtEntry], AfterValidator(_names_each_issuer_once)] = []


class _WebhookSection(_Section):
    url: Annotated[str, AfterValidator(_is_web_address)]
    secret_file: str
    vouches_for: list[str] = []


class _ApprovalsSection(_Section):
    wait_s: Annotated[int, Field(ge=0, le=600)] = 60
    expire_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    most_pending: Annotated[int, Field(ge=1, le=1000)] = 10
    most_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 60
    keep_alive_s: Annotated[int, Field(ge=0, le=600)] = 15
    url: Annotated[str, AfterValidator(_is_web_address)] | None = None
    webhook: _WebhookSection | None = None


class _ResolveEntry(_Section):
    address: PlaceText
    ca: str | None = None


class _ActivationSection(_Section):
    require: list[Literal["simulation", "second-approver"]] = []
    window: Annotated[str, AfterValidator(_is_days)] = "30d"


class _BundlesSection(_Section):
    keys: list[str] = []
    require: bool = False


class _PdpSection(_Section):
    url: Annotated[str, AfterValidator(_is_base_address)]
    token_file: str | None = None
    ca: str | None = None
    timeout_s: Annotated[int, Field(ge=1, le=30)] = 2


class _ForwardAuthSection(_Section):
    token_file: str


class _File(_Section):
    version: Annotated[int, Field(ge=1, le=1)]
    proxy: _ProxySection = _ProxySection()
    api: _ApiSection = _ApiSection()
    state: str = "state"
    chron: str | None = None
    agents: str = "agents.yaml"
    policies: list[str] = ["policies"]
    mappings: list[str] = ["mappings"]
    catalogues: str = "catalogues"
    ca: _CaSection | None = None
    upstream: _UpstreamSection = _UpstreamSection()
    identity: _IdentitySection = _IdentitySection()
    approvals: _ApprovalsSection = _ApprovalsSection()
    resolve: Annotated[dict[HostText, _ResolveEntry], BeforeValidator(_names_each_host_once)] = {}
    activation: _ActivationSection = _ActivationSection()
    bundles: Annotated[_BundlesSection, AfterValidator(_needs_keys)] = _BundlesSection()
    pdp: _PdpSection | None = None
    forward_auth: _ForwardAuthSection | None = None


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

    @property
    def scheme(self) -> str:
        """How a proxy URL of this listener begins."""
        return "https" if self.tls else "http"


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """The control API; never reachable through the proxy."""

    listen: Address


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
    chron: Path
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
    resolve: Mapping[str, ResolveEntry] = field(default_factory=dict)
    issuers: tuple[JwtIssuer, ...] = ()
    """Whose workload tokens agents may bring."""
    activation: ActivationConfig = ActivationConfig()
    bundles: BundlesConfig = BundlesConfig()
    approvals: ApprovalsConfig = field(default_factory=ApprovalsConfig)
    pdp: PdpConfig | None = None
    forward_auth_token: Path | None = None
    """The file of the token by which a fleet proxy may ask about requests that it forwards; without it none may."""

    @property
    def operator_token(self) -> Path:
        """The file that holds the token for reloads and suspensions, 0600, made by `serve`."""
        return self.state / "operator.token"


def find_config(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to read, or None when there is none anywhere."""
    if flag is not None:
        return flag
    if named := environ.get("CLAIIM_CONFIG"):
        return Path(named)
    places = [Path(FILE_NAME)]
    if xdg := environ.get("XDG_CONFIG_HOME"):
        places.append(Path(xdg) / "claiim" / FILE_NAME)
    elif home := environ.get("HOME"):
        # Not Path.home(): in a container the user often has neither a home nor an entry in /etc/passwd.
        places.append(Path(home) / ".config" / "claiim" / FILE_NAME)
    places.append(Path("/etc/claiim") / FILE_NAME)
    return next((place for place in places if _is_file(place)), None)


def user_data(environ: Mapping[str, str]) -> Path:
    """Where this user's own data of the gate is, when no configuration says so."""
    base = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or "/nonexistent") / ".local" / "share"
    return Path(base) / "claiim"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # a folder that this user may not look into


def load_config(flag: Path | None = None, *, environ: Mapping[str, str] = os.environ, required: bool = True) -> Config:
    """Find and read the configuration; raises ConfigError.

    Without `required`, a machine with no file gets the defaults, so that look-ups work anywhere.
    """
    path = find_config(flag, environ)
    if path is None:
        if required:
            raise ConfigError.plain(f'no {FILE_NAME} found; run "claiim init" here, or give --config PATH')
        config = compile_config("version: 1\nmappings: []\npolicies: []\n", FILE_NAME, Path.cwd(), None, environ)
        # Not beside whatever this is run in: another's folder of that name must not change an answer.
        return replace(config, catalogues=user_data(environ) / "catalogues")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError.plain(f"{path}: cannot read: {why(error)}; give --config PATH") from None
    except UnicodeDecodeError:
        raise ConfigError.plain(f"{path}: not UTF-8 text; save it as UTF-8") from None
    return compile_config(text, str(path), path.resolve().parent, path.resolve(), environ)


def compile_config(text: str, source: str, folder: Path, path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration that `text` means for files in `folder`; raises ConfigError with every fault."""
    file = parse(read_document(text, source, error=ConfigError), _File, error=ConfigError)
    state = folder / (environ.get("CLAIIM_STATE") or file.state)
    chron = environ.get("CLAIIM_CHRON") or file.chron
    return Config(
        path=path,
        proxy=ProxyConfig(
            listen=_address(environ, "CLAIIM_PROXY_LISTEN", file.proxy.listen),
            allowed_ports=frozenset(file.proxy.allowed_ports),
            max_body_bytes=file.proxy.max_body_bytes,
            drain_timeout_s=file.proxy.drain_timeout_s,
            segment_s=file.proxy.segment_s,
            tls=_tls(file.proxy.tls, folder),
        ),
        api=ApiConfig(listen=_address(environ, "CLAIIM_API_LISTEN", file.api.listen)),
        state=state,
        chron=folder / chron if chron else state / "chron.db",
        agents=folder / file.agents,
        policies=tuple(folder / name for name in file.policies),
        mappings=tuple(folder / name for name in file.mappings),
        catalogues=folder / file.catalogues,
        ca_certificate=folder / file.ca.certificate if file.ca else state / "ca.pem",
        ca_key=folder / file.ca.key if file.ca else state / "ca-key.pem",
        ca_supplied=file.ca is not None,
        upstream=UpstreamConfig(
            ca_bundle=folder / file.upstream.ca_bundle if file.upstream.ca_bundle else None,
            connect_timeout_s=file.upstream.connect_timeout_s,
            response_timeout_s=file.upstream.response_timeout_s,
            allow_private=tuple(ipaddress.ip_network(text) for text in file.upstream.allow_private),
            unverified_hosts=frozenset(file.upstream.unverified_hosts),
        ),
        resolve={
            host: ResolveEntry(parse_address(entry.address), folder / entry.ca if entry.ca else None)
            for host, entry in file.resolve.items()
        },
        issuers=tuple(
            JwtIssuer(entry.issuer, entry.audience, folder / entry.jwks, tuple(entry.algorithms))
            for entry in file.identity.jwt
        ),
        activation=ActivationConfig(
            simulation="simulation" in file.activation.require,
            second_approver="second-approver" in file.activation.require,
            window=timedelta(days=int(file.activation.window.removesuffix("d"))),
        ),
        bundles=BundlesConfig(tuple(folder / name for name in file.bundles.keys), file.bundles.require),
        approvals=_approvals(file.approvals, folder),
        pdp=_pdp(file.pdp, folder),
        forward_auth_token=folder / file.forward_auth.token_file if file.forward_auth else None,
    )


def _tls(section: _TlsSection | None, folder: Path) -> TlsConfig | None:
    if section is None:
        return None
    return TlsConfig(
        certificate=folder / section.certificate,
        key=folder / section.key,
        client_ca=folder / section.client_ca if section.client_ca else None,
        ca=folder / section.ca if section.ca else None,
    )


def _pdp(section: _PdpSection | None, folder: Path) -> PdpConfig | None:
    if section is None:
        return None
    return PdpConfig(
        url=section.url.rstrip("/"),
        token=folder / section.token_file if section.token_file else None,
        ca=folder / section.ca if section.ca else None,
        timeout_s=section.timeout_s,
    )


def _approvals(section: _ApprovalsSection, folder: Path) -> ApprovalsConfig:
    hook = section.webhook
    webhook = WebhookConfig(hook.url, folder / hook.secret_file, tuple(hook.vouches_for)) if hook else None
    return ApprovalsConfig(**{**section.model_dump(), "webhook": webhook})


def _address(environ: Mapping[str, str], name: str, text: str) -> Address:
    try:
        return parse_address(environ.get(name) or text)
    except ValueError as error:
        raise ConfigError.plain(f"{name}: {error}") from None
