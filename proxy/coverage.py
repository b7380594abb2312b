"""What the mappings make of what agents really do, told from the decisions in the Chron.

Three lists: operations that no rule has a word for, so that they go by their own name; hosts whose requests were
not named at all; the operator's rules that named nothing in the period. Where it is not known whether an operation
only reads, it counts as one that writes. Pure: records come as plain fields, and nothing here opens a file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.questions import OF_REQUESTS

type Fields = Mapping[str, str | int | bool]

_READS = frozenset({"read", "list"})


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule of the operator's files."""

    id: str
    pack: str
    """The operator's own pack that it stands in, or ""."""
    place: str


@dataclass(frozen=True, slots=True)
class Unworded:
    """An operation that went by its own name."""

    operation: str
    attributes: Mapping[str, str]
    """As `mappings.recognition.Call.attributes`."""
    count: int
    agents: tuple[str, ...]

    @property
    def grave(self) -> bool:
        """Whether it may change something, set something going, or hand out a secret."""
        only_reads = self.attributes.get("access") in _READS
        return not only_reads or "executes" in self.attributes or "mints" in self.attributes


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Requests to one host that nothing named."""

    host: str
    codes: Mapping[str, int]
    """How many, by why: ``mapping.unmapped``, ``mapping.conflict``..."""
    agents: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.codes.values())


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was found."""

    decisions: int
    """About requests; questions that agents asked beforehand are not among them."""
    worded: int
    """Those with a rule's word."""
    unworded: tuple[Unworded, ...]
    """The grave ones first, then the frequent ones."""
    unnamed: tuple[Unnamed, ...]
    dead: tuple[OwnRule, ...]


@dataclass(slots=True)
class _Seen:
    count: int = 0
    access: str = ""
    codes: Counter[str] = field(default_factory=Counter)
    agents: set[str] = field(default_factory=set)

    def add(self, record: Fields) -> None:
        self.count += 1
        self.access = self.access or _text(record, "access")
        self.codes[_text(record, "code")] += 1
        self.agents.add(_text(record, "agent") or "-")


def measure(
    records: Iterable[Fields], rules: Sequence[OwnRule], attributes_of: Callable[[str], Mapping[str, str]]
) -> Coverage:
    """Return what the decision records say; `attributes_of` tells what is known of an operation."""
    decisions = worded = 0
    operations: dict[str, _Seen] = {}
    hosts: dict[str, _Seen] = {}
    fired: set[tuple[str, str]] = set()
    for record in records:
        if record.get("channel") not in OF_REQUESTS:
            continue
        decisions += 1
        operation, rule = _text(record, "operation"), _text(record, "mapping_rule")
        if rule:
            worded += 1
            fired.add((_text(record, "mapping_pack"), rule))
        elif _text(record, "code").startswith("mapping."):
            hosts.setdefault(_text(record, "host"), _Seen()).add(record)
        elif operation:
            operations.setdefault(operation, _Seen()).add(record)
    unworded = [
        Unworded(name, _attributes(seen, attributes_of(name)), seen.count, tuple(sorted(seen.agents)))
        for name, seen in operations.items()
    ]
    unnamed = [Unnamed(host, dict(seen.codes), tuple(sorted(seen.agents))) for host, seen in hosts.items()]
    return Coverage(
        decisions,
        worded,
        tuple(sorted(unworded, key=lambda each: (not each.grave, -each.count, each.operation))),
        tuple(sorted(unnamed, key=lambda each: (-each.count, each.host))),
        tuple(rule for rule in rules if (rule.pack, rule.id) not in fired),
    )


def _attributes(seen: _Seen, known: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the catalogue says, with the access level that stands in the records before its."""
    return {**known, "access": seen.access} if seen.access else known


def _text(record: Fields, name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""
