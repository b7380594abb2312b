"""One gate in a world that one seed plays: its clock, its disk, its agents, humans and target, and its crashes.

Pipeline, policies, approvals and the Chron with its writer are the real ones. The disk is a folder in memory whose
commits fail, or lie, as the seed has it; a crash leaves the files as they stand to the next life.
"""

import asyncio
import json
import logging
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty
from threading import Lock
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import chron
from chron import Cadence, Chron, ChronError, Signing, verify
from chron.ledger import Ledger
from mappings import compile_mappings, read_document
from policies import compile_policies, credential
from proxy.approvals import ApprovalError
from proxy.config import ApprovalsConfig, UpstreamConfig
from proxy.destinations import Destinations
from proxy.facts import Inbound
from proxy.holding import Holding
from proxy.metrics import Metrics
from proxy.pipeline import Book, Ending, Gate, Verdict
from proxy.records import Origin
from support.gate import TOKEN
from support.torture.turns import TurnLoop, TurnQueue, TurnThread
from support.waiting import registry

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AGENTS, REQUESTS, LIVES = 3, 5, 2
ACTIONS = {"GET": "data:read", "PUT": "data:write", "DELETE": "infra:destroy"}
SKILL = {"skill": "deploy-v2", "allow": ["data:read"], "approve": ["data:write"], "deny": ["infra:destroy"]}
RULES = {
    "version": 1,
    "rules": [
        {"id": method.lower(), "match": {"host": "a.test", "method": method, "path": "/{x+}"}, "action": action}
        for method, action in ACTIONS.items()
    ],
}
FAULTS = ("fails", "lies", "dies before", "dies after")
"""What a commit does instead of its work, or after it."""


def _book() -> Book:
    agents = read_document(json.dumps(registry()), "agents.yaml")
    policies = compile_policies(agents, [read_document(json.dumps(SKILL), "policies/deploy-v2.yaml")])
    return Book(compile_mappings([read_document(json.dumps(RULES), "mappings/site.yaml")]), policies, "rules-digest")


BOOK = _book()
_PEM = Ed25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
"""The same in every world; its signatures come without chance (RFC 8032)."""
WHO = credential("deploy-bot", TOKEN)


class Crash(BaseException):
    """The process dies here."""


class World:
    """All that happens to one log."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self._entropy = random.Random(seed + 1)
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.history = ""
        """The hash of the last record, which stands for all of them."""
        self._folder = folder
        self._key = folder / "key.pem"
        self._key.touch(0o600)
        self._key.write_bytes(_PEM)
        self._life = 0
        self._now_s = 0.0
        self._skew = timedelta()
        self._calm = False
        self._crashed = False
        self._turns = TurnQueue()
        self._arrived: dict[str, str] = {}
        """Record of each request at the target, and its method."""
        self._answered: list[str] = []
        self._spent: Counter[str] = Counter()

    @property
    def path(self) -> Path:
        """The log of this life."""
        return self._folder / f"life-{self._life}" / "chron.db"

    def now(self) -> datetime:
        """What the gate's clock says."""
        return EPOCH + timedelta(seconds=self._now_s) + self._skew

    def clock_ns(self) -> int:
        """The same, for the Chron."""
        return (self.now() - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000

    def play(self) -> None:
        """Let the gate live and die, and look at what it left."""
        with self._ours():
            for _ in range(LIVES):
                self._live()
            self._calm = True
            self._live()
        self._judge()

    # --- one life ------------------------------------------------------------------------------------

    def _live(self) -> None:
        loop = TurnLoop(lambda: self._now_s, self._news)
        asyncio.set_event_loop(loop)
        log: Chron | None = None
        try:
            log = Chron.open(
                self.path,
                low_water_bytes=0,
                clock_ns=self.clock_ns,
                session=f"life-{self._life}",
                signing=Signing(self._key, cadence=Cadence(20, 5.0, 30.0), monotonic_s=lambda: self._now_s),
            )
            loop.run_until_complete(self._serve(log))
            log.close()
        except (Crash, ChronError):
            if self._calm:
                raise
        finally:
            _bury(loop)
            loop.close()
            asyncio.set_event_loop(None)
        if self._crashed:
            self.counts["crashes"] += 1
            self._turns.kill()
            if log is not None:
                log._lock.release()
            self._life += 1
            self._crashed = False

    async def _serve(self, log: Chron) -> None:
        metrics = Metrics()
        holding = Holding(log, metrics, ApprovalsConfig(wait_s=20), session=f"life-{self._life}", now=self.now)
        holding.restore([record.fields for record in chron.find(self.path, kind="approval")])
        upstream = UpstreamConfig(None, 10, 600, (), frozenset())
        gate = Gate(
            BOOK,
            log,
            Destinations({}, upstream, frozenset({443}), lookup=_lookup),
            origin=Origin(f"life-{self._life}", "simulation", "1"),
            now=self.now,
            metrics=metrics,
            holding=holding,
        )
        human = asyncio.ensure_future(self._human(gate))
        agents = [asyncio.ensure_future(self._agent(gate, number)) for number in range(AGENTS)]
        await asyncio.gather(*agents)
        human.cancel()
        await asyncio.wait([human])
        gate.stop()
        await gate.settled()

    async def _agent(self, gate: Gate, number: int) -> None:
        for count in range(REQUESTS):
            await asyncio.sleep(self.chance.uniform(0, 5))
            method = self.chance.choice(list(ACTIONS))
            # Some ask for the same thing again, as agents do that were told to come back.
            target = f"/{number}/{self.chance.randrange(2) if method == 'PUT' else f'{self._life}-{count}'}"
            inbound = Inbound(method, "https", target, ((b"Host", b"a.test"),), "10.0.0.9", ("a.test", 443), "a.test")
            head = gate.read_head(inbound, WHO)
            gone = self._gone() if self.chance.random() < 0.2 else None
            verdict = await gate.judge(head, b"body" if head.needs_body else None, gone=gone)
            if verdict.answer is not None:
                self._answered += [verdict.chron_id] if verdict.chron_id else []
                self.counts[f"answered {verdict.answer.status}"] += 1
                continue
            self._arrive(verdict, method)
            await asyncio.sleep(self.chance.uniform(0, 3))
            gate.finish(verdict, Ending(self.chance.choice(("sent", "failed")), 200))

    def _gone(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        loop.call_later(self.chance.uniform(0, 10), gone.set_result, None)
        return gone

    async def _human(self, gate: Gate) -> None:
        bob = BOOK.policies.humans["bob@acme.test"]
        while True:
            await asyncio.sleep(self.chance.uniform(0, 8))
            for approval in gate.holding.all():
                with suppress(ApprovalError, ChronError):
                    if self.chance.random() < 0.7:
                        await gate.holding.approve(approval.id, bob, approval.asked.fingerprint, "go", BOOK.policies)
                    else:
                        await gate.holding.refuse(approval.id, bob, "no", BOOK.policies)

    def _arrive(self, verdict: Verdict, method: str) -> None:
        """The target gets a request: now its record must be in the file."""
        self._arrived[verdict.chron_id] = method
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            row = database.execute(
                "SELECT outcome, action, body->>'$.approval' FROM chron WHERE id = ?", (verdict.chron_id,)
            ).fetchone()
        if row is None or row[1] != ACTIONS[method] or row[0] != "ALLOW" or method == "DELETE":
            self.faults.append(f"{method} reached the target and its record is {row}")
        elif method == "PUT":
            self._spent[row[2]] += 1
            if row[2] is None or self._spent[row[2]] > 1:
                self.faults.append(f"PUT reached the target {self._spent[row[2]]} times by approval {row[2]}")

    # --- what the seed decides -----------------------------------------------------------------------

    def _news(self, timeout: float | None) -> None:
        """The loop has nothing to do for so long, or has (0): the writer takes a turn, time passes, or all ends."""
        roll = self.chance.random()
        if not self._calm and roll < 0.002:
            self._die()
        elif not self._calm and roll < 0.01:
            self._skew += timedelta(seconds=self.chance.choice((-3600, -7, 1, 60)))
        if self._crashed:
            raise Crash
        if (self._turns and (timeout != 0 or roll > 0.7)) or (timeout != 0 and roll > 0.95):
            self._turns.turn()
        elif timeout is None:
            self.faults.append("everybody waits for ever")
            self._die()
        else:
            self._now_s += timeout
        if self._crashed:
            raise Crash

    def _commit(self, ledger: Ledger, rows: Sequence[Any], texts: Sequence[Any] = ()) -> None:
        if self._crashed:
            raise SystemExit  # the dead write nothing
        self._now_s += self.chance.uniform(0, 0.02)
        fault = self.chance.choice(FAULTS) if not self._calm and self.chance.random() < 0.06 else ""
        self.counts[fault] += bool(fault)
        if fault == "fails":
            raise sqlite3.OperationalError("disk I/O error")
        if fault == "dies before":
            self._die()
            raise SystemExit
        _COMMIT(ledger, rows, texts)
        if fault == "lies":
            raise sqlite3.OperationalError("disk I/O error")
        if fault == "dies after":
            self._die()
            raise SystemExit

    def _die(self) -> None:
        """The process dies now: the next life finds the files as they are."""
        if self._crashed:
            return
        following = self._folder / f"life-{self._life + 1}"
        following.mkdir()
        for name in ("chron.db", "chron.db-wal"):
            if (left := self.path.with_name(name)).exists():
                shutil.copyfile(left, following / name)
        self._crashed = True

    def _wait(self, log: Chron, entry: Any, *, limited: bool = True) -> None:
        """Stands in for the one place where a thread blocks on the writer."""
        future = SimpleNamespace(error=None, done=lambda: False)
        future.set_exception = lambda error: setattr(future, "error", error)
        future.set_result = lambda _: None
        entry.future = future
        log._writer.offer(entry, limited=limited)
        self._turns.turn()
        if self._crashed:
            raise Crash
        if future.error is not None:
            raise future.error

    # --- what is put in the place of chance ----------------------------------------------------------

    @contextmanager
    def _ours(self) -> Iterator[None]:
        disabled = logging.root.manager.disable
        logging.disable()
        threads = type("Thread", (TurnThread,), {"queue_of": lambda: self._turns})
        replaced = {
            "chron.writer.queue": SimpleNamespace(SimpleQueue=self._new_queue, Empty=Empty),
            "chron.writer.threading": SimpleNamespace(Thread=threads, Lock=Lock),
            "chron.storage.time": SimpleNamespace(monotonic=lambda: self._now_s),
            "chron.ledger.Ledger.commit": lambda *each: self._commit(*each),
            "chron.log.Chron._wait": lambda *each, **more: self._wait(*each, **more),
            "proxy.pipeline.time": SimpleNamespace(perf_counter_ns=lambda: int(self._now_s * 1e9)),
            "chron.ids.os": SimpleNamespace(urandom=self._entropy.randbytes),
            "ulid.os": SimpleNamespace(urandom=self._entropy.randbytes),
            "ulid.time": SimpleNamespace(time_ns=self.clock_ns),
        }
        with ExitStack() as stack:
            stack.callback(logging.disable, disabled)
            for name, value in replaced.items():
                stack.enter_context(patch(name, value))
            yield

    def _new_queue(self) -> TurnQueue:
        self._turns = TurnQueue()
        return self._turns

    # --- what must hold ------------------------------------------------------------------------------

    def _judge(self) -> None:
        found = verify(self.path)
        self.history = found.head_hash
        self.faults += [] if found.ok else [f"record {found.first_bad_seq}: {found.fault}"]
        with closing(sqlite3.connect(self.path)) as database:
            bodies = [json.loads(text) for (text,) in database.execute("SELECT body FROM chron ORDER BY seq")]
        ids = {body["id"] for body in bodies}
        results: dict[str, list[str]] = {body["id"]: [] for body in bodies if body["kind"] == "decision"}
        for body in bodies:
            if body["kind"] == "outcome":
                results[body["ref"]].append(body["result"])
                self.counts[body["result"]] += 1
        self.faults += [f"{id_} has the outcomes {each}" for id_, each in results.items() if len(each) != 1]
        self.faults += [f"{id_} was told to an agent and is lost" for id_ in self._answered if id_ not in ids]
        for id_ in self._arrived:
            if not set(results.get(id_, ["lost"])) <= {"sent", "failed", "in_doubt"}:
                self.faults.append(f"{id_} reached the target and is {results.get(id_)}")
        self.counts["arrived"] += len(self._arrived)
        self.counts["records"] += len(bodies)
        self.counts["checkpoints"] += sum(body["kind"] == "checkpoint" for body in bodies)


_COMMIT = Ledger.commit


def _bury(loop: asyncio.AbstractEventLoop) -> None:
    """End the tasks that died with their process, lest the collector runs what is left of them somewhere else."""
    loop.set_exception_handler(lambda *_: None)
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        with suppress(RuntimeError):
            task.get_coro().close()  # type: ignore[union-attr]


async def _lookup(_: str) -> tuple[str, ...]:
    return ("93.184.215.14",)
