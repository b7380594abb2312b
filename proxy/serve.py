"""Put a gate together from its configuration, run it and stop it.

Start: CA, Chron, rules, what the Chron remembers, listeners, in this order; the first that fails ends the start with
one line.
Reload: `proxy.reloading`, of rules, agents, issuers' keys and the listener's certificate; `/readyz` tells of a refusal.
Stop: no new requests, open exchanges drain up to a limit, last outcomes written, Chron closed.
"""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import override

from OpenSSL import SSL
from ulid import ULID

import chron
from chron import Chron
from chron.remote import RemoteChron
from policies import credential
from proxy.activating import Activating
from proxy.anchoring import Anchoring
from proxy.api import (
    Activations,
    Api,
    Approving,
    AuthZen,
    Callers,
    Checks,
    EvidenceRoutes,
    Excepting,
    Failing,
    ForwardAuth,
    Operations,
    Records,
    Removals,
    RouteGroup,
    Simulations,
)
from proxy.assembling import (
    cannot_listen,
    destinations_of,
    drain,
    engines_of,
    listener_of,
    origin_of,
    pdp_of,
    utc_now,
)
from proxy.breakglass import ExceptionDesk
from proxy.ca import certificate_faults, own_authority
from proxy.config import Address, Config, ConfigError
from proxy.destinations import DestinationRefused, Lookup, look_up
from proxy.engines import Front
from proxy.holding import Holding
from proxy.housekeeping import Housekeeping
from proxy.lifetimes import Lifetime
from proxy.metrics import Metrics
from proxy.pipeline import Gate
from proxy.reloading import Reloading
from proxy.removing import Removing
from proxy.restoring import restore, uses_of
from proxy.rulebooks import Rulebooks
from proxy.secretfiles import read_token
from proxy.statefolder import make_state, write_operator_token, write_roots
from proxy.timekeeping import Timekeeping
from proxy.timers import Later, loop_later
from proxy.verdicts import Book
from proxy.webhooks import Webhook, read_secret


class Service(Lifetime):
    """A running gate. Use as `async with Service(config) as service`.

    A `private` one listens on free loopback ports and gives each agent an extra token that lives only in
    this process: for `claiim run` and the rehearsal.
    """

    def __init__(
        self,
        config: Config,
        *,
        private: bool = False,
        now: Callable[[], datetime] = utc_now,
        later: Later = loop_later,
        lookup: Lookup = look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._private = private
        self._now = now
        self._later = later
        self._lookup = lookup
        self._clock = clock
        self._tokens: dict[str, str] = {}
        self._started = now()
        self._stopping = False
        self.session = str(ULID()).lower()
        self.proxy_address = config.proxy.listen
        self.api_address = config.api.listen
        self.listener_addresses: dict[str, Address] = {}
        """Where the further ways in are, by name."""

    @override
    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        config = self._config
        make_state(config.state)
        self.authority = own_authority(config, self._now())
        if faults := certificate_faults(config, self._now()):
            raise ConfigError.plain("\n".join(faults))
        self._anchoring = Anchoring(config.checkpoints, now=self._now, later=self._later)
        # Before the Chron on the stack, so after it at the stop: closing signs one more checkpoint.
        stack.push_async_callback(self._anchoring.stop)
        self._chron = await self._open_chron(stack)
        rulebooks = Rulebooks(config, self._chron, origin_of(config, self.session))
        book = rulebooks.load()
        self.gate = await self._gate_of(book, stack)
        await rulebooks.record(book)
        self._front = self._front_of(self.gate)
        self.gate.exceptions.changed = self._front.spread
        self._reloading = Reloading(
            rulebooks,
            book,
            self._chron,
            self.gate,
            self._front,
            session=self.session,
            served=self._served,
            listener=self._listener_context,
        )
        operator_token = f"clo_{secrets.token_urlsafe(32)}"
        callers = Callers(self.gate, operator_token)
        self.api = Api(self._routes(callers, stack))
        stack.push_async_callback(self.api.stop)
        self.api_address = await self._open_api()
        reached = config.approvals.url or f"http://{self.api_address.reachable}"
        self.gate.holding.url = f"{reached.rstrip('/')}/v1/approvals/"
        self._guard_own_ports()
        stack.push_async_callback(self._stop_engine)
        await self._open_listeners()
        try:
            await self.gate.destinations.refuse_own_parent()
        except DestinationRefused as error:
            raise ConfigError.plain(f"upstream.proxy: {error.message}; name the proxy beyond") from None
        if not self._private:
            # After the listeners: a start that fails on a busy port must not replace the token of the gate
            # that is there. A private gate keeps its token to itself.
            write_operator_token(config.operator_token, operator_token)
        timekeeping = Timekeeping(self._chron, self.session, later=self._later)
        stack.callback(timekeeping.stop)
        timekeeping.start()

    def _guard_own_ports(self) -> None:
        """Keep what is open from being reached through the gate."""
        opened = [self.api_address, self.proxy_address, *self.listener_addresses.values()]
        self.gate.destinations.guard_own_ports(frozenset(address.port for address in opened))

    async def _open_chron(self, stack: contextlib.AsyncExitStack) -> Chron:
        """The Chron, written by this process, or by the one that writes it for several gates."""
        config = self._config
        self._housekeeping: Housekeeping | None = None
        if config.chron_writer is not None and not self._private:
            join = partial(RemoteChron.join, config.chron_writer, config.chron, session=self.session)
            shared = await asyncio.to_thread(join)
            stack.push_async_callback(asyncio.to_thread, shared.close)
            return shared
        signing = await self._anchoring.signing()
        chron = Chron.open(config.chron, session=self.session, signing=signing, spool=config.chron_spool)
        stack.callback(chron.close)
        self._anchoring.start(chron.newest_checkpoint)
        self._housekeeping = Housekeeping(chron, config.retention, now=self._now, later=self._later)
        stack.push_async_callback(self._housekeeping.stop)
        self._housekeeping.start()
        return chron

    async def _gate_of(self, book: Book, stack: contextlib.AsyncExitStack) -> Gate:
        """The gate, with what the Chron remembers."""
        config, metrics = self._config, Metrics()
        holding = Holding(
            self._chron, metrics, config.approvals, session=self.session, now=self._now, later=self._later
        )
        exceptions = ExceptionDesk(self._chron, session=self.session, now=self._now, later=self._later)
        await restore(config.chron, holding, exceptions, self._now())
        gate = Gate(
            self._served(book),
            self._chron,
            destinations_of(config, self._lookup),
            origin=origin_of(config, self.session),
            now=self._now,
            metrics=metrics,
            holding=holding,
            exceptions=exceptions,
            pdp=pdp_of(config, self.session, stack),
            limits=config.limits,
            clock=self._clock,
            later=self._later,
        )
        gate.uses.adopt(await asyncio.to_thread(uses_of, config.chron, book, self._now()))
        return gate

    def _front_of(self, gate: Gate) -> Front:
        """What agents reach: the engines, in this process."""
        config, main = self._config, self._config.proxy.engine
        self._engines = engines_of(
            config,
            gate,
            self.authority,
            write_roots(config),
            self._listener_context(),
            main,
            now=self._now,
            clock=self._clock,
            later=self._later,
        )
        self.engine = self._engines.main
        return self._engines

    async def _open_api(self) -> Address:
        return await _listening(self.api.start, self._listen(self._config.api.listen))

    async def _open_listeners(self) -> None:
        """Open the ways in, one after the other."""
        config, engines = self._config, self._engines
        self.proxy_address = await _listening(engines.start, self._listen(config.proxy.listen))
        self._guard_own_ports()
        for listener in () if self._private else config.listeners:
            opened = await _listening(partial(engines.open, listener), listener.listen)
            self.listener_addresses[listener.name] = opened
            self._guard_own_ports()
        engines.sweep()  # an engine that has further listeners alone has not looked for ends that are known

    def _listen(self, configured: Address) -> Address:
        return Address("127.0.0.1", 0) if self._private else configured

    async def _stop_engine(self) -> None:
        self._stopping = True
        await drain(self.gate, self._front, self._config.proxy.drain_timeout_s)

    # --- the control API -----------------------------------------------------------------------------

    def _routes(self, callers: Callers, stack: contextlib.AsyncExitStack) -> list[RouteGroup]:
        activating = Activating(self._config, self._chron, self.gate, self._reloading)
        operations = Operations(
            self.gate,
            callers,
            reload=self.reload,
            faults=self.faults,
            metrics=self._metrics,
            waiting=activating.waiting,
        )
        return [
            operations,
            Checks(self.gate, callers),
            Activations(activating, callers),
            *self._for_humans(callers, stack),
            Simulations(self._chron, callers, session=self.session),
            Records(self._config.chron, self._chron, callers, session=self.session, now=self._now),
            EvidenceRoutes(self._chron, self._anchoring, callers),
            self._removals(callers),
            *self._for_others(callers),
        ]

    def _removals(self, callers: Callers) -> Removals:
        retention = self._config.retention
        return Removals(self._chron, retention, Removing(self._chron, self.gate, retention), callers)

    def _for_humans(self, callers: Callers, stack: contextlib.AsyncExitStack) -> list[RouteGroup]:
        """The routes on which humans decide, and the webhook that may bring their word."""
        webhook = None
        if hook := self._config.approvals.webhook:
            webhook = Webhook(hook, read_secret(hook.secret), now=self._now, later=self._later)
            holding = self.gate.holding
            holding.announce = lambda approval: webhook.announce(approval, holding.url + approval.id)
            stack.push_async_callback(webhook.stop)
        return [Approving(self.gate, callers, webhook), Excepting(self.gate, callers)]

    def _for_others(self, callers: Callers) -> list[RouteGroup]:
        """The routes on which other systems ask: by AuthZEN, and proxies that forward themselves."""
        authzen = AuthZen(self.gate, callers, lambda: self.gate.holding.url.removesuffix("/v1/approvals/"))
        token = self._config.forward_auth_token
        return [authzen, ForwardAuth(self.gate, read_token(token) if token else "")]

    def _listener_context(self) -> SSL.Context | None:
        """What the listener shows to agents; None when it is plain. Raises ConfigError. Blocks."""
        # A private gate is reached by loopback alone, by its own command: it needs no certificate there.
        return None if self._private else listener_of(self._config, self._now)

    def _served(self, book: Book) -> Book:
        """The rules as this gate obeys them: in a private one each agent has one more token."""
        if not self._private:
            return book
        tokens = {agent: credential(agent, self.token(agent)).token_sha256 for agent in book.policies.agents}
        return replace(book, policies=book.policies.with_tokens(tokens))

    async def _metrics(self) -> bytes:
        """What was counted, in Prometheus text format."""
        return self.gate.metrics.text()

    async def reload(self) -> str:
        """Swap in the rules as the files have them now; their digest. Raises DocumentError and keeps the old ones."""
        return await self._reloading.reload()

    def faults(self) -> list[Failing]:
        """What keeps the gate from working as it should."""
        found: list[Failing] = []
        if self._stopping:
            found.append(Failing("gate", "stopping; new requests are refused"))
        if fault := self._chron.faults():
            found.append(Failing("chron", "decisions cannot be recorded; requests are refused", fault))
        elif scarce := self._chron.warning():
            found.append(Failing("disk", "the disk of the log is filling", scarce, only_warns=True))
        beside = self._chron.beside()
        if fault := self._anchoring.fault() or beside.get("anchors"):
            found.append(Failing("anchors", "the log's checkpoints are not anchored", fault))
        if fault := self._housekeeping.fault if self._housekeeping else beside.get("segments"):
            found.append(Failing("segments", "the log could not be sealed or archived", fault))
        if refused := self._reloading.refused:
            found.append(Failing("rules", "the last reload was refused, older rules are in force", refused))
        if self.authority.certificate.not_valid_after_utc <= self._now():
            found.append(Failing("ca", "the CA has expired"))
        return found

    # --- for private gates ---------------------------------------------------------------------------

    def token(self, agent: str) -> str:
        """The agent's extra token in a private gate."""
        return self._tokens.setdefault(agent, f"clm_{secrets.token_urlsafe(32)}")

    def proxy_url(self, agent: str) -> str:
        """The proxy URL, with credentials, for an agent of a private gate."""
        return f"http://{agent}:{self.token(agent)}@{self.proxy_address}"

    @property
    def api_url(self) -> str:
        """The control API's base URL."""
        return f"http://{self.api_address}"

    @property
    def ca_pem(self) -> bytes:
        """The CA certificate that agents must trust."""
        return self.authority.pem

    def decisions(self) -> list[dict[str, object]]:
        """The decisions of this run so far, oldest first; reads the Chron, so it blocks."""
        records = chron.find(self._config.chron, kind="decision", since=self._started)
        return [dict(record.fields) for record in records if record.fields.get("session") == self.session]

    def summary(self) -> list[tuple[str, int]]:
        """How many decisions this run has made, by outcome."""
        return sorted(Counter(str(fields["outcome"]) for fields in self.decisions()).items())


async def _listening(start: Callable[[Address], Awaitable[Address]], address: Address) -> Address:
    try:
        return await start(address)
    except OSError as error:
        raise cannot_listen(address, error) from None
