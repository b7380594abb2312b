"""From the records of activations to the versions in force; pure, and the only reader of their meaning.

A version of a skill or policy is put in force by an act of a human, and the record of that act is the pointer:
what was activated last counts, until something else is. Records come oldest first, as plain fields.

    activated             this version is in force from here on
    retired               no version is
    activation-requested  somebody wants one of these two; nothing changes yet
    activation-refused    somebody said no to that
    simulated             these very texts were tried against what happened

    chr_01k...: an activation without "text_digest"; verify the Chron
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from mappings.documents import Fault, Place
from policies.rulebook import Activations, TextKey
from policies.values import PolicyError, TextRef

type Fields = Mapping[str, str | int | bool]
type Kind = Literal["policy", "skill"]
type Name = tuple[Kind, str]
"""Which text, whatever its version."""

EVENTS = frozenset({"activated", "retired", "activation-requested", "activation-refused", "simulated"})

REQUEST_LIFETIME = timedelta(days=7)
"""How long a request waits for a second human; what nobody looked at for a week was not wanted."""
SIMULATION_LIFETIME = timedelta(days=1)
"""How old a simulation may be when an activation names it: since then the agents went on doing things."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an activation does to one text."""

    ref: TextRef
    """What is to be in force; version 0, without a digest, means none."""
    previous: int = 0
    """The version in force before; 0 means none."""

    @property
    def name(self) -> Name:
        """Which text it is about."""
        return self.ref.kind, self.ref.id

    @property
    def retires(self) -> bool:
        """Say whether it puts a text out of force."""
        return self.ref.version == 0


@dataclass(frozen=True, slots=True)
class Activation:
    """One change that took effect."""

    id: str
    """ "act_...": the same for all texts of one act."""
    change: Change
    at: datetime
    by: str
    approved_by: str = ""
    simulation: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Changes that somebody asked for and nobody else has confirmed yet."""

    id: str
    changes: tuple[Change, ...]
    at: datetime
    by: str
    simulation: str = ""

    def expired(self, at: datetime) -> bool:
        """Say whether it waited too long."""
        return at >= self.at + REQUEST_LIFETIME


@dataclass(frozen=True, slots=True)
class Simulation:
    """Texts that were tried against what happened."""

    report: str
    """SHA-256 of the report, lower-case hex."""
    texts: frozenset[str]
    """ "skill:deploy-v2@3:<digest>", each."""
    at: datetime
    """When somebody vouched for it."""
    since: datetime
    until: datetime
    """The time in between is what was decided again."""
    flips: int
    by: str

    def fault(self, changes: Iterable[Change], window: timedelta, at: datetime) -> str:
        """Say why it is no ground for these changes; "" when it is one."""
        wanted = {spelled(change.ref) for change in changes if not change.retires}
        if self.texts != wanted:
            return "that simulation was of other texts; simulate exactly the ones that are activated"
        # Of the two times the older one counts: what is vouched for today may have ended long ago.
        if at >= min(self.at, self.until) + SIMULATION_LIFETIME:
            return "that simulation is older than a day; simulate again"
        if self.until - self.since < window:
            return f"that simulation goes back less than {window.days} days; simulate more of the past"
        return ""


def spelled(ref: TextRef) -> str:
    """Return a version with its digest, as records of simulations list it."""
    return f"{ref.kind}:{ref.id}@{ref.version}:{ref.digest}"


@dataclass(frozen=True, slots=True)
class History:
    """Everything that was done to versions, as far as it is recorded."""

    activations: tuple[Activation, ...] = ()
    """Oldest first."""
    waiting: Mapping[str, Request] = field(default_factory=dict)
    """By id, oldest first; also those that expired."""
    simulations: Mapping[str, Simulation] = field(default_factory=dict)
    """By report."""

    def last(self, kind: Kind, name: str) -> Activation | None:
        """Return the act that a text's pointer stands on; None when there was none."""
        return next((each for each in reversed(self.activations) if each.change.name == (kind, name)), None)

    def with_changes(self, changes: Iterable[Change], at: datetime) -> History:
        """Return what the history would be, had these changes taken effect."""
        return replace(self, activations=(*self.activations, *(Activation("", each, at, "") for each in changes)))

    def in_force(self, *, required: bool, texts: Mapping[TextKey, str] | None = None) -> Activations:
        """Return which versions this puts in force; `texts` are those the Chron kept."""
        active: dict[tuple[str, str], tuple[int, str]] = {}
        approved: set[tuple[str, str, int, str]] = set()
        for each in self.activations:
            ref = each.change.ref
            active[each.change.name] = (ref.version, ref.digest)
            if not each.change.retires:
                approved.add((ref.kind, ref.id, ref.version, ref.digest))
        return Activations(active, frozenset(approved), required, texts or {})

    def was_activated(self, ref: TextRef) -> bool:
        """Say whether this very text was in force by an activation before."""
        return any(each.change.ref == ref for each in self.activations)


def read_history(records: Iterable[Fields]) -> History:
    """Return what the records of kind "policy" say; raise PolicyError when one of them cannot be read."""
    activations: list[Activation] = []
    requests: dict[str, Request] = {}
    simulations: dict[str, Simulation] = {}
    for record in records:
        event = record.get("event")
        if event not in EVENTS:
            continue
        try:
            if event == "simulated":
                simulation = _simulation(record)
                simulations[simulation.report] = simulation
                continue
            id_ = str(record.get("activation", ""))
            if event == "activation-requested":
                requests[id_] = _with_change(requests.get(id_), record)
            else:
                requests.pop(id_, None)
                if event != "activation-refused":
                    activations.append(_activation(record))
        # An activation that cannot be read may have taken something out of force: none is skipped.
        except (KeyError, ValueError, TypeError) as wrong:
            place = Place(str(record.get("id", "?")), 1, 1)
            message = f'a record of the event "{event}" cannot be read ({wrong}); run "claiim chron verify"'
            raise PolicyError([Fault(place, message)]) from None
    return History(tuple(activations), requests, simulations)


def change_fields(change: Change) -> dict[str, str | int | None]:
    """Return how a change stands in a record; `read_history` reads it back."""
    return {
        "text_kind": change.ref.kind,
        "text_id": change.ref.id,
        "text_version": change.ref.version,
        "text_digest": change.ref.digest or None,
        "previous_version": change.previous or None,
    }


def _change(record: Fields) -> Change:
    kind = record["text_kind"]
    if kind not in ("policy", "skill"):
        raise ValueError(f'"{kind}" is no kind of text')
    version = int(record["text_version"])
    digest = str(record.get("text_digest", "") if version == 0 else record["text_digest"])
    ref = TextRef("skill" if kind == "skill" else "policy", str(record["text_id"]), version, digest)
    return Change(ref, int(record.get("previous_version", 0)))


def _activation(record: Fields) -> Activation:
    return Activation(
        str(record.get("activation", "")),
        _change(record),
        _at(record["ts"]),
        str(record["by"]),
        str(record.get("approved_by", "")),
        str(record.get("simulation", "")),
    )


def _with_change(begun: Request | None, record: Fields) -> Request:
    change = _change(record)
    if begun is not None:
        return replace(begun, changes=(*begun.changes, change))
    by, simulation = str(record["by"]), str(record.get("simulation", ""))
    return Request(str(record["activation"]), (change,), _at(record["ts"]), by, simulation)


def _simulation(record: Fields) -> Simulation:
    return Simulation(
        str(record["report"]),
        frozenset(str(record["texts"]).split()),
        _at(record["ts"]),
        _at(record["since"]),
        _at(record["until"]),
        int(record.get("flips", 0)),
        str(record["by"]),
    )


def _at(text: object) -> datetime:
    at = datetime.fromisoformat(str(text))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


__all__: Sequence[str] = [
    "REQUEST_LIFETIME",
    "SIMULATION_LIFETIME",
    "Activation",
    "Change",
    "History",
    "Kind",
    "Name",
    "Request",
    "Simulation",
    "change_fields",
    "read_history",
    "spelled",
]
