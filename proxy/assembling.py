"""What a gate is put together from, whichever processes it is made of: each part from the configuration alone.

Nothing here listens, records or decides; `proxy.serve` and `proxy.workers` say which process has which part.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from proxy.ca import Authority, certificate_faults
from proxy.chaining import chaining
from proxy.config import Address, Config, ConfigError, EngineName, why
from proxy.destinations import Destinations, Lookup, look_up
from proxy.engines import Engines, Front, made, serving, version_of
from proxy.pdp import Pdp
from proxy.pipeline import Gate
from proxy.records import Origin
from proxy.timers import Later, loop_later
from proxy.wire.crowd import Crowd
from proxy.wire.listener import listener_context

_log = logging.getLogger(__name__)

_LAST_WAIT_S = 5
"""How long a stop waits for judgements when every connection is closed: for records on their way to the disk."""


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


def origin_of(config: Config, session: str) -> Origin:
    """What the records of this run say of the gate."""
    main = config.proxy.engine
    engines = {each.name: serving(each, main) for each in config.listeners}
    others = {name: version_of(engine) for name, engine in engines.items() if engine != main}
    return Origin(session, *version_of(main), engines=others)


def destinations_of(config: Config, lookup: Lookup = look_up) -> Destinations:
    """How targets are found."""
    upstream = config.upstream
    return Destinations(
        config.resolve,
        upstream,
        config.proxy.allowed_ports,
        lookup=lookup,
        chaining=chaining(upstream, os.environ),
    )


def pdp_of(config: Config, session: str, stack: contextlib.AsyncExitStack) -> Pdp | None:
    """The external PDP that is asked as well; closed by the stack."""
    if config.pdp is None:
        return None
    pdp = Pdp(config.pdp, f"claiim-{session}")
    stack.push_async_callback(pdp.close)
    return pdp


def listener_of(config: Config, now: Callable[[], datetime]) -> SSL.Context | None:
    """What the listener shows to agents; None when it is plain. Raises ConfigError. Blocks."""
    if config.proxy.tls is None:
        return None
    if faults := certificate_faults(config, now()):
        raise ConfigError.plain("\n".join(faults))
    return listener_context(config.proxy.tls)


def engines_of(
    config: Config,
    gate: Gate,
    authority: Authority,
    roots: Path,
    listener: SSL.Context | None,
    main: EngineName,
    *,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    later: Later = loop_later,
) -> Engines:
    """The engines of one process, around its gate."""
    crowd = Crowd(gate.limits, gate.quotas, gate.turn_away, clock=clock, later=later)

    def make(name: EngineName) -> Any:
        return made(name)(
            gate,
            crowd,
            authority,
            roots,
            now=now,
            max_body_bytes=config.proxy.max_body_bytes,
            connect_timeout_s=config.upstream.connect_timeout_s,
            response_timeout_s=config.upstream.response_timeout_s,
            listener=listener,
            keep_alive_s=config.approvals.keep_alive_s,
            segment_s=config.proxy.segment_s,
            later=later,
        )

    return Engines(main, make)


async def drain(gate: Gate, front: Front, drain_timeout_s: float) -> None:
    """Refuse what is new, let what is under way end, and go on without what does not."""
    gate.stop()
    ends = asyncio.get_running_loop().time() + drain_timeout_s
    with contextlib.suppress(TimeoutError):
        # What waited for humans is being refused: its agents get that answer before connections are closed.
        async with asyncio.timeout_at(ends):
            await gate.settled()
    await front.stop(max(0, ends - asyncio.get_running_loop().time()))
    try:
        async with asyncio.timeout(_LAST_WAIT_S):
            await gate.settled()
    except TimeoutError:
        # Without a limit a judgement that hangs would keep the gate from ever stopping. It forwards nothing: its
        # connection is closed, and the Chron takes no more of it.
        _log.warning("a request was still being judged when the gate stopped")
    gate.flush()


def cannot_listen(address: Address, error: OSError) -> ConfigError:
    """Why nothing listens there, with the remedy."""
    # A name that does not resolve brings a number of the resolver's own, and its text.
    system = isinstance(error.errno, int) and error.errno > 0
    reason = os.strerror(error.errno or 0).lower() if system else why(error)
    return ConfigError.plain(f"cannot listen on {address}: {reason}; stop what is there or configure another address")
