"""`claiim serve`: the proxy and the control API in the foreground, until TERM or INT."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import click

from proxy.cli.options import config_option, located_errors, refuse_gated_caller
from proxy.config import Address, Config
from proxy.configloading import load_config
from proxy.loops import run
from proxy.running import open_files, reload_in_background, settle_memory, warn_of_age

_STOPPING = "stopping: open exchanges drain; press Ctrl-C again to stop now"


@click.command()
@config_option
@located_errors
def serve(config_path: Path | None) -> None:
    """Run the proxy and the control API.

    TERM or INT drains and stops, a second INT stops at once; HUP reads rules and agents anew.
    """
    refuse_gated_caller("claiim serve")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("mitmproxy", "asyncio", "hpack"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    config = load_config(config_path)
    open_files(config.limits.connections)
    if config.proxy.workers == 1:
        run(_serve(config), config)
        return
    from proxy.workers.supervisor import Supervisor

    supervisor = Supervisor(config)

    def serving() -> None:
        listening = supervisor.listening
        _tell(config, listening.proxy_address, listening.api_address, listening.addresses)

    raise SystemExit(supervisor.run(serving, lambda: click.echo(_STOPPING, err=True)))


async def _serve(config: Config) -> None:
    from proxy.serve import Service

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    async with Service(config) as service:
        warn_of_age(config)
        settle_memory()
        on_signals(loop, stopping)
        loop.add_signal_handler(signal.SIGHUP, lambda: reload_in_background(service.reload()))
        _tell(config, service.proxy_address, service.api_address, service.listener_addresses)
        await stopping.wait()
        click.echo(_STOPPING, err=True)


def _tell(config: Config, proxy: Address, api: Address, listeners: Mapping[str, Address]) -> None:
    click.echo(f"proxy on {proxy}, control API on {api}", err=True)
    for listener in config.listeners:
        click.echo(f"listener {listener.name} ({listener.mode}) on {listeners[listener.name]}", err=True)
    click.echo(f"agents trust {config.ca_certificate}; the log is {config.chron}", err=True)


def on_signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Stop at TERM and INT; at once at a second INT."""

    def stop(number: signal.Signals) -> None:
        if stopping.is_set() and number is signal.SIGINT:
            # The Chron is safe at any instant; what is cut off here is in doubt at the next start.
            os._exit(130)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
