"""The event loop that a gate runs on: uvloop where only the fast engine serves, asyncio's own where mitmproxy does.

mitmproxy starts its hooks as eager tasks; on uvloop a connection then hangs.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxy.config import Config
from proxy.engines import serving


def run[T](main: Coroutine[Any, Any, T], config: Config) -> T:
    """Run a gate to its end."""
    return run_on(main, uv=_fast(config))


def run_on[T](main: Coroutine[Any, Any, T], *, uv: bool) -> T:
    """Run something to its end, on uvloop or on asyncio's own loop."""
    if not uv:
        return asyncio.run(main)
    import uvloop  # it takes a moment, and no other command needs it

    return uvloop.run(main)


def _fast(config: Config) -> bool:
    main = config.proxy.engine
    return main == "fast" and all(serving(listener, main) == "fast" for listener in config.listeners)
