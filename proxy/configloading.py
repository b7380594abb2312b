"""Find and read `claiim.yaml`: text and variables become one frozen `Config`.

Where the file comes from, first hit wins: `--config`, `CLAIIM_CONFIG`, `./claiim.yaml`,
`$XDG_CONFIG_HOME/claiim/claiim.yaml`, `/etc/claiim/claiim.yaml`. Single settings come from
`CLAIIM_PROXY_LISTEN`, `CLAIIM_PROXY_ENGINE`, `CLAIIM_API_LISTEN`, `CLAIIM_STATE` and `CLAIIM_CHRON` before the file.
A variable that is set but empty counts as not set. Relative paths are relative to the file's folder.
Nothing here opens a socket or creates a file.

    version: 1
    proxy: {listen: "127.0.0.1:8080", allowed_ports: [443, 80]}
    listeners: {socks: {mode: socks5, listen: "127.0.0.1:1080"}}
    resolve: {api.k8s.test: {address: "127.0.0.1:6443", ca: k8s-ca.pem}}

    claiim.yaml:3:10: unknown key "listn"; did you mean "listen"?
    claiim.yaml:4:11: "8181" is not an address; write "host:port", e.g. "127.0.0.1:8181"
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast, get_args

from chron.sources import source_of
from mappings import parse, read_document
from proxy import configfile
from proxy.checkpointconfig import compile_checkpoints
from proxy.config import (
    ActivationConfig,
    Address,
    ApiConfig,
    ApprovalsConfig,
    BundlesConfig,
    Config,
    ConfigError,
    EngineName,
    JwtIssuer,
    PdpConfig,
    ProxyConfig,
    ResolveEntry,
    TlsConfig,
    UpstreamConfig,
    UpstreamProxyConfig,
    WebhookConfig,
    parse_address,
    why,
)
from proxy.listenerconfig import compile_listeners
from proxy.retention import compile_retention

FILE_NAME = "claiim.yaml"
ENGINE = "CLAIIM_PROXY_ENGINE"
"""The variable of `proxy.engine`."""


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
    file = parse(read_document(text, source, error=ConfigError), configfile.File, error=ConfigError)
    state = folder / (environ.get("CLAIIM_STATE") or file.state)
    chron = environ.get("CLAIIM_CHRON") or file.chron
    log = source_of(chron, folder) if chron else state / "chron.db"
    config = Config(
        path=path,
        proxy=ProxyConfig(
            listen=_address(environ, "CLAIIM_PROXY_LISTEN", file.proxy.listen),
            allowed_ports=frozenset(file.proxy.allowed_ports),
            max_body_bytes=file.proxy.max_body_bytes,
            drain_timeout_s=file.proxy.drain_timeout_s,
            segment_s=file.proxy.segment_s,
            engine=_engine(environ, file.proxy.engine),
            workers=_cores() if file.proxy.workers == "cores" else file.proxy.workers,
            tls=_tls(file.proxy.tls, folder),
        ),
        api=ApiConfig(listen=_address(environ, "CLAIIM_API_LISTEN", file.api.listen)),
        listeners=compile_listeners(file.listeners),
        state=state,
        chron=log,
        chron_spool=folder / spool if (spool := environ.get("CLAIIM_CHRON_SPOOL") or file.chron_spool) else None,
        chron_writer=folder / writer if (writer := environ.get("CLAIIM_CHRON_WRITER") or file.chron_writer) else None,
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
            proxy=_upstream_proxy(file.upstream.proxy, folder),
            no_proxy=tuple(file.upstream.no_proxy),
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
        limits=file.limits,
        pdp=_pdp(file.pdp, folder),
        forward_auth_token=folder / file.forward_auth.token_file if file.forward_auth else None,
        checkpoints=compile_checkpoints(file.checkpoints, folder, state),
        retention=compile_retention(file.retention, folder, state if isinstance(log, str) else log.parent),
    )
    if fault := _workers_fault(config):
        raise ConfigError.plain(f"{source}: {fault}")
    return config


def _workers_fault(config: Config) -> str:
    """Why there cannot be so many workers; "" when there can."""
    if config.proxy.workers == 1:
        return ""
    if config.proxy.engine != "fast":
        return '"proxy.workers" is for "proxy.engine: fast"; set that, or leave "workers" out'
    if config.chron_writer is not None:
        return '"proxy.workers" have a writer of their own; leave "chron_writer" or "workers" out'
    return ""


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tls(section: configfile.TlsSection | None, folder: Path) -> TlsConfig | None:
    if section is None:
        return None
    return TlsConfig(
        certificate=folder / section.certificate,
        key=folder / section.key,
        client_ca=folder / section.client_ca if section.client_ca else None,
        ca=folder / section.ca if section.ca else None,
    )


def _upstream_proxy(section: configfile.UpstreamProxySection | None, folder: Path) -> UpstreamProxyConfig | None:
    if section is None:
        return None
    tls, host, port = configfile.read_proxy(section.url)
    return UpstreamProxyConfig(
        host=host,
        port=port,
        tls=tls,
        ca=folder / section.ca if section.ca else None,
        credentials_file=folder / section.credentials_file if section.credentials_file else None,
        credentials_env=section.credentials_env,
        by_name=section.resolves == "proxy",
    )


def _pdp(section: configfile.PdpSection | None, folder: Path) -> PdpConfig | None:
    if section is None:
        return None
    return PdpConfig(
        url=section.url.rstrip("/"),
        token=folder / section.token_file if section.token_file else None,
        ca=folder / section.ca if section.ca else None,
        timeout_s=section.timeout_s,
    )


def _approvals(section: configfile.ApprovalsSection, folder: Path) -> ApprovalsConfig:
    hook = section.webhook
    webhook = WebhookConfig(hook.url, folder / hook.secret_file, tuple(hook.vouches_for)) if hook else None
    return ApprovalsConfig(**{**section.model_dump(), "webhook": webhook})


def _engine(environ: Mapping[str, str], name: EngineName) -> EngineName:
    named = environ.get(ENGINE) or name
    found = next((each for each in get_args(EngineName.__value__) if each == named), None)
    if found is None:
        raise ConfigError.plain(f'{ENGINE}: "{named}" is not an engine; write "fast" or "mitmproxy"')
    return cast(EngineName, found)


def _address(environ: Mapping[str, str], name: str, text: str) -> Address:
    try:
        return parse_address(environ.get(name) or text)
    except ValueError as error:
        raise ConfigError.plain(f"{name}: {error}") from None
