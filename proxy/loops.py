"""The event loop that a gate runs on: uvloop where only the fast engine serves, asyncio's own where mitmproxy does.

mitmproxy starts its hooks as eager tasks; on uvloop a connection then hangs.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.config import Config
from proxy.engines import serving

_log = logging.getLogger(__name__)


def run[T](main: Coroutine[Any, Any, T], config: Config) -> T:
    """Run a gate to its end."""
    return run_on(main, uv=_fast(config))


def run_on[T](main: Coroutine[Any, Any, T], *, uv: bool) -> T:
    """Run something to its end, on uvloop or on asyncio's own loop."""
    return fast_runner()(main) if uv else asyncio.run(main)


@functools.cache
def fast_runner() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """What runs the fast engine: uvloop, or asyncio where there is none, as on Windows; told once."""
    try:
        import uvloop  # it takes a moment, and no other command needs it
    except ImportError as error:
        _log.warning("uvloop cannot be imported (%s): the fast engine runs on asyncio's own loop, and is slower", error)
        return asyncio.run
    return uvloop.run


def _fast(config: Config) -> bool:
    main = config.proxy.engine
    return main == "fast" and all(serving(listener, main) == "fast" for listener in config.listeners)
