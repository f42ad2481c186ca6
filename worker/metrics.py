"""What a process that works on jobs counts, for Prometheus. Every label comes from a bounded set.

Each process has a registry of its own and answers for itself: the API at its `/metrics`, `voxify worker` and `voxify beat` on a port
(`serve`). Prometheus adds them up; a process that dies takes nothing of the others with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, start_http_server

from store.models import Job
from worker.lanes import LANES, lane_of

KINDS = frozenset(kind for kinds in LANES.values() for kind in kinds)
OTHER_KIND = "other"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_MAX_CODES = 200
WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
WORK = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)


class Codes:
    """Error codes as labels. They are constants of the code; should ever more than 200 come along, the rest are ``OTHER``."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, code: str) -> str:
        if code not in self._known:
            if len(self._known) >= _MAX_CODES or _CODE.fullmatch(code) is None:
                return "OTHER"
            self._known.add(code)
        return code


def new_registry() -> CollectorRegistry:
    """A registry with what the process itself takes: memory, processor time, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class WorkMetrics:
    """Jobs, chunks and the cache of speech, as this process has seen them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self._codes = Codes()
        self.claim_delay = Histogram(
            "voxify_job_claim_delay_seconds",
            "From when a job was due to when this process claimed it",
            ["lane"],
            buckets=WAITS,
            registry=registry,
        )
        self.duration = Histogram(
            "voxify_job_duration_seconds", "From a claim to the end of the attempt", ["kind", "end"], buckets=WORK, registry=registry
        )
        self.running = Gauge("voxify_jobs_running", "Jobs that this process works on", ["lane"], registry=registry)
        self.failures = Counter("voxify_job_failures", "Jobs that failed for good", ["kind", "code"], registry=registry)
        self.retries = Counter(
            "voxify_job_retries", "Attempts that failed and are followed by another", ["kind", "code"], registry=registry
        )
        self.leases_expired = Counter(
            "voxify_leases_expired", "Jobs taken back from a worker that fell silent", ["kind"], registry=registry
        )
        self.chunk = Histogram(
            "voxify_chunk_duration_seconds",
            "From asking the inference service for a chunk to its sound, repeats included",
            ["end"],
            buckets=WORK,
            registry=registry,
        )
        self.cache = Counter("voxify_speech_cache", "Jobs looked for in the cache of speech", ["result"], registry=registry)
        self.speech = Counter("voxify_speech_seconds", "Seconds of speech made", registry=registry)
        self.real_time = Histogram(
            "voxify_speech_real_time_factor",
            "Seconds a job of speech took for a second of its sound",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        # There from the start, so that a rate can be told from the first one on.
        for lane in LANES:
            self.claim_delay.labels(lane)
            self.running.labels(lane)
        for result in ("hit", "miss"):
            self.cache.labels(result)

    @contextmanager
    def job(self, job: Job) -> Iterator[None]:
        """Around an attempt: how long its job waited, and that it runs."""
        lane = lane_of(job.kind)
        if job.claimed_at is not None:  # not where a request has begun with its own job at once
            self.claim_delay.labels(lane).observe(max(0.0, (job.claimed_at - job.available_at).total_seconds()))
        with self.running.labels(lane).track_inprogress():
            yield

    def ended(self, kind: str, end: str, seconds: float) -> None:
        """An attempt is over; `end` is the status that the job was left in, or ``lost`` or ``interrupted``."""
        self.duration.labels(_known(kind), end).observe(seconds)

    def failed(self, kind: str, code: str) -> None:
        self.failures.labels(_known(kind), self._codes(code)).inc()

    def retried(self, kind: str, code: str) -> None:
        self.retries.labels(_known(kind), self._codes(code)).inc()

    def lease_expired(self, kind: str) -> None:
        self.leases_expired.labels(_known(kind)).inc()

    def spoke(self, took_s: float, sound_s: float) -> None:
        """A job of speech is made; not for those from the cache."""
        self.speech.inc(sound_s)
        if sound_s > 0:
            self.real_time.observe(took_s / sound_s)

    def looked_up(self, *, hit: bool) -> None:
        self.cache.labels("hit" if hit else "miss").inc()


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Answer `/metrics` in a thread until the process ends. Raises OSError when the port cannot be had."""
    start_http_server(port, addr=host, registry=registry)


def _known(kind: str) -> str:
    return kind if kind in KINDS else OTHER_KIND
