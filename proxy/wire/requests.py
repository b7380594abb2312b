"""The requests of one agent's connection: whose they are, what is judged of them, and what is open when it is ended.

An engine reads them and moves their bytes. Here is what may not differ between engines: what is asked about a head
before anything else, who is asked again and when, what counts as under way, and whom a sweep stops.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from mappings import Problem
from policies import Credential, Decision
from proxy.facts import Inbound
from proxy.identity import NOBODY, Unproven
from proxy.messages import Word, as_post, close_reason, error_message, read_message
from proxy.quotas import HELD
from proxy.verdicts import Ending, Head, Verdict
from proxy.wire.arrivals import Arrival, Tunnel
from proxy.wire.crowd import Body, Seat
from proxy.wire.exchanges import Exchange
from proxy.wire.failing import late_head
from proxy.wire.passing import serialise
from proxy.wire.sweeping import Refusing

if TYPE_CHECKING:
    from proxy.wire.engine import Engine

OTHER_SCHEME = Problem("wire.scheme", "use CONNECT for https; a plain proxied request is for http")


class Requests:
    """All of one connection."""

    def __init__(self, engine: "Engine", arrival: Arrival, seat: Seat, client: str) -> None:
        self._engine = engine
        self._gate = engine.gate
        self._arrival = arrival
        self._seat = seat
        self._client = client
        self.open: dict[str, Exchange] = {}
        """Those forwarded that have no ending yet, by their keys."""
        self.under_way: dict[str, Exchange] = {}
        """Those of agents that are proven, from their head to their end."""
        self.begun = 0
        """How many there were."""

    # --- who asks, and for what ----------------------------------------------------------------------

    def who(self, presented: Sequence[str]) -> Credential | Unproven:
        """Whose a request is: what was presented with it, and what its connection and its listener prove."""
        arrival = self._arrival
        return self._gate.who(presented, arrival.certificate, arrival.identities(self._client))

    def head(
        self, inbound: Inbound, presented: Sequence[str], malformed: str | None, tunnel: Tunnel | None
    ) -> tuple[Head, str]:
        """What is to be judged of a request, and whose request under way it counts as; "" where it counts as nobody's.

        Who asks is looked up anew for each: what was right when the tunnel was opened may have ended since.
        """
        gate, who = self._gate, self.who(presented)
        if isinstance(who, Problem):
            head = gate.malformed_head(inbound, NOBODY, who)
        elif malformed is not None:
            head = gate.malformed_head(inbound, who, Problem("wire.malformed", malformed))
        elif tunnel is None and inbound.scheme != "http":
            head = gate.malformed_head(inbound, who, OTHER_SCHEME)
        else:
            head = gate.read_head(inbound, who)
        agent = "" if head.flood else head.credential.agent
        if agent and (too_much := self._engine.begin(self._seat, agent)):
            head, agent = gate.malformed_head(inbound, head.credential, too_much), ""
        return head, agent

    def body_read(self, exchange: Exchange, given_up: Problem | None) -> None:
        """A body is read as far as it will be: who asks is looked up again, for it may have taken its time."""
        inbound, who = exchange.head.inbound, self.who(exchange.presented)
        if isinstance(who, Unproven):
            exchange.head = self._gate.malformed_head(inbound, NOBODY, who)
        elif given_up is not None:
            exchange.head = self._gate.malformed_head(inbound, who, given_up)

    async def connect(
        self, inbound: Inbound, presented: Sequence[str], malformed: str | None = None
    ) -> tuple[Verdict | Head | tuple[str, int], Credential | None]:
        """What a CONNECT comes to: a refusal, a head where it passes unread, or host and port; and whose tunnel it is.

        A tunnel that passes unread is one request; of another each request in it counts.
        """
        gate, who, authority = self._gate, self.who(presented), inbound.uri_authority
        if malformed is not None and not isinstance(who, Unproven):
            return await self._refused(inbound, who, Problem("wire.malformed", malformed)), None
        opened = await gate.open_tunnel(inbound, who, authority)
        if isinstance(opened, Verdict):
            return opened, None
        if isinstance(who, Unproven):
            raise TypeError("nobody's tunnel was opened")
        begin = self._engine.begin if isinstance(opened, Head) else self._engine.crowd.prove
        if too_many := begin(self._seat, who.agent):
            return await self._refused(inbound, who, too_many), None
        return opened, who

    async def _refused(self, inbound: Inbound, who: Credential, problem: Problem) -> Verdict:
        return await self._gate.judge(self._gate.malformed_head(inbound, who, problem), None)

    async def unreadable(self, problem: Problem, tunnel: Tunnel | None, glimpse: bytes) -> bytes:
        """The answer to a head that is no HTTP, recorded; b"" when none can be made. `glimpse` is what came of it."""
        who: Credential | Unproven = tunnel.credential if tunnel else NOBODY
        if who is NOBODY:
            who = self.who(())  # what it presents cannot be read; what its listener proves is known
        if isinstance(who, Unproven):
            who = NOBODY
        if who is NOBODY:
            # Whoever it is, asking for credentials would not help: those that it may bring cannot be read.
            problem = Unproven(problem.code, f"wire -- {problem.message}")
        head = self._gate.malformed_head(self._unread(tunnel, glimpse), who, problem)
        verdict = await self._gate.judge(head, None)
        return serialise(verdict.answer) if verdict.answer is not None else b""

    def late(self, tunnel: Tunnel | None, glimpse: bytes) -> bytes:
        """The answer to a head that has not come in time; `glimpse` is what came of it."""
        return serialise(late_head(self._gate, self._unread(tunnel, glimpse)))

    def _unread(self, tunnel: Tunnel | None, glimpse: bytes) -> Inbound:
        """What is known of a request whose head could not be read, or has not come."""
        host, port = (tunnel.host, tunnel.port) if tunnel else self._arrival.redirected or ("", 0)
        return Inbound(
            method="",
            scheme="http",
            target="",
            fields=(),
            client=self._client,
            tunnel=(host, port) if tunnel else None,
            uri_authority=f"{host}:{port}" if host else "",
            listener=self._arrival.name,
            glimpse=glimpse,
        )

    async def refuse_tunnel(self, key: str, exchange: Exchange, why: str) -> Verdict:
        """What was found in a tunnel may not pass: its ending, and a record of why."""
        facts = exchange.head.facts
        authority = facts.wire_authority if facts is not None else ""
        problem = Problem("wire.tunnel", f"the tunnel is for {authority} and nothing else: {why}")
        self.finish(key, "blocked", error=f"wire -- {problem.message}")
        head = self._gate.malformed_head(exchange.head.inbound, exchange.head.credential, problem)
        return await self._gate.judge(head, None)

    async def judge_message(
        self, exchange: Exchange, packs: frozenset[str], content: bytes, *, is_text: bool
    ) -> tuple[str, str | None] | Literal[Word.ALLOWED]:
        """Decide on a WebSocket message as on the POST that it would be.

        Where it may not pass, the reason to close the connection with, and the answer where its protocol has one.
        """
        read = read_message(packs, content, is_text=is_text)
        if read is Word.ASKS_NOTHING:
            return Word.ALLOWED
        gate, who, inbound = self._gate, self.who(exchange.presented), as_post(exchange.head.inbound)
        if isinstance(who, Problem):
            head = gate.malformed_head(inbound, NOBODY, who)
        elif problem := gate.quotas.pace(who.agent) or read.problem:
            head = gate.malformed_head(inbound, who, problem)
        else:
            head = gate.read_head(inbound, who)
        verdict = await gate.judge(head, read.body)
        if verdict.answer is None:
            # Passed on at once, and what comes of it is no answer of HTTP.
            gate.finish(verdict, Ending("sent", None, len(content)))
            return Word.ALLOWED
        if verdict.refusal is None:
            raise TypeError("a refusal without words")
        return close_reason(verdict.refusal), error_message(read, verdict.refusal)

    # --- from one end to the other -------------------------------------------------------------------

    def hold(self, exchange: Exchange, data: bytes) -> Problem | None:
        """Keep a piece of a body until it is judged; the problem if there is no room for it."""
        if not self._gate.quotas.hold(exchange.agent, len(data)):
            return HELD
        exchange.held_bytes += len(data)
        return None

    def let_go(self, exchange: Exchange) -> None:
        """Keep nothing more of its body."""
        exchange.reading = None
        if exchange.held_bytes:
            self._gate.quotas.let_go(exchange.agent, exchange.held_bytes)
            exchange.held_bytes = 0

    def opened(self, key: str, exchange: Exchange, give_up: Callable[[], None]) -> None:
        """A verdict forwards: from here on it needs an ending. `give_up` ends it, for want of an answer."""
        self.open[key] = exchange
        self._engine.opened(key, exchange, give_up)

    def end(self, key: str) -> None:
        """A request has ended, or will be forwarded no more; said twice, it has ended once."""
        exchange = self.under_way.pop(key, None)
        if exchange is not None:
            self.let_go(exchange)
            self._gate.quotas.end(exchange.agent)

    def finish(self, key: str, result: str, *, status: int | None = None, error: str = "") -> None:
        """Record the ending of a forwarded request, once."""
        exchange = self._engine.closed(key)
        self.open.pop(key, None)
        if exchange is None or exchange.verdict is None:
            return
        ending = Ending(result, status, exchange.request_bytes, exchange.response_bytes, error)
        self._gate.finish(exchange.verdict, ending)

    def end_all(self) -> None:
        """The connection has ended: so has what is open on it, whatever failed to say so.

        If this is removed, one failure counts as a request under way until the gate is stopped: its agent may make one
        less, its decision has no outcome, and a stop waits for it.
        """
        self._engine.end(self.open)
        self.open.clear()
        for key in list(self.under_way):
            self.end(key)

    # --- what it costs, to the crowd -----------------------------------------------------------------

    def wait(self) -> bool:
        """Whether one waits for a verdict, or for its target to answer."""
        return any(not each.answered and each.reading is None for each in self.under_way.values())

    def bodies(self) -> Iterable[Body]:
        """What is being read to be judged."""
        return [each.reading for each in self.under_way.values() if each.reading is not None]

    def limited(self, code: str) -> None:
        """Count what a limit has ended that no single request went over."""
        self._gate.turn_away(self._seat.agent, self._client, code)

    # --- ended from outside --------------------------------------------------------------------------

    def stopped(self, refusal: Refusing) -> dict[str, Decision]:
        """The open ones of whoever may no longer act, by their keys, and why; each has its ending with this.

        A tunnel with nothing open stays: its next request is refused, with the reason. One that passes unread has no
        next request, so it is asked about as a whole.
        """
        stopped: dict[str, Decision] = {}
        for key, exchange in list(self.open.items()):
            who = self.who(exchange.presented)
            denied = self._gate.unproven(exchange.head, who) if isinstance(who, Unproven) else refusal(who)
            facts = exchange.head.facts
            if denied is None and facts is not None and facts.opaque:
                denied = self._gate.narrowed(exchange.head, facts)
            if denied is not None:
                self.end(key)
                self.finish(key, "failed", error=denied.reason)
                stopped[key] = denied
        return stopped

    def ends(self) -> Iterable[datetime | None]:
        """When the proofs end that what is open here was asked with."""
        return (exchange.head.credential.expires for exchange in self.open.values())
