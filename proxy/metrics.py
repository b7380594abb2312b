"""Counters for dashboards. No agent, human, host or path is a label: those are unbounded and are in the Chron.

Label rules: https://prometheus.io/docs/practices/naming/#labels
"""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from policies import Decision

if TYPE_CHECKING:
    from proxy.verdicts import Ending

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """One registry per gate, so that two gates in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "claiim_decisions", "Decisions made.", ("outcome", "mode", "code"), registry=self.registry
        )
        self._decided: dict[tuple[str, str, str], Counter] = {}
        self._seconds = Histogram(
            "claiim_decision_seconds",
            "From request head to durable record.",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._outcomes = Counter(
            "claiim_outcomes", "What became of judged requests.", ("result",), registry=self.registry
        )
        self._finished: dict[str, Counter] = {}
        forwarded = Counter("claiim_forwarded_bytes", "Body bytes forwarded.", ("direction",), registry=self.registry)
        self._bytes_up, self._bytes_down = forwarded.labels("up"), forwarded.labels("down")
        self._reloads = Counter("claiim_reloads", "Reloads of rules and agents.", ("result",), registry=self.registry)
        self._approvals = Counter(
            "claiim_approvals",
            "Approvals: requested, approved, refused, expired, used; flood where none was asked for.",
            ("result",),
            registry=self.registry,
        )
        self._pending = Gauge("claiim_approvals_pending", "Approvals that are open.", registry=self.registry)
        self._refused = Counter(
            "claiim_refused", "What limits refused, ended or turned away, by code.", ("code",), registry=self.registry
        )
        self.connections = Gauge("claiim_connections", "Connections of clients.", registry=self.registry)
        self.open_exchanges = Gauge(
            "claiim_open_exchanges", "Requests forwarded and not finished.", registry=self.registry
        )

    def decided(self, decision: Decision, duration_ns: int) -> None:
        """Count one recorded decision."""
        labels = decision.outcome.value, decision.mode.value, decision.code
        counter = self._decided.get(labels)
        if counter is None:
            counter = self._decided[labels] = self._decisions.labels(*labels)
        counter.inc()
        self._seconds.observe(duration_ns / 1e9)

    def finished(self, ending: "Ending") -> None:
        """Count one ending and the bytes it moved."""
        counter = self._finished.get(ending.result)
        if counter is None:
            counter = self._finished[ending.result] = self._outcomes.labels(ending.result)
        counter.inc()
        if ending.request_bytes:
            self._bytes_up.inc(ending.request_bytes)
        if ending.response_bytes:
            self._bytes_down.inc(ending.response_bytes)

    def refused(self, code: str) -> None:
        """Count one thing that a limit did."""
        self._refused.labels(code).inc()

    def reloaded(self, result: str) -> None:
        """Count one reload: `loaded` or `refused`."""
        self._reloads.labels(result).inc()

    def approval(self, result: str, pending: int) -> None:
        """Count what happened to an approval, and how many wait now."""
        self._approvals.labels(result).inc()
        self.pending(pending)

    def pending(self, count: int) -> None:
        """Say how many approvals wait."""
        self._pending.set(count)

    def text(self) -> bytes:
        """The metrics in Prometheus text format."""
        return generate_latest(self.registry)
