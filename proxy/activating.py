"""Putting versions in force: what a human asks for is looked at, recorded, and only then obeyed.

    activate deploy-v2@3    ->  activated, or requested where a second human has to say yes
    rollback deploy-v2      ->  the version that was in force before
    retire deploy-v2        ->  no version
    approve act_01k...      ->  what was requested takes effect, if nothing moved since

The rules with the change are loaded first: what does not load is never recorded. The record is on disk before the
pointer moves. Whatever is refused leaves everything as it was.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ulid import ULID

from chron import Chron, redacted_text
from policies import Human, State
from policies.choosing import ChoiceRefused, Verb, choose
from policies.versions import Change, History, Request, change_fields
from proxy.activations import known_versions, not_activated, recorded
from proxy.config import Config
from proxy.pipeline import Gate
from proxy.questions import FieldValues
from proxy.refusing import Refused

MAX_TEXTS = 64
"""Texts that one act puts in force together."""


class ActivationRefused(Refused):
    """No version is put in force, or out of it."""

    desk = "activation"


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an act."""

    request: Request
    in_force: bool
    """False while a second human has to say yes."""


class Loader(Protocol):
    """Loads the rules as they are with other versions in force; raises DocumentError when they do not load."""

    async def attempt(self, history: History) -> None:
        """Load them and keep their texts as evidence, without using them."""

    async def obey(self, history: History, records: Sequence[FieldValues]) -> None:
        """Load them, write these records of kind "policy" down, and use the rules from then on."""


class Activating:
    """Does what humans ask for, one act after the other."""

    def __init__(self, config: Config, chron: Chron, gate: Gate, loader: Loader) -> None:
        self._config = config
        self._rules = config.activation
        self._chron = chron
        self._gate = gate
        self._loader = loader
        self._lock = asyncio.Lock()
        self.history = recorded(config.chron)
        """As of the last act."""

    def waiting(self) -> list[str]:
        """Say what is not in force and might be meant to be, one line each."""
        requested = [f"{each.id} waits for another human than {each.by}" for each in self.requests()]
        return [*requested, *not_activated(self._gate.book.policies, self.history)]

    def requests(self) -> list[Request]:
        """Return what waits for a second human, oldest first."""
        at = self._gate.now()
        return [request for request in self.history.waiting.values() if not request.expired(at)]

    async def ask(self, human: Human, verb: Verb, names: Sequence[str], simulation: str = "") -> Done:
        """Put versions in force, or note that somebody wants it; raises ActivationRefused or DocumentError."""
        async with self._lock:
            history = await self._read()
            changes = await self._changes(verb, names, history)
            self._require_simulation(changes, simulation, history)
            request = Request(f"act_{str(ULID()).lower()}", changes, self._gate.now(), human.id, simulation)
            if self._rules.second_approver:
                await self._loader.attempt(history.with_changes(changes, request.at))
                await self._chron.append_many(
                    [("policy", _fields("activation-requested", request, each)) for each in changes]
                )
            else:
                await self._obey(request, "", history)
            await self._read()
            return Done(request, in_force=not self._rules.second_approver)

    async def approve(self, human: Human, id_: str, digests: Sequence[str]) -> Done:
        """Put in force what another human asked for; `digests` are those of the texts that are approved, in order."""
        async with self._lock:
            history = await self._read()
            request = self._waiting(id_, history)
            # If this is removed, one human alone activates what two should have looked at.
            if request.by == human.id:
                raise ActivationRefused(403, "self", "you asked for this; another human has to approve it")
            if list(digests) != [change.ref.digest for change in request.changes]:
                raise ActivationRefused(409, "digest", "these are not the digests that were asked for; look again")
            asked = self._gate.book.policies.humans.get(request.by)
            if asked is None or asked.state_at(self._gate.now()) is not State.ACTIVE:
                raise ActivationRefused(409, "asker", f"{request.by}, who asked for this, is not active any more")
            self._require_unmoved(request)
            await self._obey(request, human.id, history)
            await self._read()
            return Done(request, in_force=True)

    async def refuse(self, human: Human, id_: str, reason: str) -> Request:
        """Say no to what was asked for; whoever asked may take it back so."""
        async with self._lock:
            request = self._waiting(id_, await self._read())
            fields: FieldValues = {"activation": id_, "by": human.id, "reason": redacted_text(reason) or None}
            await self._chron.append("policy", {"event": "activation-refused", **fields})
            await self._read()
            return request

    async def _read(self) -> History:
        self.history = await asyncio.to_thread(recorded, self._config.chron)
        return self.history

    async def _changes(self, verb: Verb, names: Sequence[str], history: History) -> tuple[Change, ...]:
        known = await asyncio.to_thread(known_versions, self._config, history)
        try:
            chosen = [choose(verb, name, known, history, self._gate.book.policies.in_force) for name in names]
        except ChoiceRefused as refused:
            raise ActivationRefused(404 if refused.code == "unknown" else 409, refused.code, str(refused)) from None
        if len({change.name for change in chosen}) < len(chosen):
            raise ActivationRefused(409, "twice", "one text is named twice; of each one version is in force")
        return tuple(chosen)

    def _require_simulation(self, changes: Sequence[Change], report: str, history: History) -> None:
        # What was in force once was looked at then, and going back to it must not take a day's work.
        new = [each for each in changes if not each.retires and not history.was_activated(each.ref)]
        if not report and not (self._rules.simulation and new):
            return
        simulation = history.simulations.get(report)
        if simulation is None:
            remedy = 'run "claiim policy simulate --record" and name its report with --simulation'
            raise ActivationRefused(409, "simulation", f"a recorded simulation is needed; {remedy}")
        if fault := simulation.fault(changes, self._rules.window, self._gate.now()):
            raise ActivationRefused(409, "simulation", fault)

    def _waiting(self, id_: str, history: History) -> Request:
        request = history.waiting.get(id_)
        if request is None:
            raise ActivationRefused(404, "unknown", "nothing with this id waits; it may be done or refused")
        if request.expired(self._gate.now()):
            raise ActivationRefused(409, "expired", "this waited for too long; ask for it again")
        return request

    def _require_unmoved(self, request: Request) -> None:
        in_force = self._gate.book.policies.in_force
        for change in request.changes:
            current = in_force.get(change.name)
            if (current.version if current else 0) != change.previous:
                moved = f"another version of {change.ref.kind}:{change.ref.id} was put in force since"
                raise ActivationRefused(409, "moved", f"{moved}; ask for this again")

    async def _obey(self, request: Request, approved_by: str, history: History) -> None:
        records = [
            {
                **_fields("retired" if change.retires else "activated", request, change),
                "approved_by": approved_by or None,
            }
            for change in request.changes
        ]
        await self._loader.obey(history.with_changes(request.changes, self._gate.now()), records)


def _fields(event: str, request: Request, change: Change) -> FieldValues:
    return {
        "event": event,
        "activation": request.id,
        **change_fields(change),
        "by": request.by,
        "simulation": request.simulation or None,
    }
