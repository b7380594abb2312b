"""Letting records go for good: one human asks, another agrees, both stand in the log, and then it is done.

    erase   somebody's right to erasure (GDPR, article 17): these records, wherever their bodies are
    forget  the same right: the name that is kept of a person, beside the log
    prune   their time is over: the segments older than that, with their files

What is asked for is a record of kind `removal` before anybody is asked, and what is done is one of kind `erasure` or
`prune` (or `person`) that names both humans and why. A request that nobody agreed to within a week is none any more.

Nothing is erased while the gate still needs it: a request under way, a limit that counts it, an approval that a restart
has to remember.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ulid import ULID

import chron
from chron import Chron, ChronError
from chron.living import erase, locate, prune, spans_of
from policies import Human, State
from proxy import approvalrecords, breakglass
from proxy.pipeline import Gate
from proxy.questions import FieldValues
from proxy.refusing import Refused
from proxy.retention import RetentionConfig
from proxy.uses import longest_window

KIND = "removal"
WAITS = timedelta(days=7)
MAX_RECORDS = 100
MAX_SPAN = 100_000
"""A human who agrees to more looks at none of it."""

type What = Literal["erase", "forget", "prune"]

_WHATS: tuple[What, ...] = ("erase", "forget", "prune")


class RemovalRefused(Refused):
    """Nothing is let go."""

    desk = "removal"


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that a human wants to be gone."""

    what: What
    basis: str
    records: tuple[str, ...] = ()
    """Ids, to erase."""
    span: tuple[int, int] = (0, 0)
    """First and last of what to erase, where it is no list of ids."""
    human: str = ""
    """Whose name to forget."""
    before: datetime | None = None
    """The end of what to prune."""
    id: str = ""
    by: str = ""
    at: datetime = datetime.min
    """Who asked, and when; the desk says so, not the caller."""

    def fields(self) -> dict[str, str | int | bool | None]:
        """As it is recorded."""
        before = self.before.isoformat() if self.before else None
        return {
            "event": "removal-requested",
            "removal": self.id,
            "what": self.what,
            "requested_by": self.by,
            "basis": self.basis,
            "ids": " ".join(self.records) or None,
            "first": self.span[0] or None,
            "last": self.span[1] or None,
            "human": self.human or None,
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

    async def ask(self, human: Human, wanted: Removal) -> Removal:
        """Note that somebody wants this gone; as it is recorded. Raises RemovalRefused when it cannot be."""
        async with self._lock:
            now = self._gate.now()
            if wanted.what == "prune" and (wanted.before is None or wanted.before > now - self._config.least):
                least = self._config.least.days
                raise RemovalRefused(409, "young", f"nothing younger than {least} days is pruned; say an earlier time")
            await asyncio.to_thread(self._require, wanted)
            asked = replace(
                wanted, basis=chron.redacted_text(wanted.basis), id=f"rmv_{str(ULID()).lower()}", by=human.id, at=now
            )
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
            await asyncio.to_thread(self._require, asked)
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
            return prune(self._chron, folders, asked.before, said)
        if asked.what == "forget":
            return int(self._chron.forget(asked.human, said))
        return erase(self._chron, folders, self._spans(asked), said)

    def _require(self, wanted: Removal) -> None:
        """Raise RemovalRefused unless this can go now; blocks."""
        if wanted.what == "forget" and wanted.human not in chron.people(self._chron.path):
            raise RemovalRefused(404, "human", f"no name of {wanted.human} is kept; records say ids alone")
        if wanted.what == "erase":
            window = max(longest_window(self._gate.book.policies), approvalrecords.LOOK_BACK, breakglass.LOOK_BACK)
            before = self._gate.now() - window
            if wanted.span[1] - wanted.span[0] >= MAX_SPAN:
                raise RemovalRefused(409, "many", f"that is more than {MAX_SPAN} records; ask for less at once")
            for first, last in self._spans(wanted):
                if fault := chron.why_needed(self._chron.path, first, last, before):
                    raise RemovalRefused(409, "needed", fault)

    def _spans(self, wanted: Removal) -> list[tuple[int, int]]:
        if any(wanted.span):
            return [wanted.span]
        try:
            return spans_of(locate(self._chron.path, [self._config.folder], wanted.records))
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
    what: What = next((each for each in _WHATS if each == record.text("what")), "erase")
    before = record.text("before")
    return Removal(
        what,
        record.text("basis"),
        # Logs written before had the ids in "records", which everywhere else is a number.
        tuple((record.text("ids") or record.text("records")).split()),
        (int(record.fields.get("first", 0)), int(record.fields.get("last", 0))),
        record.text("human"),
        datetime.fromisoformat(before) if before else None,
        record.text("removal"),
        record.text("requested_by"),
        datetime.fromisoformat(record.text("ts")),
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
        "first": removal.span[0],
        "last": removal.span[1],
        "human": removal.human,
        "before": removal.before.isoformat(timespec="seconds") if removal.before else None,
    }
