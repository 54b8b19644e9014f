"""What the server tells Prometheus: who was answered, who was shed, how long it took, what waits."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from modern.serve.admission import Admission

# From a tenth of a millisecond to ten seconds, three a decade: a GPU batch to a slow deadline.
_SECONDS = (
    1e-4,
    2e-4,
    5e-4,
    1e-3,
    2e-3,
    5e-3,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)
_ROWS = tuple(float(4**power) for power in range(1, 10))
_REQUESTS = tuple(float(2**power) for power in range(10))
OUTCOMES = ("answered", "refused", "shed_late", "shed_full", "late", "failed")


class Metrics:
    """The server's own registry: two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "serve_requests",
            "Infer requests by outcome: answered; refused (the client's fault); shed_late, "
            "shed_full (not taken on); late (taken on, deadline passed); failed (ours).",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self._requests.labels(outcome)  # shown as 0 before the first one
        self._latency = Histogram(
            "serve_request_seconds",
            "From the request's headers to its answer, of requests that were answered.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "serve_batch_seconds",
            "Parsing, scoring and writing one batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_rows = Histogram(
            "serve_batch_rows",
            "Candidates and history steps of a batch.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._batch_requests = Histogram(
            "serve_batch_requests",
            "Requests scored together.",
            buckets=_REQUESTS,
            registry=self.registry,
        )
        self._queued = Gauge(
            "serve_queued_rows", "Rows that wait to be scored.", registry=self.registry
        )
        self._wait = Gauge(
            "serve_wait_seconds",
            "Estimated time until all that was taken on is scored.",
            registry=self.registry,
        )
        self._row_seconds = Gauge(
            "serve_row_seconds", "Estimated cost of a row.", registry=self.registry
        )

    def request(self, outcome: str, seconds: float) -> None:
        """A request ended."""
        self._requests.labels(outcome).inc()
        if outcome == "answered":
            self._latency.observe(seconds)

    def batch(self, *, requests: int, rows: int, seconds: float) -> None:
        """A batch was scored."""
        self._batch_seconds.observe(seconds)
        self._batch_rows.observe(rows)
        self._batch_requests.observe(requests)

    def show(self, admission: Admission, now: float) -> None:
        """Take the books' present state."""
        self._queued.set(admission.queued_rows)
        self._wait.set(admission.wait_s(now))
        self._row_seconds.set(admission.cost.row_s)

    def page(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self.registry)
