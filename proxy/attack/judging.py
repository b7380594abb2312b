"""Was an attack caught? What came back, what arrived and what was recorded must tell one story."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from proxy.attack.attacks import Attack
from proxy.attack.reached import FORGED, Reached
from proxy.attack.wire import FOLLOWING, Answer

type Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shot:
    """One attack and what came of it."""

    attack: Attack
    answers: tuple[Answer, ...]
    arrived: tuple[Reached, ...]
    """What reached the target, without the request that follows."""
    reached: int
    """How many requests reached the target, that one included."""
    fault: str = ""
    """Why it was missed; "" when it was caught."""

    @property
    def caught(self) -> bool:
        """Whether the plain form's decision held."""
        return not self.fault


def judge(attack: Attack, answers: Sequence[Answer], reached: Iterable[Reached], *, allowed: bool) -> Shot:
    """What came of an attack whose plain form is allowed, or denied."""
    reached = tuple(reached)
    arrived = tuple(each for each in reached if each.line != f"GET {FOLLOWING} HTTP/1.1" or each.fault)
    return Shot(attack, tuple(answers), arrived, len(reached), _fault(attack, answers, arrived, allowed))


def _fault(attack: Attack, answers: Sequence[Answer], arrived: Sequence[Reached], allowed: bool) -> str:
    if arrived and not allowed:
        return f"denied in plain form, and arrived as {arrived[0].line!r}"
    if len(arrived) > 1:
        return f"arrived as {len(arrived)} requests"
    for each in arrived:
        if not each.cut and (fault := each.fault or _differs(attack, each)):
            return f"arrived as {each.line!r}: {fault}"
    for answer in answers:
        if FORGED in answer.chron_ids or len(answer.chron_ids) > 1:
            return "the target named a record of its own"
        if answer.status and not answer.chron_ids:
            return f"answered {answer.status} and named no record"
    return ""


def _differs(attack: Attack, arrived: Reached) -> str:
    """How what arrived is not the plain request."""
    plain = attack.plain
    if arrived.line != f"{plain.method} {plain.target} HTTP/1.1":
        return f"not as {plain.method} {plain.target}"
    if arrived.values("host") != [plain.host]:
        return f"with the hosts {arrived.values('host')}"
    if arrived.body != plain.body:
        return "with another body"
    if any(name.startswith("proxy-") for name, _ in arrived.fields):
        return "with fields meant for the proxy"
    if any(
        name.replace("_", "-") in ("content-length", "transfer-encoding", "host")
        for name, _ in arrived.fields
        if "_" in name
    ):
        return "with a field name that some take for one of framing"
    return ""


def compare(shot: Shot, records: Mapping[str, Record]) -> Shot:
    """The same, missed when the records say otherwise or say what they must not."""
    if not shot.caught:
        return shot
    forwarded = 0
    for answer in shot.answers:
        for chron_id in answer.chron_ids:
            record = records.get(chron_id)
            if record is None:
                return replace(shot, fault=f"answered {answer.status} with a record that is not there")
            allowed = record["outcome"] == "ALLOW"
            forwarded += allowed and answer.status < 500
            if allowed and 400 <= answer.status < 500:
                return replace(shot, fault=f"answered {answer.status} and recorded ALLOW")
            if fault := _unfit(shot.attack, record):
                return replace(shot, fault=fault)
    # A denial may be a 200 where its caller reads errors there (git, JSON-RPC), so the records are counted.
    if forwarded > shot.reached:
        return replace(shot, fault="recorded as allowed, and nothing arrived")
    return shot


def _unfit(attack: Attack, record: Record) -> str:
    text = "\n".join(str(value) for value in record.values())
    if any(ord(char) < 0x20 and char != "\n" for char in text) or "\x7f" in text:
        return "its record holds control characters"
    if attack.secret and attack.secret in text:
        return "its record holds the secret"
    return ""
