"""Prometheus metrics of the tier. Every label comes from a bounded set."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from api.errors import ApiError, QuotaExceededError, RateLimitedError, TooManyAttemptsError
from worker.metrics import Codes, WorkMetrics, new_registry
from worker.queue_gauges import QueueGauges

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LIMITS = ("requests", "attempts", "samples_per_day", "jobs_per_day", "storage_bytes")


def known_method(method: str) -> str:
    """The method as a label; OTHER for one that HTTP does not know."""
    return method if method in METHODS else "OTHER"


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.work = WorkMetrics(self.registry)
        self.queue = QueueGauges(self.registry)
        self._codes = Codes()
        self.requests = Counter("voxify_http_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "voxify_http_request_duration_seconds",
            "From the request's arrival to the end of its answer",
            ["method", "route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self.registry,
        )
        self.in_progress = Gauge("voxify_http_requests_in_progress", "Requests being answered", registry=self.registry)
        self.errors = Counter("voxify_http_errors", "Errors answered", ["code", "status"], registry=self.registry)
        self.limits = Counter("voxify_limits_hit", "Requests refused by a limit", ["limit"], registry=self.registry)
        for limit in LIMITS:
            self.limits.labels(limit)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is a template; a method that HTTP does not know counts as OTHER."""
        known = known_method(method)
        self.requests.labels(known, route, str(int(status))).inc()
        self.seconds.labels(known, route).observe(seconds)

    def refused(self, error: ApiError) -> None:
        """Count an answer that is an error, by its code and, where a limit was hit, by the limit."""
        self.errors.labels(self._codes(error.code), str(int(error.status))).inc()
        match error:
            case QuotaExceededError():
                limit = (error.details or {}).get("quota")
            case TooManyAttemptsError():
                limit = "attempts"
            case RateLimitedError():
                limit = "requests"
            case _:
                return
        self.limits.labels(limit if limit in LIMITS else "other").inc()
