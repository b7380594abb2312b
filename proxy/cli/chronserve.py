"""`claiim chron serve`: write a Chron that several gates share, in the foreground, until TERM or INT."""

import asyncio
import logging
from pathlib import Path

import click

from proxy.cli.chronsigning import now
from proxy.cli.options import config_option, located_errors, refuse_gated_caller
from proxy.cli.serve import on_signals
from proxy.config import Config
from proxy.configloading import load_config


@click.command("serve")
@config_option
@located_errors
def serve(config_path: Path | None) -> None:
    """Write the log for several gates: each has the same "chron_writer" in its configuration.

    TERM or INT answers what is under way and stops; the gates refuse requests until a writer is there again.
    """
    refuse_gated_caller("claiim chron serve")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_serve(load_config(config_path)))


async def _serve(config: Config) -> None:
    from proxy.writing import WriterService

    stopping = asyncio.Event()
    async with WriterService(config, now=now):
        on_signals(asyncio.get_running_loop(), stopping)
        click.echo(f"writing {config.chron} for the gates at {config.chron_writer}", err=True)
        await stopping.wait()
