"""One request, from its head to its ending: judged, and then answered by us or forwarded.

    head -> [body, where a rule asks for it] -> verdict -> our answer
                                                        -> target -> its answer -> ending

There is one way to a target, `_forward`, and it begins with a verdict that forwards. Whatever fails before an answer
has begun is answered; whatever fails after that breaks the answer off, so that nobody takes a part for the whole.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from mappings import Problem
from proxy.chaining import REFUSED_WORDS
from proxy.facts import Facts, Inbound
from proxy.fast import asking
from proxy.fast.calls import Asked, Broken, Call, Gone
from proxy.fast.heads import AnswerHead, Fields, NotHttp
from proxy.fast.http1 import MAX_ANSWER_HEAD_BYTES
from proxy.fast.relaying import relay
from proxy.fast.streams import Stream, nothing
from proxy.fast.targets import binds_identity
from proxy.refusals import Answer
from proxy.verdicts import Verdict
from proxy.wire.crowd import BODY_TIME, Body
from proxy.wire.exchanges import Exchange
from proxy.wire.failing import internal_error, upstream_failure
from proxy.wire.passing import covers_upgrade, fit_trailers, marked, redirected_here, unforged
from proxy.wire.signs import MOST, SignsOfLife, passes_over

if TYPE_CHECKING:
    from proxy.fast.connection import AgentConnection

_log = logging.getLogger(__name__)

_BODY_TOO_SLOW = Problem(BODY_TIME, "the body that a rule depends on did not come in time")
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, 9.2.2: what may be sent again when a connection was closed before it was answered (RFC 9112, 9.3.1)."""
_CLIENT_GONE = "client disconnected"
_INTERIM_BYTES = 32
"""What an interim response counts for beside its fields; all of one answer may have what its head may."""

_keys = itertools.count(1)


class Serving:
    """Serves one request."""

    def __init__(
        self, connection: "AgentConnection", call: Call, malformed: str | None, exchange: Exchange | None = None
    ) -> None:
        self.connection = connection
        self.call = call
        call.leave = self.leave
        self.key = f"fast-{next(_keys)}"
        self._engine = connection.engine
        self._gate = connection.gate
        self._task: asyncio.Task[None] | None = None
        self._asked: Asked | None = None
        self._carried: Stream | None = None
        """The target's connection, when what passes on it is no HTTP."""
        self._interruptible = False
        """Whether the agent's leaving ends what is going on at once."""
        self._left = False
        self._begun = False
        """Whether the agent was sent the head of an answer."""
        self._reached = False
        """Whether the target may have got anything of the request."""
        self._judged_body: bytes | None = None
        """What was read of the body to judge by, and is still to be sent."""
        self._overdue: asyncio.Timeout | None = None
        self._dialling: asyncio.Timeout | None = None
        self._sending: asyncio.Task[None] | None = None
        """Passes the body on while the answer is waited for."""
        self.hung_up = False
        """Whether the rest of the request is not waited for."""
        self.exchange: Exchange = exchange or self._head(malformed or call.malformed)
        if self.exchange.agent:
            connection.requests.under_way[self.key] = self.exchange

    # --- the head ------------------------------------------------------------------------------------

    def _head(self, malformed: str | None) -> Exchange:
        tunnel = self.connection.tunnel
        if tunnel is not None and tunnel.presented is not None:
            presented = tunnel.presented
        else:
            presented = tuple(value.decode("latin-1") for value in self.call.head.all(b"proxy-authorization"))
        head, agent = self.connection.requests.head(self._inbound(), presented, malformed, tunnel)
        return Exchange(head, presented, agent)

    def _inbound(self) -> Inbound:
        connection, head = self.connection, self.call.head
        tunnel = connection.tunnel
        if tunnel is not None:
            scheme = tunnel.scheme or ("https" if connection.secure else "http")
        else:
            scheme = head.scheme.decode("latin-1") or "http"
        return Inbound(
            method=head.method.decode("latin-1"),
            scheme=scheme if scheme in ("http", "https") else "http",
            target=head.target.decode("latin-1"),
            fields=head.fields,
            client=connection.client,
            tunnel=(tunnel.host, tunnel.port) if tunnel else None,
            sni=connection.sni,
            uri_authority=head.authority.decode("latin-1"),
            bodiless=self.call.bodiless,
            listener=connection.arrival.name,
            fixed=bool(tunnel and tunnel.scheme),
        )

    # --- from the head to the end --------------------------------------------------------------------

    async def run(self) -> None:
        """Serve it. Never raises but for a cancellation from outside, and Gone."""
        self._task = asyncio.current_task()
        try:
            await self._run()
        except Gone:
            self.finish("failed", error=_CLIENT_GONE)
            raise
        except asyncio.CancelledError:
            await self._after_a_cancellation()
        except Exception:
            _log.exception("serving a request failed; it is refused")
            self.finish("failed", error="the gate failed")
            await self._after_a_failure()
        finally:
            try:
                self.finish("failed", error="the gate failed")  # whatever has ended it without a word
            finally:
                self._part()

    def _part(self) -> None:
        """It has ended, with its ending written or not: nothing goes on at the target, and nothing is held for it."""
        try:
            self.break_off()
        finally:
            # What refers back to it would keep the request until Python's collector looks for it.
            self.call.leave = nothing
            self._task = self._sending = self._asked = self._carried = None
            self._end()

    async def _run(self) -> None:
        exchange = self.exchange
        if exchange.head.needs_body:
            verdict = await self._judge_by_body()
        else:
            verdict = await self._judge(None)
        exchange.verdict = verdict
        if verdict.answer is not None:
            self._end()
            await self._respond(verdict.answer)
            return
        self._open()  # first of all, so that whatever fails from here on is the outcome of the decision
        self.connection.requests.let_go(exchange)
        if self._left:
            raise Gone(_CLIENT_GONE)
        await self._forward(verdict)

    async def _after_a_cancellation(self) -> None:
        """By the agent's leaving, by who ends the connection, or by nobody: then it came out of a bug."""
        task = self._task
        if task is None or not task.cancelling():
            _log.exception("serving a request broke off; it is refused")
            self.finish("failed", error="the gate failed")
            await self._after_a_failure()
        elif self._left:
            task.uncancel()
            self.finish("failed", error=_CLIENT_GONE)
            raise Gone(_CLIENT_GONE) from None
        else:
            self.finish("failed", error="the connection ended")
            raise asyncio.CancelledError

    async def _after_a_failure(self) -> None:
        """No request without an answer: a failure of ours says so, or ends the connection.

        If the second condition is removed, what was done is called refused, and somebody does it again.
        """
        if self._begun or self._reached:
            self.call.abort()
            return
        try:
            await self._respond(internal_error())
        except Exception:
            _log.exception("even the refusal failed; the connection is closed")
            self.call.abort()

    async def _respond(self, answer: Answer) -> None:
        fields: Fields = answer.fields
        if self.call.http2:
            fields = tuple((name.lower(), value) for name, value in fields)
        await self._stop_sending()
        if not self.call.complete:
            self.call.last()
        self._begun = True
        self.call.begin(answer.status, answer.phrase, fields, self.exchange.head.inbound.method)
        await self.call.send(answer.body)
        await self.call.end()

    # --- judging -------------------------------------------------------------------------------------

    async def _judge(self, body: bytes | None, *, complete: bool = True) -> Verdict:
        exchange = self.exchange
        head = exchange.head
        if not head.may_hold:
            return await self._gate.judge(head, body, complete=complete)
        exchange.gone = asyncio.get_running_loop().create_future()
        if self._left:
            exchange.leave()
        call, request = self.call, self.call.head
        agent = b"".join(request.all(b"user-agent")).decode("latin-1")
        wanted = call.http2 or passes_over(head.inbound.method, request.version, agent)
        every_s, most = self._engine.keep_alive_s if wanted else 0, math.inf if call.http2 else MOST
        signs = SignsOfLife(self._sign_of_life, every_s, self._engine.later, most)
        try:
            return await self._gate.judge(head, body, complete=complete, gone=exchange.gone)
        finally:
            signs.cancel()

    async def _sign_of_life(self) -> None:
        if not self._begun:
            self.call.sign_of_life()

    async def _judge_by_body(self) -> Verdict:
        """Read the body as far as may be, and judge by it."""
        exchange = self.exchange
        given_up: Problem | None = None
        self._expected()
        try:
            async with asyncio.timeout(None) as self._overdue:
                exchange.reading = Body(self._body_is_overdue)
                body, complete, given_up = await self._read_body()
        except TimeoutError:
            body, complete, given_up = b"", False, _BODY_TOO_SLOW
            self.hung_up = True
        except NotHttp as error:
            body, complete, given_up = b"", False, Problem("wire.malformed", f"the body cannot be read: {error}")
            self.hung_up = True
        finally:
            self._overdue = exchange.reading = None
        self.connection.requests.body_read(exchange, given_up)
        self._judged_body = body
        # Of a longer one exactly so much: what is judged and recorded does not hang on the pieces in which it came.
        return await self._judge(body if complete else body[: self._engine.max_body_bytes], complete=complete)

    async def _read_body(self) -> tuple[bytes, bool, Problem | None]:
        """What was read of the body, whether that is all of it, and why no more was read, but for its length."""
        body = bytearray()  # in pieces as they come, two bytes would take the memory of fifty
        while (piece := await self.call.read()) is not None:
            body += piece
            if len(body) > self._engine.max_body_bytes:
                return bytes(body), False, None
            if problem := self.connection.requests.hold(self.exchange, piece):
                return b"", False, problem
        self._require_whole()
        return bytes(body), True, None

    def _require_whole(self) -> None:
        """Raise RuntimeError where a body has ended before it was whole: as such it is neither judged nor sent."""
        if not self.call.complete:
            raise RuntimeError("a body ended before it was whole")

    def _body_is_overdue(self) -> None:
        _run_out(self._overdue)

    def _expected(self) -> None:
        """Ask for the body of a client that waits to be asked (RFC 9110, 10.1.1)."""
        if b"".join(self.call.head.all(b"expect")).lower() == b"100-continue" and not self.call.complete:
            self.call.interim(100)

    # --- forwarding ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """From here on it needs an ending."""
        self.connection.open[self.key] = self
        self.connection.requests.opened(self.key, self.exchange, self.break_off)

    async def _forward(self, verdict: Verdict) -> None:
        """Send the canonical request to the checked address, and the answer back."""
        if verdict.facts is None or verdict.route is None or verdict.answer is not None:
            raise RuntimeError("no verdict lets this be forwarded")
        self._interruptible = True
        try:
            answer = await self._ask(verdict, verdict.facts)
        except Broken as error:
            self._interruptible = False
            await self._tell_failure(verdict, str(error))
            return
        try:
            if answer.status == 101:
                await self._switch(verdict, answer)
            else:
                await self._pass_on(verdict, answer)
        except Broken as error:
            self.finish("failed", error=str(error))
            self.call.abort()
            raise Gone("the answer could not be finished") from None

    async def _tell_failure(self, verdict: Verdict, message: str) -> None:
        self.finish("failed", error=message)
        if verdict.refusal is None:
            await self._respond(internal_error())
        else:
            failure = upstream_failure(verdict, verdict.refusal, message, timed_out=self.exchange.timed_out)
            await self._respond(failure)

    async def _ask(self, verdict: Verdict, facts: Facts) -> AnswerHead:
        """Send the request; the head of its answer. Where nothing can have been done of it, it is sent again, once."""
        place, request = asking.place(verdict, self.call), asking.request(verdict, self.call, self._judged_body)
        for last in (False, True):
            reused, self._reached = False, True
            try:
                reused, self._asked = await self._in_time(self._engine.targets.ask(place, request))
                return await self._answer(self._asked, verdict)
            except Broken as error:
                asked, self._asked = self._asked, None
                if asked is not None:
                    asked.abort()
                closed_meanwhile = reused and self._repeatable(facts) and asked is not None and not asked.heard
                if last or self.exchange.timed_out or not (closed_meanwhile or self._undone(error)):
                    raise
                self.exchange.request_bytes = 0
        raise RuntimeError("it was sent twice and came to no end")

    async def _in_time(self, asking: Awaitable[tuple[bool, Asked]]) -> tuple[bool, Asked]:
        """Dial, if need be, while there is time for an answer; raises Broken when that has run out.

        It is looked at once, and while this goes on there is nothing asked that could be given up.
        """
        try:
            async with asyncio.timeout(None) as self._dialling:
                reused, asked = await asking
        except TimeoutError:
            raise Broken("connect timeout") from None
        finally:
            self._dialling = None
        if self.exchange.timed_out:
            asked.abort()
            raise Broken("connect timeout")
        return reused, asked

    def _undone(self, error: Broken) -> bool:
        """Whether the target has said that it did nothing of the request, and all of it can be sent again."""
        return error.unprocessed and self._at_hand()

    def _repeatable(self, facts: Facts) -> bool:
        return facts.request.method in _IDEMPOTENT and self._at_hand()

    def _at_hand(self) -> bool:
        """Whether all of the request's body is still here: what was passed on as it came is not.

        Without the second condition it would go again with its length and no body, and whatever is sent next on that
        connection, by whichever agent, would be its body to the target.
        """
        return self.call.complete and self._sending is None

    async def _answer(self, asked: Asked, verdict: Verdict) -> AnswerHead:
        try:
            if self._judged_body:
                await asked.send(self.exchange.count_request(self._judged_body))
            if self.call.complete:
                await asked.end(self.exchange.request_bytes)
            else:
                self._expected()
                self._sending = asyncio.ensure_future(self._send_body(asked))
        except Broken:
            pass  # it may have answered all the same
        interim_bytes = 0
        while True:
            answer = await asked.answer()
            if answer.status == 101:
                # Before the request is whole it is no answer to it (RFC 9110, 7.8), and what is left of the body would
                # be taken for what follows.
                if self.call.http2 or not self.call.complete or not covers_upgrade(verdict, answer.fields):
                    raise Broken("unexpected interim response 101")
                return answer
            if answer.status == 407 and asking.by_name(verdict):
                # The proxy beyond wants something of us; passed on, an agent would answer it with what is ours to see.
                raise Broken(f"{REFUSED_WORDS} 407: it wants other credentials than the gate has")
            if answer.status >= 200:
                return answer
            interim_bytes += _INTERIM_BYTES + sum(map(len, itertools.chain.from_iterable(answer.fields)))
            if interim_bytes > MAX_ANSWER_HEAD_BYTES:
                # They are written whether the agent reads them or not: without end they would fill the memory.
                raise Broken("too many interim responses")
            if answer.status != 100:
                self.call.interim(answer.status, unforged(answer.fields))

    async def _send_body(self, asked: Asked) -> None:
        """Pass the body on as it comes. What breaks here is seen by who waits for the answer."""
        try:
            while (piece := await self.call.read()) is not None:
                await asked.send(self.exchange.count_request(piece))
            self._require_whole()
            await asked.end(self.exchange.request_bytes)
        except (Gone, NotHttp):
            self.leave()
            asked.abort()
        except Broken:
            pass
        except Exception:
            _log.exception("passing a body on failed; its target is not waited for")
            asked.abort()

    async def _pass_on(self, verdict: Verdict, answer: AnswerHead) -> None:
        asked, call, exchange = self._asked, self.call, self.exchange
        if asked is None:
            raise RuntimeError("nothing was asked")
        self._engine.answered(self.key)
        fields = marked(answer.fields, verdict.chron_id, lower=call.http2)
        tunnel = self.connection.tunnel
        if tunnel is not None and tunnel.scheme:
            fields = redirected_here(fields, tunnel)
        self._begun = True
        call.begin(answer.status, answer.phrase, fields, exchange.head.inbound.method)
        while (piece := await asked.read()) is not None:
            await call.send(exchange.count_response(piece))
        await call.end(fit_trailers(asked.trailers))
        self._interruptible = False
        self.finish("sent", status=answer.status)
        await self._stop_sending()
        self._asked = None
        if binds_identity(answer.fields):
            asked.abort()
        else:
            asked.release()

    async def _stop_sending(self) -> None:
        """An answer that came before the request was whole ends it: nobody else may read the body meanwhile."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})

    async def _switch(self, verdict: Verdict, answer: AnswerHead) -> None:
        """What follows is no HTTP: bytes both ways, or messages that are judged one by one."""
        asked = self._asked
        if asked is None:
            raise RuntimeError("nothing was asked")
        self._engine.answered(self.key)
        fields = marked(answer.fields, verdict.chron_id, lower=False)
        self._begun = True
        self.call.begin(101, answer.phrase, fields, self.exchange.head.inbound.method)
        agent, target = self.call.switch(), asked.switch()
        self._asked, self._carried = None, target
        self._interruptible = False  # from here on an end of the agent's is an end like any other
        await relay(self, agent, target)
        self._carried = None
        target.close()  # what was written is still sent; where this is broken off, nothing is
        self.finish("sent", status=101)

    # --- ends ----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The agent waits for no answer any more."""
        self.exchange.leave()
        if not self._left:
            self._left = True
            if self._interruptible and self._task is not None:
                self._task.cancel(_CLIENT_GONE)

    def break_off(self) -> None:
        """End what goes on with the target."""
        if self._sending is not None:
            self._sending.cancel()
        _run_out(self._dialling)
        if self._asked is not None:
            self._asked.abort()
        if self._carried is not None:
            self._carried.abort()

    def finish(self, result: str, *, status: int | None = None, error: str = "") -> None:
        """Record the ending of a forwarded request, once."""
        self.connection.open.pop(self.key, None)
        self.connection.requests.finish(self.key, result, status=status, error=error)

    def _end(self) -> None:
        """It is under way no more; said twice, it has ended once."""
        self.connection.requests.end(self.key)


def _run_out(time: asyncio.Timeout | None) -> None:
    """End what has this time, if it still goes on; one that has run out already would raise."""
    if time is not None and not time.expired():
        time.reschedule(asyncio.get_running_loop().time())
