"""The grammar of `claiim.yaml`: sections, keys, their defaults and what each may hold.

Keys that are not known are faults, and a value is what it says or it is a fault with its remedy. Nothing here reads a
file or means anything: `proxy.configloading` makes a `Config` of it.

    proxy: {listen: "127.0.0.1:8080", allowed_ports: [443, 80]}

    unknown key "listn"; did you mean "listen"?
    "8181" is not an address; write "host:port", e.g. "127.0.0.1:8181"
"""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mappings import CanonicalError, canonical_host, split_authority
from proxy.chaining import read_exception
from proxy.checkpointconfig import CheckpointsSection, has_enough
from proxy.config import DEFAULT_ENGINE, SIGNATURE_ALGORITHMS, EngineName, SignatureAlgorithm, parse_address
from proxy.limits import DEFAULTS, Limits
from proxy.listenerconfig import Listeners
from proxy.retention import RetentionSection

_ISSUER = re.compile(r"[^#\s]{1,512}")
_DAYS = re.compile(r"([1-9][0-9]{0,2})d")
_PROXY = re.compile(r"(https?)://([^/?#@\s]+)/?")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#@]+(?:/[^\s#]*)?")  # RFC 3986, 3; no user information, no fragment


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


def _is_proxy(text: str) -> str:
    read_proxy(text)
    return text


def read_proxy(text: str) -> tuple[bool, str, int]:
    """Whether the proxy of a URL speaks TLS, its host and its port; raises ValueError."""
    found = _PROXY.fullmatch(text)
    try:
        host, port = split_authority(found[2], 0) if found else ("", 0)
    except CanonicalError:
        port = 0
    if found is None or port == 0:
        # Not quoted: what is wrong with it may be that a password stands in it.
        raise ValueError(
            'not a proxy; write scheme, host and port, for example "http://proxy.acme.test:3128"; '
            'a user and password go into "credentials_file"'
        )
    return found[1] == "https", host, port


def _is_exception(text: str) -> str:
    read_exception(text)
    return text


def _has_one_secret(section: "UpstreamProxySection") -> "UpstreamProxySection":
    if section.credentials_file is not None and section.credentials_env is not None:
        raise ValueError('"credentials_file" and "credentials_env" are two places for one secret; keep one')
    if section.ca is not None and not read_proxy(section.url)[0]:
        raise ValueError('"ca" is for a proxy that is reached by https://')
    return section


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


def _names_each_issuer_once(entries: list["JwtEntry"]) -> list["JwtEntry"]:
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


def _needs_keys(section: "BundlesSection") -> "BundlesSection":
    if section.require and not section.keys:
        raise ValueError('"require" needs "keys": without one no bundle can be verified')
    return section


def _has_a_certificate(file: "File") -> "File":
    if file.proxy.tls is None and (named := [name for name, each in file.listeners.items() if each.tls]):
        raise ValueError(f'listener "{named[0]}" has "tls" and there is no "proxy.tls"; its certificate is shown')
    return file


type AddressText = Annotated[str, AfterValidator(_is_address)]
type PlaceText = Annotated[str, AfterValidator(_is_place)]
type NetworkText = Annotated[str, AfterValidator(_is_network)]
type HostText = Annotated[str, AfterValidator(_is_host)]
type IssuerText = Annotated[str, AfterValidator(_is_issuer)]
type Port = Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TlsSection(_Section):
    """Of `proxy.tls`."""

    certificate: str
    key: str
    client_ca: str | None = None
    ca: str | None = None


class ProxySection(_Section):
    """Of `proxy`."""

    listen: AddressText = "127.0.0.1:8080"
    tls: TlsSection | None = None
    allowed_ports: list[Port] = [443, 80]
    max_body_bytes: Annotated[int, Field(ge=0, le=64 * 2**20)] = 2**20
    drain_timeout_s: Annotated[int, Field(ge=0, le=600)] = 25
    segment_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    engine: EngineName = DEFAULT_ENGINE
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["cores"] = 1


class ApiSection(_Section):
    """Of `api`."""

    listen: AddressText = "127.0.0.1:8181"


class CaSection(_Section):
    """Of `ca`."""

    certificate: str
    key: str


class UpstreamProxySection(_Section):
    """Of `upstream.proxy`."""

    url: Annotated[str, AfterValidator(_is_proxy)]
    credentials_file: str | None = None
    credentials_env: str | None = None
    ca: str | None = None
    resolves: Literal["gate", "proxy"] = "gate"


class UpstreamSection(_Section):
    """Of `upstream`."""

    ca_bundle: str | None = None
    connect_timeout_s: Annotated[int, Field(ge=1, le=300)] = 10
    response_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    allow_private: list[NetworkText] = []
    unverified_hosts: list[HostText] = []
    proxy: Annotated[UpstreamProxySection, AfterValidator(_has_one_secret)] | None = None
    no_proxy: list[Annotated[str, AfterValidator(_is_exception)]] = ["127.0.0.0/8", "::1"]


class JwtEntry(_Section):
    """One of `identity.jwt`."""

    issuer: IssuerText
    audience: Annotated[str, Field(min_length=1)]
    jwks: str
    algorithms: Annotated[list[SignatureAlgorithm], Field(min_length=1)] = list(SIGNATURE_ALGORITHMS)


class IdentitySection(_Section):
    """Of `identity`."""

    jwt: Annotated[list[JwtEntry], AfterValidator(_names_each_issuer_once)] = []


class WebhookSection(_Section):
    """Of `approvals.webhook`."""

    url: Annotated[str, AfterValidator(_is_web_address)]
    secret_file: str
    vouches_for: list[str] = []


class ApprovalsSection(_Section):
    """Of `approvals`."""

    wait_s: Annotated[int, Field(ge=0, le=600)] = 60
    expire_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    most_pending: Annotated[int, Field(ge=1, le=1000)] = 10
    most_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 60
    keep_alive_s: Annotated[int, Field(ge=0, le=600)] = 15
    url: Annotated[str, AfterValidator(_is_web_address)] | None = None
    webhook: WebhookSection | None = None


class HostEntry(_Section):
    """One of `resolve`."""

    address: PlaceText
    ca: str | None = None


class ActivationSection(_Section):
    """Of `activation`."""

    require: list[Literal["simulation", "second-approver"]] = []
    window: Annotated[str, AfterValidator(_is_days)] = "30d"


class BundlesSection(_Section):
    """Of `bundles`."""

    keys: list[str] = []
    require: bool = False


class PdpSection(_Section):
    """Of `pdp`."""

    url: Annotated[str, AfterValidator(_is_base_address)]
    token_file: str | None = None
    ca: str | None = None
    timeout_s: Annotated[int, Field(ge=1, le=30)] = 2


class ForwardAuthSection(_Section):
    """Of `forward_auth`."""

    token_file: str


class File(_Section):
    """All of `claiim.yaml`."""

    version: Annotated[int, Field(ge=1, le=1)]
    proxy: ProxySection = ProxySection()
    api: ApiSection = ApiSection()
    listeners: Listeners = {}
    state: str = "state"
    chron: str | None = None
    chron_writer: str | None = None
    chron_spool: str | None = None
    agents: str = "agents.yaml"
    policies: list[str] = ["policies"]
    mappings: list[str] = ["mappings"]
    catalogues: str = "catalogues"
    ca: CaSection | None = None
    upstream: UpstreamSection = UpstreamSection()
    identity: IdentitySection = IdentitySection()
    approvals: ApprovalsSection = ApprovalsSection()
    resolve: Annotated[dict[HostText, HostEntry], BeforeValidator(_names_each_host_once)] = {}
    activation: ActivationSection = ActivationSection()
    bundles: Annotated[BundlesSection, AfterValidator(_needs_keys)] = BundlesSection()
    limits: Limits = DEFAULTS
    pdp: PdpSection | None = None
    forward_auth: ForwardAuthSection | None = None
    retention: RetentionSection = RetentionSection()
    checkpoints: Annotated[CheckpointsSection, AfterValidator(has_enough)] = CheckpointsSection()

    _certified = model_validator(mode="after")(_has_a_certificate)
