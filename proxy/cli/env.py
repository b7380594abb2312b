"""`claiim env`: the environment that routes a shell and its tools through the running gate.

    eval "$(claiim env --agent deploy-bot --token-file deploy-bot.token)"

It reads the configuration and the CA, and writes the trust stores into a folder of the user's own; it asks the
gate nothing, so it works before the gate runs. The token comes from a file or from CLAIIM_TOKEN, never from an
argument, which every process on the machine could read.

    deploy-bot.token: cannot read: no such file or directory; give --token-file PATH or CLAIIM_TOKEN
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import click
from ulid import ULID

from proxy.cli.options import (
    EXIT_AUTHENTICATION,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
)
from proxy.config import Address, Config, ListenerConfig
from proxy.configloading import load_config
from proxy.listener import proxy_address
from proxy.wiring import ROUTING, UNSET, by_socks, environment, in_front, overriding, shell_lines, write_files

PLACEHOLDER = "TOKEN"


@click.command()
@config_option
@click.option("--agent", envvar="CLAIIM_AGENT", required=True, metavar="ID", help="Who acts.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The agent's token [default: CLAIIM_TOKEN].",
)
@click.option(
    "--files",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the trust stores are written [default: the user's cache].",
)
@click.option("--no-proxy", default="", metavar="HOSTS", help="Hosts that are reached around the gate.")
@click.option("--listener", metavar="NAME", help="By which of the listeners [default: the proxy].")
@json_option
@located_errors
def env(
    config_path: Path | None,
    agent: str,
    token_file: Path | None,
    folder: Path | None,
    no_proxy: str,
    listener: str | None,
    as_json: bool,
) -> None:
    """Print the environment that routes a shell through the gate."""
    config = load_config(config_path)
    token = _token(token_file)
    way = _listener(config, listener) if listener else None
    wired = _environment(config, way, Credentials(agent, token or PLACEHOLDER), folder, no_proxy)
    if token:
        wired["CLAIIM_TOKEN"] = token
    else:
        click.echo(
            f'# no token: replace {PLACEHOLDER} in the proxy URLs; "claiim agent rotate {agent}" makes a new one',
            err=True,
        )
    unset = {*UNSET, *ROUTING, *overriding(os.environ)} - set(wired)
    if as_json:
        print_json({"set": wired, "unset": sorted(unset)})
    else:
        click.echo(shell_lines(wired, unset), nl=False)


def _token(path: Path | None) -> str:
    if path is None:
        return os.environ.get("CLAIIM_TOKEN", "")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "not UTF-8"
        fail(f"{path}: cannot read: {why}; give --token-file PATH or CLAIIM_TOKEN", EXIT_AUTHENTICATION)
    return token or fail(f"{path}: empty; give a file that holds the agent's token", EXIT_AUTHENTICATION)


def _listener(config: Config, name: str) -> ListenerConfig:
    listeners = {listener.name: listener for listener in config.listeners}
    if name not in listeners:
        known = ", ".join(listeners) or "none; they stand under listeners:"
        fail(f'no listener "{name}"; known: {known}', EXIT_USAGE)
    if listeners[name].mode == "reverse" and listeners[name].proves == "nothing":
        why = "wants the token in a field of each request, which no variable gives to a client"
        fail(f'listener "{name}" {why}; give it proves: listener, or proves: address', EXIT_USAGE)
    return listeners[name]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who comes, and with which token."""

    agent: str
    token: str

    def url(self, scheme: str, address: Address, *, proven: bool = False) -> str:
        """A proxy's URL; without them where reaching it is proof enough."""
        user = "" if proven else f"{quote(self.agent, safe='')}:{quote(self.token, safe='')}@"
        return f"{scheme}://{user}{address}"


def _environment(
    config: Config, way: ListenerConfig | None, credentials: Credentials, folder: Path | None, no_proxy: str
) -> dict[str, str]:
    pem = _ca(config.ca_certificate, 'the first "claiim serve" makes the CA')
    if config.proxy.tls and config.proxy.tls.ca:
        pem += _ca(config.proxy.tls.ca, "it vouches for the proxy's listener")
    proxy_url = _proxy_url(config, way, credentials)
    folder = (folder or _cache(pem, proxy_url)).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = write_files(folder, pem, proxy_url)
    except OSError as error:
        fail(f"{folder}: cannot write: {(error.strerror or '').lower()}; give --files DIR")
    wired = environment(
        proxy_url,
        files,
        no_proxy=no_proxy,
        agent=credentials.agent,
        api_url=f"http://{config.api.listen.reachable}",
        run_id=str(ULID()).lower(),
        inherited=os.environ,
    )
    if way and way.mode == "socks5":
        return by_socks(wired, credentials.url("socks5h", way.listen.reachable, proven=way.proves != "nothing"))
    if way and way.mode == "reverse" and way.target:
        return in_front(wired, f"{'https' if way.tls else 'http'}://{way.listen.reachable}", way.target[1])
    return wired


def _proxy_url(config: Config, way: ListenerConfig | None, credentials: Credentials) -> str:
    match way:
        case ListenerConfig(mode="transparent"):
            return ""
        case ListenerConfig(mode="proxy"):
            listening = replace(config.proxy, listen=way.listen, tls=config.proxy.tls if way.tls else None)
            return credentials.url(listening.scheme, proxy_address(listening), proven=way.proves != "nothing")
        case _:
            return credentials.url(config.proxy.scheme, proxy_address(config.proxy))


def _ca(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path}: cannot read: {(error.strerror or '').lower()}; {remedy}")


def _cache(pem: bytes, proxy_url: str) -> Path:
    """One folder per CA and proxy, so that the shells of two gates do not trust or use each other's."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (
        base / "claiim" / hashlib.sha256(pem + urlsplit(proxy_url).netloc.rpartition("@")[2].encode()).hexdigest()[:12]
    )
