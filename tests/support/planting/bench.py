"""A gate to plant bugs in, its targets, and what has to hold whatever is broken in it."""

import asyncio
import contextlib
import gc
import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from chron import ChronError, find, tail, verify
from policies import credential, token_digest
from proxy.attack.attacks import EC2, GIT, GITHUB, HOST, KUBERNETES, MCP, PLAIN_HOST, UNBOUND
from proxy.attack.owngate import RULES, SKILL, now, target_tls
from proxy.attack.reached import Reached
from proxy.attack.target import RecordingTarget
from proxy.destinations import DestinationUnknown
from support.gate import AGENTS, OTHER_TOKEN, LiveGate
from support.planting.bugs import Bug, planted
from support.planting.outcomes import SAYS_NOTHING, Ran, count_requests, unmasked
from support.planting.requests import (
    ALLOWED,
    DENIED,
    H2_HOST,
    MAX_BODY_BYTES,
    SPEND,
    THIRD_TOKEN,
    Answer,
    Request,
    Sender,
)
from support.planting.sites import Functions, Site, on_its_way, traced
from support.targets import H2Origin
from support.until import until
from support.waiting import human_token

_PLAIN = {"host": PLAIN_HOST}
_RULES: dict[str, Any] = json.loads(
    json.dumps(
        {
            **RULES,
            "rules": [
                *(rule for rule in RULES["rules"] if rule["id"] != "attack-slow"),
                {"id": "counted", "match": {**_PLAIN, "path": "/counted/{x}"}, "action": "counted:read"},
                {"id": "spent", "match": {**_PLAIN, "path": "/spent/{x}"}, "action": "spent:read"},
                {
                    "id": "asked",
                    "match": {**_PLAIN, "path": "/asked-for/{x}"},
                    "action": "asked:write",
                    "target": "asked/${x}",
                },
                {"id": "by-time", "match": {**_PLAIN, "path": "/guarded-by-time/{x}"}, "action": "timed:read"},
                {"id": "mcp-socket", "match": {"host": MCP, "method": "GET", "path": "/mcp"}, "action": "attack:read"},
                {"id": "h2", "match": {"host": H2_HOST, "path": "/open/{x}"}, "action": "attack:read"},
            ],
        }
    )
)  # without what stands in it twice, which YAML would write as an alias
_EVERY_DAY = {"time": {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "zone": "UTC"}}
_SKILLS: dict[str, dict[str, Any]] = {
    "planted-v1": {
        **SKILL,
        "skill": "planted-v1",
        "allow": [*SKILL["allow"], "counted:read", "spent:read", {"action": "timed:*", "when": _EVERY_DAY}],
        "limits": [
            {"action": "counted:read", "most": 10_000, "per": "hour"},
            {"action": "spent:read", "most": 1, "per": "week"},
        ],
    },
    "asking-v1": {"skill": "asking-v1", "allow": ["attack:read"], "approve": ["asked:*"]},
    "site": {
        "policy": "site",
        "deny": [{"action": "attack:write", "when": {"client": ["10.0.0.0/8"]}}],
        "require": [{"action": "timed:*", "header": "x-ticket", "like": ["T-*"]}],
    },
}
_AGENTS = {
    "version": 1,
    "humans": [{**AGENTS["humans"][0], "tokens": [token_digest(human_token("alice"))]}],
    "agents": [
        {**AGENTS["agents"][0], "skill": "planted-v1"},
        {**AGENTS["agents"][1], "skill": "asking-v1", "tokens": [credential("other-bot", OTHER_TOKEN).token_sha256]},
        {
            **AGENTS["agents"][0],
            "id": "third-bot",
            "skill": "planted-v1",
            "state": "suspended",
            "tokens": [credential("third-bot", THIRD_TOKEN).token_sha256],
        },
    ],
}


async def _lookup(host: str) -> tuple[str, ...]:
    addresses = {"public.looked-up.test": ("127.0.0.1",), "private.looked-up.test": ("10.0.0.7",)}
    if host not in addresses:
        raise DestinationUnknown(f'"{host}" cannot be resolved')
    return addresses[host]


_CLOSE_FRAME = b"\x88"
"""With it a conversation ends in which nothing was said (RFC 6455, 5.5.1)."""
_TURNS = 16
LOG_PATIENCE_S = 5.0
"""For the few bugs by which nobody is told that a record is durable; all others do not wait for it."""


@dataclass(frozen=True, slots=True)
class Way:
    """The functions on the way of one request."""

    request: Request
    sites: list[Site]


class Bench:
    """A gate and its targets; requests go through it one after the other."""

    def __init__(self, gate: LiveGate, target: RecordingTarget, h2_target: H2Origin) -> None:
        self.gate = gate
        self._target = target
        self._h2 = h2_target
        self._sender = Sender(gate, target.plain_port)
        self._functions = Functions()

    def walk(self) -> list[Way]:
        """Send every request as it is meant, and note what runs on its way."""
        ways, faults = [], []
        with traced() as trace:
            for request in (*ALLOWED, *DENIED):
                self.forget()
                trace.codes.clear()
                with contextlib.ExitStack() as stack:
                    answer = self._sender.send(request, lambda stack=stack: stack.enter_context(trace.looking()))
                if trace.forwarded is not request.allowed or not as_meant(request, answer) or not trace.codes:
                    faults.append((request.name, answer))
                ways.append(Way(request, [Site(code) for code in trace.codes]))
                self.settle()
        assert not faults, faults
        return ways

    def run(self, site: Site, kind: str, request: Request, *, look_after: bool = True) -> Ran:
        """One request, with a bug in its way, and, where all is not as it was or `look_after` says so, others after."""
        try:
            return self._run(site, kind, request, look_after=look_after)
        except BaseException as error:
            error.add_note(f"the bug: {site.name}, {kind}, {request.name}")
            raise

    def _run(self, site: Site, kind: str, request: Request, *, look_after: bool) -> Ran:
        before, recorded = self._marks(), self._last_seq()
        with contextlib.ExitStack() as stack:
            self.forget()
            bugs: list[Bug] = []
            early: list[bool] = []
            stack.enter_context(on_its_way(lambda: early.append(any(bug.met.is_set() for bug in bugs))))

            def plant() -> None:
                nonlocal before, recorded
                if request.message:  # what has opened its connection was another request
                    before, recorded = self._marks(), self._last_seq()
                    early.clear()
                bugs.append(stack.enter_context(planted(self._functions, site, kind)))

            answer = self._hung(request, plant, bugs) if kind == "hang" else self._sender.send(request, plant)
            at_rest = self.arrived(before)
        ended = self._end_all()
        self.settle()
        arrived = at_rest if kind == "hang" and at_rest else self.arrived(before)
        met = any(bug.met.is_set() for bug in bugs)
        unrecorded = self._unrecorded(request, arrived, recorded) if arrived else 0
        # What was handed in while the bug was still being broken off may have failed with it.
        unmoved = not look_after and not arrived and answer.status in (400, 403, 407)
        serves = unmoved or self.serves() or self.serves()
        held_up = met and (any(early) or not early)
        shut = not serves and self._is_shut()
        undone = kind in SAYS_NOTHING and self._functions.works_by_effect(site)
        return Ran(site, kind, request, met, held_up, undone, answer, tuple(arrived), unrecorded, ended, serves, shut)

    def meant(self, request: Request) -> tuple[Reached | str, ...]:
        """What arrives of a request where nothing is broken."""
        marks = [self._marks()]
        self._sender.send(request, lambda: marks.append(self._marks()))
        self.settle()
        return tuple(self.arrived(marks[-1]))

    def serves(self) -> bool:
        """Whether an ordinary request goes, and one that is denied does not."""
        self.forget()
        answers = [self._sender.send(ALLOWED[0]), self._sender.send(DENIED[0])]
        self.settle()
        return [answer.status for answer in answers] == [200, 403]

    def _is_shut(self) -> bool:
        """Whether the gate refuses everything and says why to who asks for its health."""
        refused = self._sender.send(ALLOWED[0])
        return refused.code == "gate.audit-unavailable" and bool(self.gate.service.faults())

    def forget(self) -> None:
        """Forget what is remembered of earlier requests, so that each meets every function anew."""
        self._functions.forget()
        book = self.gate.service.gate.book
        book.policies._decisions.clear()
        book.policies._match.cache_clear()  # type: ignore[attr-defined]
        book.mappings._hosts.clear()

    def _part_with_targets(self) -> None:
        """Have the next request dial anew; mitmproxy's engine keeps no connection for it."""
        if (targets := getattr(self.gate.service.engine, "targets", None)) is not None:
            self.gate.call(_called(targets.forget))

    def spend(self) -> None:
        """Use up what may be used once."""
        assert self._sender.send(SPEND).status == 200

    def _end_all(self) -> bool:
        """Whether every exchange has an ending, once its connection has; what has none gets it as at the gate's end."""
        serving = self.gate.serving
        until(lambda: not any(engine._connections for engine in serving))
        self.gate.call(_turns())  # mitmproxy's engine lets go of a connection when its hooks have ended
        ended = not any(len(engine._exchanges) for engine in serving)
        for engine in serving:
            self.gate.call(_called(engine._exchanges.end_what_is_left))
        return ended

    def settle(self) -> None:
        """Return once nothing is under way, in the gate or at a target."""
        serving = self.gate.serving
        for engine in serving:
            self.gate.call(engine.idle())
        self._part_with_targets()
        until(lambda: not any(engine._connections for engine in serving))  # else its last steps would meet the next bug
        self._target.settle()
        self._h2.run(_turns())
        until(lambda: not self._h2._open)

    def _marks(self) -> tuple[int, int]:
        return len(self._target.reached), len(self._h2.seen)

    def arrived(self, since: tuple[int, int] = (0, 0)) -> list[Reached | str]:
        """What has arrived at the targets, without what differs each time."""
        reached = [
            replace(each, line=re.sub("/asked-for/[0-9]+", "/asked-for/N", each.line), body=unmasked(each))
            for each in self._target.reached[since[0] :]
            if not (each.line == "(frames)" and each.body.startswith(_CLOSE_FRAME))
        ]
        return [*reached, *(f"{each.method} {each.path}" for each in self._h2.seen[since[1] :])]

    def _last_seq(self) -> int:
        return next((record.seq for record in tail(self.gate.config.chron, 1)), 0)

    def _unrecorded(self, request: Request, arrived: list[Reached | str], since_seq: int) -> int:
        allowed = find(self.gate.config.chron, kind="decision", outcome="ALLOW", after_seq=since_seq)
        count = len(arrived) if request.message else count_requests(arrived)
        return max(count - len({record.fields["request"] for record in allowed}), 0)

    def _hung(self, request: Request, plant: Any, bugs: list[Bug]) -> Answer:
        """Send, and when the bug hangs or an answer has come, give up as a client does."""
        got: list[Answer] = []
        thread = threading.Thread(target=lambda: got.append(self._sender.send(request, plant)), name="agent")
        thread.start()
        until(lambda: not thread.is_alive() or (bugs and bugs[0].met.is_set()))
        # Somebody else may have come to it before the request had a connection that can be ended.
        until(lambda: self._sender.end() or not thread.is_alive())
        thread.join()
        return got[0] if got else Answer(0)


async def _turns() -> None:
    """As many turns as a target's loop takes to accept a connection and to read its first request, if that has come."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _called(what: Callable[[], object]) -> None:
    what()


def as_meant(request: Request, answer: Answer) -> bool:
    """Whether a request was answered as the rules say."""
    return answer.status in (request.answered or ((101, 200) if request.allowed else (403,)))


class Benches:
    """One bench after the other; a gate that has shut itself is replaced by a new one."""

    def __init__(self, folder: Path, h2_target: H2Origin, target_ca: Path) -> None:
        self._folder = folder
        self._h2 = h2_target
        self._h2_ca = target_ca
        self._number = 0
        self._meant: dict[str, tuple[Reached | str, ...]] = {}

    def __enter__(self) -> Self:
        logging.disable(logging.CRITICAL)
        own = self._folder / "own"
        own.mkdir(parents=True)
        self._stack = contextlib.ExitStack()
        self._target = self._stack.enter_context(RecordingTarget(target_tls(own, now())))
        self._config = _config(self._target, self._h2, own / "target-ca.pem", self._h2_ca)
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._stack.close()
        del self.bench, self._gate
        gc.collect()  # what a bug kept from being closed says so here, and not at the end of all tests
        logging.disable(logging.NOTSET)

    def renew(self) -> None:
        """Another gate."""
        self._close()
        self._open()

    def meant(self, request: Request) -> tuple[Reached | str, ...]:
        """What arrives of a request where nothing is broken; asked once, for it never differs."""
        if request.name not in self._meant:
            self._meant[request.name] = self.bench.meant(request)
        return self._meant[request.name]

    def _open(self) -> None:
        self._number += 1
        folder = self._folder / f"gate-{self._number}"
        self._gate = LiveGate(folder, mappings=_RULES, skills=_SKILLS, agents=_AGENTS, config=self._config)
        self._gate.service_options = {"lookup": _lookup}
        self._gate.__enter__()
        self._gate.service.gate._recorder.patience_s = LOG_PATIENCE_S
        self.bench = Bench(self._gate, self._target, self._h2)
        self._begun = self.bench._marks()
        self.bench.spend()

    def _since(self) -> list[Reached | str]:
        return self.bench.arrived(self._begun)

    def _close(self) -> None:
        """Stop the gate and hold its log against what arrived."""
        arrived = count_requests(self._since())
        with contextlib.suppress(ChronError):  # one whose writer has died says so at its end as well
            self._gate.stop()
        log = self._gate.config.chron
        assert (verified := verify(log)).ok, verified.fault
        allowed = {record.fields["request"] for record in find(log, kind="decision", outcome="ALLOW")}
        assert len(allowed) >= arrived, f"{arrived} arrived, of which only {len(allowed)} are on record"


def _config(target: RecordingTarget, h2_target: H2Origin, ca: Path, h2_ca: Path) -> dict[str, Any]:
    secure = {"address": f"127.0.0.1:{target.port}", "ca": str(ca)}
    return {
        "proxy": {
            "listen": "127.0.0.1:0",
            "allowed_ports": [443, 80, target.plain_port],
            "max_body_bytes": MAX_BODY_BYTES,
            "drain_timeout_s": 1,
        },
        "resolve": {
            **{host: dict(secure) for host in (HOST, UNBOUND, KUBERNETES, MCP, GITHUB, GIT, EC2)},
            PLAIN_HOST: {"address": f"127.0.0.1:{target.plain_port}"},
            H2_HOST: {"address": h2_target.address, "ca": str(h2_ca)},
        },
        "upstream": {"allow_private": ["127.0.0.0/8"]},
        "approvals": {"wait_s": 0, "most_pending": 1_000, "most_per_hour": 10_000},
        "listeners": {
            "reverse": {"mode": "reverse", "listen": "127.0.0.1:0", "target": f"http://{PLAIN_HOST}"},
            "socks": {"mode": "socks5", "listen": "127.0.0.1:0"},
        },
    }
