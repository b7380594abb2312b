"""Put a gate together from its configuration, run it, reload it and stop it.

Start: CA, Chron, rules, listeners, in this order; the first that fails ends the start with one line.
Reload: rules, agents, issuers' keys and the listener's certificate are read anew and swapped as a whole; on any
fault the last good set stays in force, the refusal is recorded and `/readyz` says so.
Stop: no new requests, open exchanges drain up to a limit, last outcomes written, Chron closed.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from types import TracebackType
from typing import Self

from OpenSSL import SSL
from ulid import ULID

import chron
from chron import Chron, ChronError
from mappings import DocumentError, load_mappings
from policies import Policies, credential, load_policies
from policies.changes import changes
from policies.versions import History
from proxy import approvalrecords, breakglass
from proxy.activating import Activating
from proxy.activations import sources_of
from proxy.api import (
    Activations,
    Api,
    Approving,
    AuthZen,
    Callers,
    Checks,
    Excepting,
    Failing,
    ForwardAuth,
    Operations,
    Records,
    RouteGroup,
    Simulations,
)
from proxy.breakglass import ExceptionDesk
from proxy.ca import certificate_faults, own_authority, read_roots
from proxy.config import Address, Config, ConfigError, why
from proxy.destinations import Destinations
from proxy.holding import Holding
from proxy.identity import load_issuers
from proxy.lifecycle import change_records, since_last_run
from proxy.metrics import Metrics
from proxy.mitm import Engine
from proxy.mitm.engine import NAME, VERSION
from proxy.mitm.listener import listener_context
from proxy.pdp import Pdp
from proxy.pipeline import Book, Gate
from proxy.questions import FieldValues
from proxy.records import Origin, loaded_fields, refused_fields
from proxy.secretfiles import read_token
from proxy.timers import Later, loop_later
from proxy.uses import longest_window, restored
from proxy.webhooks import Webhook, read_secret
from proxy.wiring import write_bundle

_log = logging.getLogger(__name__)

_RECORDS_AT_ONCE = 1000
"""Of changes in the registry: a first load of ten thousand agents must leave room for decisions."""


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


class Service:
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
    ) -> None:
        self._config = config
        self._private = private
        self._now = now
        self._later = later
        self._tokens: dict[str, str] = {}
        self._started = now()
        self._refused = ""
        self._registry: Policies | None = None
        """As it was last recorded."""
        self._stopping = False
        self._reloading = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self.session = str(ULID()).lower()
        self.proxy_address = config.proxy.listen
        self.api_address = config.api.listen

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        config = self._config
        _make_state(config.state)
        self.authority = own_authority(config, self._now())
        if faults := certificate_faults(config, self._now()):
            raise ConfigError.plain("\n".join(faults))
        self._chron = Chron.open(config.chron, session=self.session)
        stack.callback(self._chron.close)
        book = self._load_book()
        self.metrics = Metrics()
        holding, exceptions = await self._waiting()
        self.gate = Gate(
            self._served(book),
            self._chron,
            Destinations(config.resolve, config.upstream, config.proxy.allowed_ports),
            origin=Origin(self.session, NAME, VERSION),
            now=self._now,
            metrics=self.metrics,
            holding=holding,
            exceptions=exceptions,
            pdp=self._pdp(stack),
        )
        self.gate.uses.adopt(await asyncio.to_thread(self._uses_of, book))
        await self._record_book(book)
        self.roots = _write_roots(config)
        self.engine = Engine(
            self.gate,
            self.authority,
            self.roots,
            now=self._now,
            max_body_bytes=config.proxy.max_body_bytes,
            connect_timeout_s=config.upstream.connect_timeout_s,
            response_timeout_s=config.upstream.response_timeout_s,
            listener=self._listener_context(),
            keep_alive_s=config.approvals.keep_alive_s,
            later=self._later,
        )
        operator_token = f"clo_{secrets.token_urlsafe(32)}"
        callers = Callers(self.gate, operator_token)
        activating = Activating(config, self._chron, self.gate, self)
        operations = Operations(
            self.gate,
            callers,
            reload=self.reload,
            faults=self.faults,
            waiting=activating.waiting,
        )
        groups: list[RouteGroup] = [operations, Checks(self.gate, callers), Activations(activating, callers)]
        groups += self._for_humans(callers, stack)
        groups.append(Simulations(self._chron, callers, session=self.session))
        groups.append(Records(config.chron, self._chron, callers, session=self.session, now=self._now))
        groups += self._for_others(callers)
        self.api = Api(groups)
        stack.push_async_callback(self.api.stop)
        self.api_address = await _listening(self.api.start, self._listen(config.api.listen))
        holding.url = f"{(config.approvals.url or f'http://{self.api_address.reachable}').rstrip('/')}/v1/approvals/"
        self.gate.destinations.guard_own_ports(frozenset({self.api_address.port}))
        stack.push_async_callback(self._stop_engine)
        self.proxy_address = await _listening(self.engine.start, self._listen(config.proxy.listen))
        self.gate.destinations.guard_own_ports(frozenset({self.api_address.port, self.proxy_address.port}))
        if not self._private:
            # After the listeners: a start that fails on a busy port must not replace the token of the gate
            # that is there. A private gate keeps its token to itself.
            _write_operator_token(config.operator_token, operator_token)

    def _pdp(self, stack: contextlib.AsyncExitStack) -> Pdp | None:
        """The external PDP that is asked as well."""
        if self._config.pdp is None:
            return None
        pdp = Pdp(self._config.pdp, f"claiim-{self.session}")
        stack.push_async_callback(pdp.close)
        return pdp

    def _listen(self, configured: Address) -> Address:
        return Address("127.0.0.1", 0) if self._private else configured

    async def _stop_engine(self) -> None:
        self._stopping = True
        self.gate.stop()
        with contextlib.suppress(TimeoutError):
            # What waited for humans is being refused: its agents get that answer before connections are closed.
            await asyncio.wait_for(self.gate.settled(), self._config.proxy.drain_timeout_s)
        await self.engine.stop(self._config.proxy.drain_timeout_s)
        await self.gate.settled()

    # --- what waits for humans -----------------------------------------------------------------------

    async def _waiting(self) -> tuple[Holding, ExceptionDesk]:
        """Approvals and exceptions as the Chron left them."""
        settings, now = self._config.approvals, self._now()
        holding = Holding(self._chron, self.metrics, settings, session=self.session, now=self._now, later=self._later)
        exceptions = ExceptionDesk(self._chron, session=self.session, now=self._now, later=self._later)
        holding.restore(await asyncio.to_thread(self._recorded, "approval", now - approvalrecords.LOOK_BACK))
        exceptions.restore(await asyncio.to_thread(self._recorded, "exception", now - breakglass.LOOK_BACK))
        return holding, exceptions

    def _recorded(self, kind: str, since: datetime) -> list[Mapping[str, str | int | bool]]:
        return [record.fields for record in chron.find(self._config.chron, kind=kind, since=since)]

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

    # --- rules ---------------------------------------------------------------------------------------

    def _load_book(self, history: History | None = None) -> Book:
        """Read mappings, policies and agents; raises DocumentError with every fault.

        Which versions are in force says `history`, else what the Chron has recorded.
        """
        faults: list[str] = []
        mappings = policies = sources = issuers = None
        try:
            mappings = load_mappings(self._config.mappings, self._config.catalogues)
        except DocumentError as error:
            faults.append(str(error))
        try:
            sources = sources_of(self._config, history)
            policies = load_policies(self._config.agents, sources, seen=self._chron.seen())
        except DocumentError as error:
            faults.append(str(error))
        try:
            issuers = load_issuers(self._config.issuers)
        except DocumentError as error:
            faults.append(str(error))
        if mappings is None or policies is None or sources is None or issuers is None:
            raise ConfigError.plain("\n".join(faults))
        digest = hashlib.sha256(f"{mappings.digest}\n{policies.digest}".encode()).hexdigest()
        return Book(mappings, policies, digest, issuers, tuple(sources.bundles))

    def _listener_context(self) -> SSL.Context | None:
        """What the listener shows to agents; None when it is plain. Raises ConfigError. Blocks."""
        # A private gate is reached by loopback alone, by its own command: it needs no certificate there.
        if self._private or self._config.proxy.tls is None:
            return None
        if faults := certificate_faults(self._config, self._now()):
            raise ConfigError.plain("\n".join(faults))
        return listener_context(self._config.proxy.tls)

    def _served(self, book: Book) -> Book:
        """The rules as this gate obeys them: in a private one each agent has one more token."""
        if not self._private:
            return book
        tokens = {agent: credential(agent, self.token(agent)).token_sha256 for agent in book.policies.agents}
        return replace(book, policies=book.policies.with_tokens(tokens))

    async def _record_book(self, book: Book, acts: Sequence[FieldValues] = ()) -> None:
        """Keep every rule text, tell what happened to the registry since the last load, and say what is in force.

        `acts` are what humans did to have it so; they stand before it.
        """
        if self._registry is None:
            changed = await asyncio.to_thread(since_last_run, self._config.chron, book.policies)
        else:
            changed = await asyncio.to_thread(changes, self._registry, book.policies)
        await self._keep(book)
        loaded = loaded_fields(book.mappings, book.policies, book.digest, self.session, book.bundles)
        done = [("policy", fields) for fields in acts]
        records = [*done, *change_records(changed, self.session), ("policy", loaded)]
        for batch in batched(records, _RECORDS_AT_ONCE):
            await self._chron.append_many(batch)
        self._registry = book.policies

    async def _keep(self, book: Book) -> None:
        """Keep every rule text by its digest, so that any decision can be decided again."""
        texts: list[tuple[str, str, str, str, str]] = [
            *((text.kind, text.id, text.version, text.digest, text.text) for text in book.mappings.texts),
            *((text.kind, text.id, text.version, text.digest, text.text) for text in book.policies.texts),
        ]
        await asyncio.to_thread(self._chron.keep, texts)

    def _uses_of(self, book: Book) -> dict[str, list[datetime]]:
        """How the limits of these rules were used so far, from the Chron; blocks."""
        window = longest_window(book.policies)
        if not window:
            return {}
        records = chron.find(self._config.chron, kind="decision", since=self._now() - window)
        return restored(book.policies, (record.fields for record in records))

    async def reload(self) -> str:
        """Swap in the rules as the files have them now; their digest. Raises DocumentError and keeps the old ones."""
        async with self._reloading:
            try:
                book = await asyncio.to_thread(self._load_book)
                listener = await asyncio.to_thread(self._listener_context)
            except DocumentError as error:
                self._refused = str(error)
                self.metrics.reloaded("refused")
                with contextlib.suppress(ChronError):
                    await self._chron.append("policy", refused_fields(self._refused, self.session))
                raise
            await self._swap(book, listener)
            return book.digest

    async def _swap(self, book: Book, listener: SSL.Context | None, acts: Sequence[FieldValues] = ()) -> None:
        uses = await asyncio.to_thread(self._uses_of, book)
        await self._record_book(book, acts)
        self._refused = ""
        # Of limits that are new, calls still on their way to the disk are not counted.
        self.gate.uses.adopt(uses)
        self.gate.book = self._served(book)
        self.engine.reload(listener)
        self.metrics.reloaded("loaded")

    async def attempt(self, history: History) -> None:
        """Load the rules with other versions in force and keep their texts, without using them.

        Raises DocumentError; then it is the versions that were asked for, and the gate is as well as before.
        """
        await self._keep(await asyncio.to_thread(self._load_book, history))

    async def obey(self, history: History, records: Sequence[FieldValues]) -> None:
        """Load the rules with other versions in force, write down who wanted it, and only then use them."""
        async with self._reloading:
            book = await asyncio.to_thread(self._load_book, history)
            listener = await asyncio.to_thread(self._listener_context)
            await self._swap(book, listener, records)

    def faults(self) -> list[Failing]:
        """What keeps the gate from working as it should."""
        found: list[Failing] = []
        if self._stopping:
            found.append(Failing("gate", "stopping; new requests are refused"))
        if fault := self._chron.faults():
            found.append(Failing("chron", "decisions cannot be recorded; requests are refused", fault))
        if self._refused:
            found.append(Failing("rules", "the last reload was refused, older rules are in force", self._refused))
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
        # A name that does not resolve brings a number of the resolver's own, and its text.
        system = isinstance(error.errno, int) and error.errno > 0
        reason = os.strerror(error.errno or 0).lower() if system else why(error)
        raise ConfigError.plain(
            f"cannot listen on {address}: {reason}; stop what is there or configure another address"
        ) from None


def _make_state(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError.plain(f"{state}: cannot create: {why(error)}; set another state folder") from None


def _write_roots(config: Config) -> Path:
    """The file of roots that targets are verified against: the system's, and the configured ones."""
    path = config.state / "upstream-roots.pem"
    extra = b"" if config.upstream.ca_bundle is None else read_roots(config.upstream.ca_bundle)
    try:
        write_bundle(path, extra)
    except OSError as error:
        raise ConfigError.plain(f"{path}: cannot write: {why(error)}; make the state folder writable") from None
    return path


def _write_operator_token(path: Path, token: str) -> None:
    """Put the token into a file that only this user can read."""
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise ConfigError.plain(f"{path}: cannot write: {why(error)}; make the state folder writable") from None
