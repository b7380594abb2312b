"""What came of a planted bug, and what must not: the one place that says which bug may be passed by, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

from proxy.attack.reached import Reached
from support.planting.requests import Answer, Request
from support.planting.sites import Site

_RAISES = ("exception", "cancelled", "hang")
SAYS_NOTHING = ("wrong type", "nothing")


def _each(names: Iterable[str], kinds: Iterable[str], why: str) -> dict[tuple[str, str], str]:
    return dict.fromkeys(product(names, kinds), why)


_MITM, _FAST = "proxy.mitm.connection.AgentConnection", "proxy.fast"
HARMLESS = {
    **_each(
        ["chron.log.Chron._flush", "chron.writer.Writer.flush"], _RAISES, "it writes outcomes; nobody waits for them"
    ),
    **_each(
        ["chron.writer.Writer._gather", "chron.writer.Writer._patience_s"],
        _RAISES,
        "the next turn of the log's thread: what it wrote in this one stands",
    ),
    **_each(
        [f"proxy.mitm.gathering.GatheringWriter.{name}" for name in ("drain", "flush")],
        _RAISES,
        "it is the agent's end that breaks",
    ),
    **_each(
        [f"{_MITM}.{name}" for name in ("_on_server_connected", "_on_tls_established_server", "_dialled")],
        _RAISES,
        "it stops the clock of a dialling",
    ),
    **_each(
        [f"proxy.mitm.layers.GateHttpLayer.{name}" for name in ("unread_bytes", "held_back_bytes")],
        _RAISES,
        "it is asked when what came has gone its way; a connection of which it cannot be told is closed",
    ),
    **_each(
        [f"proxy.wire.crowd.Crowd.{name}" for name in ("look", "_look_at", "_look_later", "_overdue", "stop")],
        _RAISES,
        "it looks once a second at all connections, and holds no request up",
    ),
    **_each([f"{_FAST}.http1.Http1Asked._come"], _RAISES, "it reads the answer, for which a long body does not wait"),
    **_each([f"{_FAST}.http1.Http1Asked.answer"], ["hang"], "it waits for the answer, for which a long body does not"),
    **_each([f"{_FAST}.streams.Tcp._wake"], _RAISES, "what has come is kept, as of an agent that hangs up behind it"),
    **_each([f"{_FAST}.flows.Flow._sent"], _RAISES, "the head is among the frames already, and what follows fails"),
    **_each(
        [f"proxy.*.AgentConnection.{name}" for name in ("bodies", "waits", "beginning", "heads", "moved")],
        _RAISES,
        "it is asked once a second of each connection, which is closed if it cannot tell",
    ),
}
"""Which function may fail, and how, while what is allowed arrives as it should, on record; and why."""
SILENT = {
    **_each(
        ["proxy.mitm.engine.Engine._bind"], ("exception", "cancelled"), "asyncio calls it, and drops what it raises"
    ),
    **_each([f"{_MITM}.hook_task"], ("exception", "cancelled"), "it is every hook: nobody reads, and nothing leaves"),
    **_each(
        ["proxy.mitm.trailers.SetAside.__call__"],
        SAYS_NOTHING,
        "by it the engine reads a body: told nothing it waits for more, and of anything else it asks again at once",
    ),
    **_each(
        [f"{_FAST}.engine.Engine._bind"], SAYS_NOTHING, "it is what asyncio tells of a connection: nobody hears of it"
    ),
    **_each(
        [f"{_FAST}.tls.Tls.{name}" for name in ("_shake_hands", "pending", "receive")],
        SAYS_NOTHING,
        "it is what TLS says to go on: without, more is waited for, and of what is behind it nothing is read",
    ),
    **_each(
        [f"{_FAST}.bodies.*._ends", f"{_FAST}.bodies._line"],
        SAYS_NOTHING,
        "it sees where a body ends: without, more is waited for as long as may be",
    ),
}
"""What can leave an agent without an answer, until a limit of time ends its connection; and why."""

UNENDED = {
    **_each(
        [f"proxy.wire.{name}.closed" for name in ("engine.Engine", "exchanges.Exchanges")],
        (*_RAISES, *SAYS_NOTHING),
        "it takes an exchange off the list, where it stays until the gate stops, and then gets its ending",
    ),
}
"""What can leave an exchange on the list of those that are open; and why."""


def listed(table: dict[tuple[str, str], str], site: Site, kind: str) -> bool:
    """Whether one of these tables has a function and a kind of bug in it."""
    where = site.name.partition(".<locals>")[0]
    return any(of_kind == kind and fnmatchcase(where, name) for name, of_kind in table)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one request into a gate with a bug."""

    site: Site
    kind: str
    request: Request
    met: bool
    """Whether the bug was come to."""
    held_up: bool
    """Whether it was come to before the request was on its way, so that it could hold it up."""
    undone: bool
    """Whether the bug is that a function whose annotation promises no value has done nothing: no caller can tell."""
    answer: Answer
    arrived: tuple[Reached | str, ...]
    unrecorded: int
    """How many of those that arrived have no record that allows them."""
    ended: bool
    """Whether no exchange was left open when its connection had ended."""
    serves: bool
    """Whether the next requests, with the bug taken out, went as they should."""
    shut: bool
    """Whether the gate has taken itself out of service, and says so."""

    @property
    def title(self) -> str:
        """What was done."""
        return f"{self.site.name}, {self.kind}, {self.request.name}"

    def _listed(self, table: dict[tuple[str, str], str]) -> bool:
        return listed(table, self.site, self.kind)

    def fault(self, meant: tuple[Reached | str, ...]) -> str:
        """What must not be; "" when all is well. `meant` is what arrives of the request without a bug."""
        if self.answer.late and not (self.undone or self._listed(SILENT)):
            return "neither an answer nor an end"
        if self.unrecorded:
            return f"{self.unrecorded} arrived without a record: {self.arrived}"
        if self.arrived and not self.request.allowed:
            return f"denied, and arrived: {self.arrived}"
        # Of one whose agent gave up while it hung, or got no answer as nothing was done, what had arrived until then.
        cut_short = self.kind == "hang" or self.undone
        if self.arrived and self.arrived != (meant[: len(self.arrived)] if cut_short else meant):
            return f"arrived as {self.arrived}, not as {meant}"
        if self.arrived and self.held_up and self.kind in _RAISES and not self._listed(HARMLESS):
            return "arrived"
        called_done = 100 < self.answer.status < 400 and not (self.answer.is_rpc_error or self.answer.says_it_waits)
        if not self.arrived and called_done and self.answer.status not in self.request.answered:
            return f"answered {self.answer.status}, and nothing arrived"
        if self.request.allowed and self.kind in ("exception", "cancelled") and self.answer.status == 403:
            return f"a failure of ours is called a denial: {self.answer.code}"
        if not (self.ended or self.undone or self._listed(UNENDED)):
            return "an exchange without an ending"
        return "" if self.serves or self.shut else "the next request is not served"


def unmasked(each: Reached) -> bytes:
    """What arrived, of WebSocket frames (all short) their payload: an engine masks it with another key each time."""
    if each.line != "(frames)":
        return each.body
    payload, rest = b"", each.body
    while len(rest) >= 6:
        end = 6 + (rest[1] & 0x7F)
        payload += bytes([rest[0], *(byte ^ rest[2 + at % 4] for at, byte in enumerate(rest[6:end]))])
        rest = rest[end:]
    return payload + rest


def count_requests(arrived: list[Reached | str]) -> int:
    """How many requests these are."""
    return sum(not isinstance(each, Reached) or each.line != "(frames)" for each in arrived)
