"""A gate under load that dies, and starts again on the same log; what its agents and its target saw is held against it.

Each round is one life of the gate. What holds of a round is looked at after the next start, because a start
writes down what the last life left unsaid.
"""

import json
import os
import random
import signal
import sqlite3
import ssl
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from chron import verify
from support.gate import TOKEN, LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.torture.nursery import Nursery
from support.torture.real_gate import DEADLINE_S, Ready

REQUESTS = 10
"""Of each agent in a round."""

SHAPES = {"alone": 1, "together": 4, "crowd": 12}
"""Agents at once."""


@dataclass(slots=True)
class Round:
    """One life of the gate."""

    number: int
    what: str
    answers: list[tuple[str, int, str]] = field(default_factory=list)
    """Path, status, record id."""
    code: int = 0
    """How it ended."""


class Siege:
    """A folder, its gate's lives, and what was wrong with them."""

    def __init__(self, folder: Path, children: Nursery, origin: Origin, target_ca: Path) -> None:
        self.live = LiveGate(folder, origin, target_ca=target_ca, mappings=ORIGIN_MAPPINGS)
        self._children, self._origin = children, origin
        self._ready = Ready(folder)
        self._rounds = 0
        self._last: Round | None = None
        self._looked_at = 0
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()

    def round(
        self,
        what: str,
        serving: Sequence[tuple[str, str, int]] = (),
        *,
        starting: Sequence[tuple[str, str, int]] = (),
        shape: str = "together",
        kill_after: int = 0,
        reload: bool = False,
    ) -> Round:
        """Start the gate, load it, and end it: by what is planted, after so many answers, or by TERM."""
        self._rounds += 1
        this = Round(self._rounds, what)
        child = self._children.start(folder=str(self.live.folder), starting=starting, serving=serving, reload=reload)
        if address := self._ready.address(self._children):
            self._look()
            self._last = this
            self._load(this, address, SHAPES[shape], child, kill_after)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        this.code = self._children.wait()
        self.counts["killed"] += this.code == -signal.SIGKILL
        return this

    def end(self, children: Nursery | None = None) -> None:
        """One more life, without any fault, and a look at the whole log; `children` where the others are struck."""
        self._children = children or self._children
        last = self.round("the end")
        assert last.code == 0, last
        assert {status for _, status, _ in last.answers} == {200, 403}, last
        self._look()
        self._ready.close()
        found = verify(self.live.config.chron)
        self.faults += [] if found.ok else [f"record {found.first_bad_seq}: {found.fault}"]
        self.counts["records"] = found.records

    # --- load ----------------------------------------------------------------------------------------

    def _load(self, this: Round, address: str, agents: int, child: int, kill_after: int) -> None:
        answered = threading.Semaphore(0) if kill_after else None

        def act(number: int) -> None:
            with self._client(address) as client:
                for count in range(REQUESTS):
                    path = f"/echo/round{this.number}/agent{number}/{count}"
                    method = ("GET", "POST", "DELETE")[count % 3]
                    with suppress(httpx.HTTPError):
                        response = client.request(method, f"{self._origin.url}{path}")
                        this.answers.append((path, response.status_code, response.headers.get("x-chron-id", "")))
                        if answered:
                            answered.release()

        threads = [threading.Thread(target=act, args=(number,)) for number in range(agents)]
        for thread in threads:
            thread.start()
        if answered and all(answered.acquire(timeout=DEADLINE_S) for _ in range(kill_after)):
            os.kill(child, signal.SIGKILL)
        for thread in threads:
            thread.join()

    def _client(self, address: str) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.live.config.ca_certificate))
        proxy = f"http://deploy-bot:{TOKEN}@{address}"
        return httpx.Client(proxy=proxy, verify=trusted, trust_env=False, timeout=DEADLINE_S)

    # --- what must hold ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Hold the last round against what its agents and the target saw."""
        last, self._last = self._last, None
        if last is None:
            return
        decisions, outcomes = self._records()
        seen = Counter(request.path for request in self._origin.seen)
        self._origin.clear()
        by_path: dict[str, list[dict[str, Any]]] = {}
        for decision in decisions.values():
            by_path.setdefault(str(decision.get("path")), []).append(decision)
        wrong = [f"{id_} has the outcomes {outcomes.get(id_)}" for id_ in decisions if len(outcomes.get(id_, ())) != 1]
        for path, times in seen.items():
            gone = [each for each in by_path.get(path, ()) if each["outcome"] == "ALLOW"]
            gone = [each for each in gone if set(outcomes.get(each["id"], ())) <= {"sent", "failed", "in_doubt"}]
            if len(gone) < times:
                wrong.append(f"{path} reached the target {times} times, on record are {len(gone)}")
        for path, status, id_ in last.answers:
            wrong += self._answer_faults(path, status, id_, decisions, seen)
        self.faults += [f"round {last.number}, {last.what}: {fault}" for fault in wrong]
        self.counts["forwarded"] += sum(seen.values())
        self.counts["answers"] += len(last.answers)
        self.counts["in doubt"] += sum(results == ["in_doubt"] for results in outcomes.values())

    @staticmethod
    def _answer_faults(
        path: str, status: int, id_: str, decisions: dict[str, dict[str, Any]], seen: Counter[str]
    ) -> list[str]:
        if status == 200 and not seen[path]:
            return [f"{path} was answered 200 and never reached the target"]
        if id_ and id_ not in decisions:
            return [f"{path} was answered with {id_}, which is not on record"]
        if status in (403, 503) and seen[path]:
            return [f"{path} was answered {status} and reached the target"]
        return []

    def _records(self) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
        """What was recorded since the last look: decisions on requests, and outcomes by what they refer to."""
        with closing(sqlite3.connect(f"file:{self.live.config.chron}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT seq, body FROM chron WHERE seq > ? AND kind IN ('decision', 'outcome') ORDER BY seq",
                (self._looked_at,),
            ).fetchall()
        decisions: dict[str, dict[str, Any]] = {}
        outcomes: dict[str, list[str]] = {}
        for seq, text in rows:
            self._looked_at, body = seq, json.loads(text)
            if body["kind"] == "decision":
                decisions[body["id"]] = body
            else:
                outcomes.setdefault(body["ref"], []).append(body["result"])
        return decisions, outcomes


def moments(seed: int, count: int, agents: int = SHAPES["together"]) -> list[int]:
    """After how many answers to kill, at random."""
    chance = random.Random(seed)
    return [chance.randint(1, agents * REQUESTS - 1) for _ in range(count)]
