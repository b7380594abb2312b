"""Attack a gate: every row, one after the other, and what came of each."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import chron
from chron.sources import Source
from proxy.attack.attacks import READ, Attack, Plain, through
from proxy.attack.judging import Record, Shot, compare, judge
from proxy.attack.owngate import now, own_gate, target_tls
from proxy.attack.reached import Reached
from proxy.attack.table import ATTACKS
from proxy.attack.target import RecordingTarget
from proxy.attack.wire import Answer, Gate, send
from proxy.config import Config, EngineName


async def attack_own(
    folder: Path, rules: Config | None, ids: Sequence[str] = (), engine: EngineName | None = None
) -> list[Shot]:
    """Attack a gate of our own in an empty `folder`, with the rules of a configuration when it is given.

    Served by `engine`, else by the one that `rules` names.
    """
    with RecordingTarget(target_tls(folder, now())) as target:
        async with own_gate(folder, target, rules, engine) as (gate, config):
            attacker = Attacker(gate, target)
            shots = await asyncio.to_thread(lambda: list(attacker.shoot_all(chosen(ids))))
        return compared(shots, config.chron)


def attack_running(
    folder: Path, ports: tuple[int, int], gate: Gate, log: Source | None, ids: Sequence[str] = ()
) -> list[Shot]:
    """Attack a gate that runs and was told what is in `folder`; without its log no record is compared."""
    with RecordingTarget(target_tls(folder, now()), ports) as target:
        shots = list(Attacker(gate, target).shoot_all([attack for attack in chosen(ids) if not attack.elsewhere]))
    return shots if log is None else compared(shots, log)


def chosen(ids: Sequence[str]) -> list[Attack]:
    """The rows of these ids; all of them when there is none."""
    return [attack for attack in ATTACKS if not ids or attack.id in ids]


def compared(shots: Iterable[Shot], log: Source) -> list[Shot]:
    """The same, each beside what the log says of it."""
    wanted = {chron_id for shot in shots for answer in shot.answers for chron_id in answer.chron_ids}
    found = (record.fields for record in chron.find(log, kind="decision"))
    records: dict[str, Record] = {str(fields["id"]): fields for fields in found if fields["id"] in wanted}
    return [compare(shot, records) for shot in shots]


class NotOurs(Exception):
    """The gate does not lead to the target, so nothing is sent through it."""


class Attacker:
    """Sends rows through one gate to one target."""

    def __init__(self, gate: Gate, target: RecordingTarget) -> None:
        self._gate = gate
        self._target = target
        self._decisions: dict[Plain, bool] = {}

    def check(self) -> None:
        """Raise NotOurs unless an ordinary request arrives at the target."""
        if not self.allows(READ):
            answers, _ = self._send(Attack("plain", "", READ, READ.sends, through(READ.host), follows=False))
            raise NotOurs(
                "an ordinary request through the gate does not arrive at the attack's own target: "
                f"{next(map(_said, answers), 'no answer')}"
            )

    def allows(self, plain: Plain) -> bool:
        """Whether the gate forwards the plain form; asked once."""
        if plain not in self._decisions:
            attack = Attack("plain", "", plain, plain.sends, through(plain.host))
            _, reached = self._send(attack)
            self._decisions[plain] = any(each.line == f"{plain.method} {plain.target} HTTP/1.1" for each in reached)
        return self._decisions[plain]

    def shoot(self, attack: Attack) -> Shot:
        """One attack."""
        allowed = self.allows(attack.plain)
        answers, reached = self._send(attack)
        return judge(attack, answers, reached, allowed=allowed)

    def shoot_all(self, attacks: Iterable[Attack]) -> Iterator[Shot]:
        """All of them; nothing at all when the gate does not lead to the target."""
        self.check()
        for attack in attacks:
            yield self.shoot(attack)

    def _send(self, attack: Attack) -> tuple[list[Answer], list[Reached]]:
        before = len(self._target.reached)
        answers = send(self._gate, attack)
        self._gate.idle()
        self._target.settle()
        return answers, self._target.reached[before:]


def _said(answer: Answer) -> str:
    """An answer in words, with what to do about it where that is known."""
    if answer.status == 0:
        return "the connection was closed"
    try:
        problem = json.loads(answer.body)
        reason, denied = str(problem["reason"]), problem["outcome"] == "DENY"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status}, and not from a gate of ours"
    if answer.status == 403 and denied and problem.get("action") == "attack:read":
        return f'"{reason}"; for as long as you attack, let the agent do "attack:**" there'
    return f'{answer.status} "{reason}"'
