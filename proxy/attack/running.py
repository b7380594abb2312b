"""Attack a gate: every row, one after the other, and what came of each."""

from collections.abc import Iterable, Iterator

from proxy.attack.attacks import READ, Attack, Plain, through
from proxy.attack.judging import Shot, judge
from proxy.attack.target import Reached, RecordingTarget
from proxy.attack.wire import Answer, Gate, send


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
            raise NotOurs("an ordinary request through the gate does not arrive at the attack's own target")

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
