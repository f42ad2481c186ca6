"""Prometheus metrics of the tier. Every label comes from a bounded set."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter("voxify_http_requests_total", "Requests answered", ["method", "route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "voxify_http_request_duration_seconds",
            "From the request's arrival to the end of its answer",
            ["method", "route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self.registry,
        )
        self.in_progress = Gauge("voxify_http_requests_in_progress", "Requests being answered", registry=self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is a template; a method that HTTP does not know counts as OTHER."""
        known = method if method in METHODS else "OTHER"
        self.requests.labels(known, route, str(int(status))).inc()
        self.seconds.labels(known, route).observe(seconds)
