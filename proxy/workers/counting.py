"""Adds up the metrics of a gate's processes, those that are gone included: counters never go down.

What a process counted in its last second is lost with it. Gauges are of those that live.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest

_MOST_AWAY = 64

type Sample = tuple[str, str, str, str, list[list[str]], float]
"""Family, its sort, its help, the sample's own name, its labels, its value."""
type _Key = tuple[str, str, str, str, tuple[tuple[str, str], ...]]


def samples(registry: CollectorRegistry) -> list[Sample]:
    """What a registry holds, as it is sent to the coordinator."""
    return [
        (family.name, family.type, family.documentation, sample.name, [list(each) for each in labels], sample.value)
        for family in registry.collect()
        for sample in family.samples
        for labels in [sorted(sample.labels.items())]
    ]


class Totals:
    """The sum of what several registries hold; is one to Prometheus."""

    def __init__(self) -> None:
        self._gone: dict[_Key, float] = {}
        self._away: dict[str, Iterable[Sample]] = {}
        """What processes counted that are gone, by session, the last ones: they may come back."""

    def came(self, session: str) -> None:
        """A process is there, perhaps again: it tells all that it has counted."""
        self._away.pop(session, None)

    def left(self, session: str, last: Iterable[Sample]) -> None:
        """Keep what a process has counted."""
        self._away[session] = last
        if len(self._away) > _MOST_AWAY:
            oldest = next(iter(self._away))
            for key, value in _keyed(self._away.pop(oldest)):
                if _adds_up(key):
                    self._gone[key] = self._gone.get(key, 0.0) + value

    def text(self, every: Iterable[Iterable[Sample]]) -> bytes:
        """The metrics of all in Prometheus text format."""
        summed = dict(self._gone)
        for each in self._away.values():
            for key, value in _keyed(each):
                if _adds_up(key):
                    summed[key] = summed.get(key, 0.0) + value
        for each in every:
            for key, value in _keyed(each):
                known = summed.get(key)
                # When a counter began is no amount.
                summed[key] = value if known is None else min(known, value) if _is_time(key) else known + value
        return generate_latest(_Summed(summed))


class _Summed(CollectorRegistry):
    def __init__(self, summed: dict[_Key, float]) -> None:
        super().__init__()
        self._families: dict[str, Metric] = {}
        for (name, sort, text, sample, labels), value in summed.items():
            family = self._families.setdefault(name, Metric(name, text, sort))
            family.add_sample(sample, dict(labels), value)

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


def _keyed(every: Iterable[Any]) -> Iterator[tuple[_Key, float]]:
    for family, sort, text, sample, labels, value in every:
        yield (family, sort, text, sample, tuple((name, said) for name, said in labels)), float(value)


def _adds_up(key: _Key) -> bool:
    return key[1] != "gauge" and not _is_time(key)


def _is_time(key: _Key) -> bool:
    return key[3].endswith("_created")
