"""The event loop that a gate runs on: uvloop where the fast engine serves, asyncio's own where it does not."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxy.config import Config


def run[T](main: Coroutine[Any, Any, T], config: Config) -> T:
    """Run a gate to its end."""
    if not _fast(config):
        return asyncio.run(main)
    import uvloop  # it takes a moment, and no other command needs it

    return uvloop.run(main)


def _fast(config: Config) -> bool:
    return config.proxy.engine == "fast" or any(listener.engine == "fast" for listener in config.listeners)
