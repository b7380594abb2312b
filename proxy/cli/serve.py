"""`claiim serve`: the proxy and the control API in the foreground, until TERM or INT."""

import asyncio
import datetime
import gc
import logging
import os
import resource
import signal
from collections.abc import Coroutine
from pathlib import Path

import click

from chron import ChronError
from mappings import DocumentError
from mappings.catalogues import age, shipped
from mappings.loading import catalogues_in_use
from proxy.cli.options import config_option, located_errors, refuse_gated_caller
from proxy.config import Config
from proxy.configloading import load_config
from proxy.loops import run

_log = logging.getLogger(__name__)

_FILES_BESIDE = 256
"""Files that are open whoever is connected, with room to spare."""


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
    _open_files(config.limits.connections)
    run(_serve(config), config)


def _open_files(connections: int) -> None:
    """Let the process open as many sockets as its limit of connections needs, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_BESIDE + 2 * connections  # the agent's and one to a target
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning(
            "only %d files may be open; limits.connections needs %d: raise the limit or lower it", most, wanted
        )


async def _serve(config: Config) -> None:
    from proxy.serve import Service

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    async with Service(config) as service:
        today = datetime.datetime.now(datetime.UTC).date()
        for warning in age.warnings(catalogues_in_use(config.catalogues), shipped(), today):
            _log.warning(warning)
        _settle_memory()
        on_signals(loop, stopping)
        loop.add_signal_handler(signal.SIGHUP, lambda: _reload(service.reload()))
        click.echo(f"proxy on {service.proxy_address}, control API on {service.api_address}", err=True)
        for listener in config.listeners:
            address = service.listener_addresses[listener.name]
            click.echo(f"listener {listener.name} ({listener.mode}) on {address}", err=True)
        click.echo(f"agents trust {config.ca_certificate}; the log is {config.chron}", err=True)
        await stopping.wait()
        click.echo("stopping: open exchanges drain; press Ctrl-C again to stop now", err=True)


def _settle_memory() -> None:
    """Keep the collector from walking what lives as long as the process, and from walking after every few requests."""
    gc.collect()
    gc.freeze()
    # A request leaves few objects that only the collector can free, a connection some hundred; CPython's defaults are
    # 2,000, 10, 10. What is open while it looks is looked at again after five such walks, and then after five of those:
    # with twenty each that came after 180,000 requests, and what had ended by then was kept.
    gc.set_threshold(20_000, 5, 5)


def on_signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Stop at TERM and INT; at once at a second INT."""

    def stop(number: signal.Signals) -> None:
        if stopping.is_set() and number is signal.SIGINT:
            # The Chron is safe at any instant; what is cut off here is in doubt at the next start.
            os._exit(130)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


_reloads: set["asyncio.Task[None]"] = set()


def _reload(reloading: Coroutine[None, None, str]) -> None:
    async def run() -> None:
        try:
            digest = await reloading
            _log.info("reloaded: rules %s are in force", digest[:12])
        except (DocumentError, ChronError) as error:
            _log.error("reload refused, the rules in force stay:\n%s", error)

    task = asyncio.get_running_loop().create_task(run())
    _reloads.add(task)
    task.add_done_callback(_reloads.discard)
