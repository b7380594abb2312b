"""Erasing what the log says of somebody: one human asks, another agrees, and then the plain text is gone for good.

    ask      record chr_01k..., or records 17 to 40, or the name of a person, and on what basis    -> waits, era_01k...
    approve  by another human, for exactly what was asked                                          -> bodies go
    refuse   by either

Leaves and hashes stay, so the log verifies as before and proofs given out before still hold. What was asked and by
whom is on record before anything goes. Nothing is erased while the gate still needs it: a request under way, a limit
that counts it, an approval that a restart has to remember.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from ulid import ULID

import chron
from chron import Chron, Record, redacted_text, why_needed
from policies import Human, State
from proxy import approvalrecords, breakglass
from proxy.pipeline import Gate
from proxy.questions import FieldValues
from proxy.uses import longest_window

REQUEST = "erasure_request"
WAITS = timedelta(days=7)
"""After that it has to be asked for again."""
MOST_RECORDS = 100_000
"""In one request; a person who approves more than that looks at none of it."""


class ErasureRefused(Exception):
    """What was asked for cannot be; `status` and `code` as the control API answers, the message for people."""

    def __init__(self, status: Literal[403, 404, 409], code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = f"erasure.{code}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to go: a span of records, or the name of a person."""

    first: int = 0
    last: int = 0
    human: str = ""

    def __str__(self) -> str:
        if self.human:
            return f"the name of {self.human}"
        return f"record {self.first}" if self.first == self.last else f"records {self.first} to {self.last}"

    @property
    def fields(self) -> FieldValues:
        """As it is recorded."""
        return {"human": self.human} if self.human else {"first": self.first, "last": self.last}


@dataclass(frozen=True, slots=True)
class Request:
    """What a human asked for and no other has agreed to yet."""

    id: str
    wanted: Wanted
    basis: str
    by: str
    at: datetime


class Erasing:
    """Does what two humans agree on, one act after the other."""

    def __init__(self, chron_: Chron, gate: Gate, *, session: str) -> None:
        self._chron, self._gate, self._session = chron_, gate, session
        self._lock = asyncio.Lock()

    async def waiting(self) -> list[Request]:
        """Return what waits for another human, oldest first."""
        found = await asyncio.to_thread(_waiting, self._chron)
        return [each for each in found.values() if self._gate.now() < each.at + WAITS]

    async def find(self, record_id: str) -> Wanted:
        """Return a record as what is to go; raises ErasureRefused when there is none, or it has to stay."""
        shown = await asyncio.to_thread(chron.show, self._chron.path, record_id)
        if shown is None:
            raise ErasureRefused(404, "record", "there is no such record")
        return Wanted(shown.record.seq, shown.record.seq)

    async def ask(self, human: Human, wanted: Wanted, basis: str) -> Request:
        """Note that somebody wants this to go; raises ErasureRefused, or ChronError when it cannot be recorded."""
        async with self._lock:
            await self._require_erasable(wanted)
            request = Request(f"era_{str(ULID()).lower()}", wanted, redacted_text(basis), human.id, self._gate.now())
            await self._chron.append(REQUEST, self._said("requested", request))
            return request

    async def approve(self, human: Human, id_: str, agreed: str) -> int:
        """Let go what another human asked for; `agreed` is what the approver saw. How many bodies or names went."""
        async with self._lock:
            request = await self._find(id_)
            # If this is removed, one human alone makes evidence disappear.
            if request.by == human.id:
                raise ErasureRefused(403, "self", "you asked for this; another human has to approve it")
            if agreed != str(request.wanted):
                raise ErasureRefused(409, "changed", f"{id_} is about {request.wanted}; look again")
            asked = self._gate.book.policies.humans.get(request.by)
            if asked is None or asked.state_at(self._gate.now()) is not State.ACTIVE:
                raise ErasureRefused(409, "asker", f"{request.by}, who asked for this, is not active any more")
            await self._require_erasable(request.wanted)
            return await asyncio.to_thread(self._erase, request, human.id)

    async def refuse(self, human: Human, id_: str) -> Request:
        """Say no to what was asked for; whoever asked may take it back so."""
        async with self._lock:
            request = await self._find(id_)
            await self._chron.append(REQUEST, {**self._said("refused", request), "by": human.id})
            return request

    def _erase(self, request: Request, approved_by: str) -> int:
        wanted = request.wanted
        said: FieldValues = {
            "erasure": request.id,
            "basis": request.basis,
            "requested_by": request.by,
            "approved_by": approved_by,
            "session": self._session,
        }
        if wanted.human:
            return int(self._chron.forget(wanted.human, said))
        return self._chron.empty("erasure", [(wanted.first, wanted.last)], said)

    async def _find(self, id_: str) -> Request:
        request = next((each for each in await self.waiting() if each.id == id_), None)
        if request is None:
            raise ErasureRefused(404, "unknown", "nothing with this id waits; it may be done, refused or too old")
        return request

    async def _require_erasable(self, wanted: Wanted) -> None:
        if wanted.human:
            if wanted.human not in await asyncio.to_thread(chron.people, self._chron.path):
                raise ErasureRefused(404, "human", f"no name of {wanted.human} is kept; records say ids alone")
            return
        if wanted.last - wanted.first >= MOST_RECORDS:
            raise ErasureRefused(409, "many", f"that is more than {MOST_RECORDS} records; ask for less at once")
        if fault := await asyncio.to_thread(self._needed, wanted):
            raise ErasureRefused(409, "needed", fault)

    def _needed(self, wanted: Wanted) -> str:
        """Why these cannot go now; "" when they can. Blocks."""
        window = max(longest_window(self._gate.book.policies), approvalrecords.LOOK_BACK, breakglass.LOOK_BACK)
        return why_needed(self._chron.path, wanted.first, wanted.last, self._gate.now() - window)

    def _said(self, event: str, request: Request) -> FieldValues:
        return {
            "event": event,
            "erasure": request.id,
            **request.wanted.fields,
            "basis": request.basis,
            "by": request.by,
            "at": request.at.isoformat(timespec="microseconds"),
            "session": self._session,
        }


def _waiting(log: Chron) -> dict[str, Request]:
    found: dict[str, Request] = {}
    for kind in (REQUEST, "erasure", "person"):
        for record in chron.find(log.path, kind=kind):
            id_ = record.text("erasure")
            if kind == REQUEST and record.text("event") == "requested":
                found[id_] = _request(record)
            else:
                found.pop(id_, None)
    return found


def _request(record: Record) -> Request:
    fields: Mapping[str, str | int | bool] = record.fields
    wanted = Wanted(int(fields.get("first", 0)), int(fields.get("last", 0)), record.text("human"))
    at = datetime.fromisoformat(record.text("at")).astimezone(UTC)
    return Request(record.text("erasure"), wanted, record.text("basis"), record.text("by"), at)
