"""What came of one stream at one engine, with nothing in it that must differ: no ids, no times, no engine."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from proxy.attack.reached import Reached

type Row = dict[str, Any]
type Said = tuple[int, int, str]
"""Of one answer: its status, how many records it names, and its body with their ids left out."""

_OF_ONE_GATE = frozenset({"id", "session", "request", "engine", "engine_version", "seq", "ref"})
_OF_ONE_MOMENT = frozenset({"ts", "at", "at_us", "duration_us", "v", "kind"})
"""Left out of decisions and outcomes; every other field must be the same."""
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_PORT = re.compile(r"(?<![0-9])[0-9]{4,5}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request at the origin, in the words of HTTP/1.1."""

    line: str
    fields: tuple[tuple[str, str], ...]
    """In their order, names in lower case, without those that frame the body."""
    framed: str
    """What frames it: "none", "length 5", "chunks"."""
    body: bytes
    fault: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: what was written down of it, what its agent was told, and what arrived."""

    rows: tuple[Row, ...]
    """Each decision with what its outcome says: `{"outcome": "DENY", ..., "then.result": "blocked"}`."""
    said: Said | None = None
    arrived: Arrived | None = None

    @property
    def refused_unread(self) -> bool:
        """Whether it was no request that could be read, to this engine."""
        return bool(self.rows) and all(row["outcome"] == "DENY" and row.get("stage") == "wire" for row in self.rows)

    @property
    def refused_early(self) -> bool:
        """Whether it was refused before anything was asked about what it does."""
        return bool(self.rows) and all(
            row["outcome"] == "DENY" and row.get("stage") in ("wire", "agent") for row in self.rows
        )

    @property
    def allowed(self) -> bool:
        """Whether it was let through."""
        return bool(self.rows) and all(row["outcome"] == "ALLOW" for row in self.rows)


type Told = tuple[Exchange, ...]


def unported(value: Any, ports: Mapping[str, str]) -> Any:
    """A value in which a gate's own ports, which some attacks are after, have names in place of numbers."""
    if not isinstance(value, str):
        return ports.get(str(value), value) if isinstance(value, int) else value
    return _PORT.sub(lambda found: ports.get(found[0], found[0]), value)


def arrived(reached: Reached) -> Arrived:
    """A request that came, as far as it is compared."""
    kept = tuple((name, value) for name, value in reached.fields if name not in _FRAMING)
    chunks, length = reached.values("transfer-encoding"), reached.values("content-length")
    framed = "chunks" if chunks else f"length {' '.join(length)}" if length else "none"
    return Arrived(reached.line, kept, framed, reached.body, reached.fault, reached.cut)


def told(
    decisions: Iterable[Mapping[str, Any]],
    outcomes: Mapping[str, Mapping[str, Any]],
    said: Sequence[Said],
    reached: Sequence[Arrived],
    *,
    http2: bool,
) -> Told:
    """Decisions with their outcomes, answers and arrivals, request by request; by HTTP/2 they have no order."""
    groups: dict[str, list[Row]] = {}
    for decision in decisions:
        row = _kept(decision)
        if (outcome := outcomes.get(decision["id"])) is not None:
            row |= {f"then.{name}": value for name, value in _kept(outcome).items()}
        groups.setdefault(decision["request"], []).append(row)
    asked = list(groups.values())
    if http2:
        asked.sort(key=lambda rows: (rows[0]["path"], rows[0]["method"]))
        reached = sorted(reached, key=lambda each: (each.line.split(" ")[1:], each.line))
    answers, arrivals = deque(said), list(reached)
    found = []
    for rows in asked:
        allowed = all(row["outcome"] == "ALLOW" for row in rows)
        came = _taken(arrivals, rows[0]["method"], rows[0]["path"]) if allowed else None
        found.append(Exchange(tuple(rows), answers.popleft() if answers else None, came))
    found += [Exchange((), answer) for answer in answers if answer[0]]
    # The end of one that was cut off may be seen when the next stream is on its way, and nobody acts on such a one.
    found += [Exchange((), None, arrival) for arrival in arrivals if not arrival.cut]
    return tuple(found)


def _taken(arrivals: list[Arrived], method: str, path: str) -> Arrived | None:
    """What arrived of a request: the first of its name, else of its method; a path may be redacted in the record."""
    named = [each for each in arrivals if re.match(rf"{re.escape(method)} {re.escape(path)}[ ?]", each.line)]
    likely = [*named, *(each for each in arrivals if each.line.startswith(f"{method} "))]
    likely.sort(key=lambda each: each.cut)
    if not likely:
        return None
    arrivals.remove(likely[0])
    return likely[0]


def _kept(record: Mapping[str, Any]) -> Row:
    kept = {name: value for name, value in record.items() if name not in _OF_ONE_GATE | _OF_ONE_MOMENT}
    if isinstance(kept.get("port"), str):
        kept["request_digest"] = ""  # its port is the gate's own
    return kept


def differing(one: Told, other: Told) -> list[str]:
    """Where two are different, a line each; nothing when they are the same."""
    lines = []
    for number, (ours, theirs) in enumerate(zip_longest(one, other)):
        if ours is None or theirs is None:
            lines.append(f"{number}: only with {'fast' if ours is None else 'mitmproxy'}: {ours or theirs}")
        else:
            lines += [f"{number}: {line}" for line in _within(ours, theirs)]
    return lines


def _within(one: Exchange, other: Exchange) -> list[str]:
    lines = []
    if one.said != other.said:
        lines.append(f"said: {one.said!r} and {other.said!r}")
    if (one.arrived is None) != (other.arrived is None):
        lines.append(f"arrived: {one.arrived!r} and {other.arrived!r}")
    elif one.arrived is not None and other.arrived is not None:
        pairs = (
            (each.name, getattr(one.arrived, each.name), getattr(other.arrived, each.name)) for each in fields(Arrived)
        )
        lines += [f"arrived.{name}: {a!r} and {b!r}" for name, a, b in pairs if a != b]
    if len(one.rows) != len(other.rows):
        return [*lines, f"rows: {one.rows!r} and {other.rows!r}"]
    for ours, theirs in zip(one.rows, other.rows, strict=True):
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        lines += [f"row.{name}: {ours.get(name)!r} and {theirs.get(name)!r}" for name in names]
    return lines
