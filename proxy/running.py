"""What a process that serves does about its memory, its open files and what it is told by signals."""

import asyncio
import datetime
import gc
import logging
import resource
from collections.abc import Coroutine

from chron import ChronError
from mappings import DocumentError
from mappings.catalogues import age, shipped
from mappings.loading import catalogues_in_use
from proxy.api import MOST_CONNECTIONS
from proxy.config import Config

_log = logging.getLogger(__name__)

_FILES_BESIDE = 256
"""Files that are open whoever is connected, with room to spare."""


def open_files(connections: int) -> None:
    """Let the process open as many sockets as its limit of connections needs, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_BESIDE + MOST_CONNECTIONS + 2 * connections  # the agent's and one to a target
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning(
            "only %d files may be open; limits.connections needs %d: raise the limit or lower it", most, wanted
        )


def settle_memory() -> None:
    """Keep the collector from walking what lives as long as the process, and from walking after every few requests."""
    gc.collect()
    gc.freeze()
    # A request leaves few objects that only the collector can free, a connection some hundred; CPython's defaults are
    # 2,000, 10, 10. What is open while it looks is looked at again after five such walks, and then after five of those:
    # with twenty each that came after 180,000 requests, and what had ended by then was kept.
    gc.set_threshold(20_000, 5, 5)


def warn_of_age(config: Config) -> None:
    """Tell which catalogues are old."""
    today = datetime.datetime.now(datetime.UTC).date()
    for warning in age.warnings(catalogues_in_use(config.catalogues), shipped(), today):
        _log.warning(warning)


_reloads: set["asyncio.Task[None]"] = set()


def reload_in_background(reloading: Coroutine[None, None, str]) -> None:
    """Reload, and tell how it went."""

    async def run() -> None:
        try:
            digest = await reloading
            _log.info("reloaded: rules %s are in force", digest[:12])
        except (DocumentError, ChronError) as error:
            _log.error("reload refused, the rules in force stay:\n%s", error)

    task = asyncio.get_running_loop().create_task(run())
    _reloads.add(task)
    task.add_done_callback(_reloads.discard)
