"""Put a gate together from its configuration, run it, reload it and stop it.

Start: CA, Chron, rules, listeners, in this order; the first that fails ends the start with one line.
Reload: rules and agents are read anew and swapped as a whole; on any fault the last good set stays in
force, the refusal is recorded and `/readyz` says so.
Stop: no new requests, open exchanges drain up to a limit, last outcomes written, Chron closed.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ulid import ULID

import chron
from chron import Chron, ChronError
from mappings import DocumentError, load_mappings
from policies import credential, load_policies
from proxy.api import Api
from proxy.ca import Authority, create_authority, load_authority
from proxy.config import Address, Config, ConfigError
from proxy.destinations import Destinations
from proxy.metrics import Metrics
from proxy.mitm import Engine
from proxy.mitm.engine import NAME, VERSION
from proxy.pipeline import Book, Gate
from proxy.records import Origin
from proxy.wiring import write_bundle

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


class Service:
    """A running gate. Use as `async with Service(config) as service`.

    A `private` one listens on free loopback ports and gives each agent an extra token that lives only in
    this process: for `claiim run` and the rehearsal.
    """

    def __init__(self, config: Config, *, private: bool = False, now: Callable[[], datetime] = utc_now) -> None:
        self._config = config
        self._private = private
        self._now = now
        self._tokens: dict[str, str] = {}
        self._started = now()
        self._refused = ""
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
        self.authority = _authority(config, self._now())
        self._chron = _open_chron(config.chron, self.session)
        stack.callback(self._chron.close)
        book = self._load_book()
        self.metrics = Metrics()
        self.gate = Gate(
            book,
            self._chron,
            Destinations(config.resolve, config.upstream, config.proxy.allowed_ports),
            origin=Origin(self.session, NAME, VERSION),
            now=self._now,
            metrics=self.metrics,
        )
        await self._record_book(book)
        self.roots = config.state / "upstream-roots.pem"
        write_bundle(self.roots, _extra_roots(config))
        self.engine = Engine(
            self.gate,
            self.authority,
            self.roots,
            now=self._now,
            max_body_bytes=config.proxy.max_body_bytes,
            connect_timeout_s=config.upstream.connect_timeout_s,
            response_timeout_s=config.upstream.response_timeout_s,
        )
        self.api = Api(
            self.gate,
            _operator_token(config.operator_token, new=not self._private),
            reload=self.reload,
            faults=self.faults,
            read_record=self._read_record,
        )
        stack.push_async_callback(self.api.stop)
        self.api_address = await _listening(self.api.start, self._listen(config.api.listen))
        stack.push_async_callback(self._stop_engine)
        self.proxy_address = await _listening(self.engine.start, self._listen(config.proxy.listen))
        self.gate.destinations.guard_own_ports(frozenset({self.api_address.port, self.proxy_address.port}))

    def _listen(self, configured: Address) -> Address:
        return Address("127.0.0.1", 0) if self._private else configured

    async def _stop_engine(self) -> None:
        self.gate.stop()
        await self.engine.stop(self._config.proxy.drain_timeout_s)

    # --- rules ---------------------------------------------------------------------------------------

    def _load_book(self) -> Book:
        """Read mappings, policies and agents; raises DocumentError with every fault."""
        faults: list[str] = []
        mappings = policies = None
        try:
            mappings = load_mappings(self._config.mappings)
        except DocumentError as error:
            faults.append(str(error))
        try:
            policies = load_policies(self._config.agents, self._config.policies, seen=self._chron.seen())
        except DocumentError as error:
            faults.append(str(error))
        if mappings is None or policies is None:
            raise ConfigError.plain("\n".join(faults))
        if self._private:
            policies = policies.with_tokens(
                {agent: credential(agent, self.token(agent)).token_sha256 for agent in policies.agents}
            )
        digest = hashlib.sha256(f"{mappings.digest}\n{policies.digest}".encode()).hexdigest()
        return Book(mappings, policies, digest)

    async def _record_book(self, book: Book) -> None:
        """Keep every rule text by its digest, so that any decision can be decided again, and say what is in force."""
        texts = [
            (text.kind, text.id, str(text.version), text.digest, text.text)
            for text in (*book.mappings.texts, *book.policies.texts)
        ]
        await asyncio.to_thread(self._chron.keep, texts)
        named = " ".join(f"{kind}:{name}@{version or '-'}" for kind, name, version, _, _ in texts)
        await self._chron.append(
            "policy",
            {"event": "loaded", "rules_digest": book.digest, "texts": named, "session": self.session},
        )

    async def reload(self) -> str:
        """Swap in the rules as the files have them now; their digest. Raises DocumentError and keeps the old ones."""
        async with self._reloading:
            try:
                book = await asyncio.to_thread(self._load_book)
                await self._record_book(book)
            except DocumentError as error:
                self._refused = str(error)
                self.metrics.reloaded("refused")
                fields = {"event": "refused", "error": self._refused[:2000], "session": self.session}
                with contextlib.suppress(ChronError):
                    await self._chron.append("policy", fields)
                raise
            self._refused = ""
            self.gate.book = book
            self.engine.reload()
            self.metrics.reloaded("loaded")
            return book.digest

    def faults(self) -> dict[str, str]:
        """What keeps the gate from working as it should, by the name of the check."""
        found: dict[str, str] = {}
        if fault := self._chron.faults():
            found["chron"] = fault
        if self._refused:
            found["rules"] = f"the last reload was refused, older rules are in force: {self._refused}"
        if self.authority.certificate.not_valid_after_utc <= self._now():
            found["ca"] = "the CA has expired"
        return found

    async def _read_record(self, record_id: str) -> dict[str, object] | None:
        shown = await asyncio.to_thread(chron.show, self._config.chron, record_id)
        if shown is None:
            return None
        return {**shown.record.fields, "outcomes": [dict(outcome.fields) for outcome in shown.outcomes]}

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
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError.plain(
            f"cannot listen on {address}: {why.lower()}; stop what is there or configure another address"
        ) from None


def _make_state(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError.plain(f"{state}: cannot create: {error.strerror}; set another state folder") from None


def _authority(config: Config, now: datetime) -> Authority:
    missing = not config.ca_certificate.exists() and not config.ca_key.exists()
    if missing and not config.ca_supplied:
        create_authority(config.ca_certificate, config.ca_key, now)
    return load_authority(config.ca_certificate, config.ca_key, now)


def _open_chron(path: Path, session: str) -> Chron:
    try:
        return Chron.open(path, session=session)
    except ChronError as error:
        raise ConfigError.plain(str(error)) from None


def _extra_roots(config: Config) -> bytes:
    if config.upstream.ca_bundle is None:
        return b""
    try:
        return config.upstream.ca_bundle.read_bytes()
    except OSError as error:
        raise ConfigError.plain(f"{config.upstream.ca_bundle}: cannot read: {error.strerror}") from None


def _operator_token(path: Path, *, new: bool) -> str:
    """A fresh operator token, in a file only this user can read; a private gate keeps its own to itself."""
    token = f"clo_{secrets.token_urlsafe(32)}"
    if new:
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
        except OSError as error:
            raise ConfigError.plain(f"{path}: cannot write: {error.strerror}") from None
    return token


def with_listeners(config: Config, proxy: Address, api: Address) -> Config:
    """The same configuration on other addresses."""
    return replace(config, proxy=replace(config.proxy, listen=proxy), api=replace(config.api, listen=api))
