"""`claiim env`: the environment that routes a shell and its tools through the running gate.

    eval "$(claiim env --agent deploy-bot --token-file deploy-bot.token)"

It reads the configuration and the CA, and writes the trust stores into a folder of the user's own; it asks the
gate nothing, so it works before the gate runs. The token comes from a file or from CLAIIM_TOKEN, never from an
argument, which every process on the machine could read.

    deploy-bot.token: cannot read: no such file or directory; give --token-file PATH or CLAIIM_TOKEN
"""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import click
from ulid import ULID

from proxy.cli.options import (
    EXIT_AUTHENTICATION,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
)
from proxy.config import Config
from proxy.configloading import load_config
from proxy.listener import proxy_address
from proxy.wiring import UNSET, environment, shell_lines, write_files

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
@json_option
@located_errors
def env(
    config_path: Path | None,
    agent: str,
    token_file: Path | None,
    folder: Path | None,
    no_proxy: str,
    as_json: bool,
) -> None:
    """Print the environment that routes a shell through the gate."""
    config = load_config(config_path)
    token = _token(token_file)
    wired = _environment(config, agent, token or PLACEHOLDER, folder, no_proxy)
    if token:
        wired["CLAIIM_TOKEN"] = token
    else:
        click.echo(
            f'# no token: replace {PLACEHOLDER} in the proxy URLs; "claiim agent rotate {agent}" makes a new one',
            err=True,
        )
    if as_json:
        print_json({"set": wired, "unset": sorted(UNSET)})
    else:
        click.echo(shell_lines(wired), nl=False)


def _token(path: Path | None) -> str:
    if path is None:
        return os.environ.get("CLAIIM_TOKEN", "")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "not UTF-8"
        fail(f"{path}: cannot read: {why}; give --token-file PATH or CLAIIM_TOKEN", EXIT_AUTHENTICATION)
    return token or fail(f"{path}: empty; give a file that holds the agent's token", EXIT_AUTHENTICATION)


def _environment(config: Config, agent: str, token: str, folder: Path | None, no_proxy: str) -> dict[str, str]:
    pem = _ca(config.ca_certificate, 'the first "claiim serve" makes the CA')
    if config.proxy.tls and config.proxy.tls.ca:
        pem += _ca(config.proxy.tls.ca, "it vouches for the proxy's listener")
    folder = (folder or _cache(pem)).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = write_files(folder, pem)
    except OSError as error:
        fail(f"{folder}: cannot write: {(error.strerror or '').lower()}; give --files DIR")
    credentials = f"{quote(agent, safe='')}:{quote(token, safe='')}"
    return environment(
        f"{config.proxy.scheme}://{credentials}@{proxy_address(config.proxy)}",
        bundle=files.bundle,
        java_store=files.java_store,
        node_preload=files.node_preload,
        added=files.added,
        no_proxy=no_proxy,
        agent=agent,
        api_url=f"http://{config.api.listen.reachable}",
        run_id=str(ULID()).lower(),
        inherited=os.environ,
    )


def _ca(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path}: cannot read: {(error.strerror or '').lower()}; {remedy}")


def _cache(pem: bytes) -> Path:
    """One folder per CA, so that the shells of two gates do not trust each other's."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "claiim" / hashlib.sha256(pem).hexdigest()[:12]
