"""Letting records go for good: one human asks, another agrees, both stand in the log, and then it is done.

    erase   somebody's right to erasure (GDPR, article 17): these records, wherever their bodies are
    prune   their time is over: the segments older than that, with their files

What is asked for is a record of kind `removal` before anybody is asked, and what is done is one of kind `erasure` or
`prune` that names both humans and why. A request that nobody agreed to within a week is none any more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ulid import ULID

import chron
from chron import Chron, ChronError
from chron.living import erase, locate, prune
from policies import Human, State
from proxy.pipeline import Gate
from proxy.questions import FieldValues
from proxy.retention import RetentionConfig

KIND = "removal"
WAITS = timedelta(days=7)
MAX_RECORDS = 100

type What = Literal["erase", "prune"]


class RemovalRefused(Exception):
    """What was asked for cannot be; `status` and `code` as the control API answers, the message for people."""

    def __init__(self, status: Literal[403, 404, 409, 422], code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = f"removal.{code}"


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that a human wants to be gone."""

    id: str
    what: What
    by: str
    at: datetime
    basis: str
    records: tuple[str, ...] = ()
    """Ids, to erase."""
    before: datetime | None = None
    """The end of what to prune."""

    def fields(self) -> dict[str, str | int | bool | None]:
        """As it is recorded."""
        before = self.before.isoformat() if self.before else None
        return {
            "event": "removal-requested",
            "removal": self.id,
            "what": self.what,
            "requested_by": self.by,
            "basis": self.basis,
            "records": " ".join(self.records) or None,
            "before": before,
        }


class Removing:
    """Does what two humans agree on; one act after the other."""

    def __init__(self, chron: Chron, gate: Gate, config: RetentionConfig) -> None:
        self._chron, self._gate, self._config = chron, gate, config
        self._lock = asyncio.Lock()

    async def waiting(self) -> list[Removal]:
        """What waits for a second human, oldest first; as the log has it, so that a restart forgets nothing."""
        now = self._gate.now()
        return [each for each in await asyncio.to_thread(self._read) if each.at + WAITS > now]

    async def ask(
        self, human: Human, what: What, basis: str, records: tuple[str, ...] = (), before: datetime | None = None
    ) -> Removal:
        """Note that somebody wants this gone; raises RemovalRefused when it cannot be."""
        async with self._lock:
            now = self._gate.now()
            if what == "prune" and (before is None or before > now - self._config.least):
                least = self._config.least.days
                raise RemovalRefused(409, "young", f"nothing younger than {least} days is pruned; say an earlier time")
            if what == "erase":
                await self._located(records)
            asked = Removal(f"rmv_{str(ULID()).lower()}", what, human.id, now, basis, records, before)
            await self._chron.append(KIND, asked.fields())
            return asked

    async def agree(self, human: Human, id_: str) -> int:
        """Do what another human asked for; how many bodies went."""
        async with self._lock:
            asked = await self._waiting(id_)
            # If this is removed, one human alone destroys what two should have looked at.
            if asked.by == human.id:
                raise RemovalRefused(403, "self", "you asked for this; another human has to agree")
            asker = self._gate.book.policies.humans.get(asked.by)
            if asker is None or asker.state_at(self._gate.now()) is not State.ACTIVE:
                raise RemovalRefused(409, "asker", f"{asked.by}, who asked for this, is not active any more")
            said = {"removal": id_, "requested_by": asked.by, "approved_by": human.id, "basis": asked.basis}
            gone = await asyncio.to_thread(self._do, asked, said)
            done: FieldValues = {"event": "removal-done", "removal": id_, "approved_by": human.id, "bodies": gone}
            await self._chron.append(KIND, done)
            return gone

    async def refuse(self, human: Human, id_: str, reason: str) -> None:
        """Say no to what was asked for; whoever asked may take it back so."""
        async with self._lock:
            await self._waiting(id_)
            said = {"event": "removal-refused", "removal": id_, "by": human.id, "reason": chron.redacted_text(reason)}
            await self._chron.append(KIND, {name: value for name, value in said.items() if value})

    def _do(self, asked: Removal, said: Mapping[str, str]) -> int:
        folders = [self._config.folder]
        if asked.what == "prune" and asked.before is not None:
            return sum(each.last - each.first + 1 for each in prune(self._chron, folders, asked.before, said))
        return erase(self._chron, folders, asked.records, said)

    async def _located(self, records: tuple[str, ...]) -> None:
        try:
            await asyncio.to_thread(locate, self._chron.path, [self._config.folder], records)
        except ChronError as error:
            raise RemovalRefused(404, "unknown", str(error)) from None

    async def _waiting(self, id_: str) -> Removal:
        found = next((each for each in await self.waiting() if each.id == id_), None)
        if found is None:
            raise RemovalRefused(404, "unknown", f'nothing waits as "{id_}"; "claiim chron removals" lists what does')
        return found

    def _read(self) -> list[Removal]:
        found: dict[str, Removal] = {}
        for record in chron.find(self._chron.path, kind=KIND):
            id_ = record.text("removal")
            if record.text("event") == "removal-requested":
                found[id_] = _removal(record)
            else:
                found.pop(id_, None)
        return list(found.values())


def _removal(record: chron.Record) -> Removal:
    what: What = "prune" if record.text("what") == "prune" else "erase"
    before = record.text("before")
    return Removal(
        record.text("removal"),
        what,
        record.text("requested_by"),
        datetime.fromisoformat(record.text("ts")),
        record.text("basis"),
        tuple(record.text("records").split()),
        datetime.fromisoformat(before) if before else None,
    )


def described(removal: Removal) -> dict[str, object]:
    """As the control API tells it."""
    return {
        "id": removal.id,
        "what": removal.what,
        "by": removal.by,
        "at": removal.at.isoformat(timespec="seconds"),
        "basis": removal.basis,
        "records": list(removal.records),
        "before": removal.before.isoformat(timespec="seconds") if removal.before else None,
    }
