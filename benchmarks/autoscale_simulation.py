"""Jobs, workers and inference replicas as events in time.

A job waits in one queue, first come first served, until a slot of a worker takes it; the slot has a few of its chunks at the inference
tier at once and is free when all of them are done. A replica computes one batch at a time and takes what waits, up to a batch's size. A
replica that has as much as it lets in refuses, and the chunk waits with its worker until there is room. New workers and replicas start
for a while before they take anything; those that are to go take nothing more and end what they have.

Left out: failures and repeats, planning and encoding, the claim order by user, and that a refused chunk comes back only after its
`Retry-After`. A worker that goes has as long as its jobs need, where the real one puts them back after `VOXIFY_DRAIN_S`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.autoscale_model import ServiceTime
from benchmarks.autoscale_scaler import AGE, BUSY, BUSY_WINDOW_S, JOBS, PERIOD_S, REQUESTS, Rule, Scaler
from benchmarks.autoscale_traffic import Arrival

LONGEST_DRAIN_S = 6 * 3600.0


@dataclass(frozen=True)
class Plant:
    """What serves the jobs.

    Attributes:
        slots: jobs at once of one worker; chunk_concurrency: chunks of one job at the inference tier at once.
        batch: chunks that a replica computes together, at most.
        admitted, patience_s: a replica refuses what would make more requests than the first, or take it longer than the second: three
            quarters of what the service takes, as the rest is kept for live speech, which nobody asks for here.
        worker_start_s, replica_start_s: from the decision until it takes work.
        staleness_s: age of the metrics that the scalers decide by.
    """

    workers: Rule
    replicas: Rule
    service: ServiceTime
    slots: int = 4
    chunk_concurrency: int = 4
    batch: int = 16
    admitted: int = 48
    patience_s: float = 22.5
    worker_start_s: float = 15.0
    replica_start_s: float = 60.0
    staleness_s: float = 15.0


@dataclass
class Outcome:
    """What came of a day; times in seconds.

    Attributes:
        waited: of each job, from its creation until a worker took it; turnaround: until its end.
        queue_age: of the oldest waiting job, each `PERIOD_S`; job_seconds: the number of jobs in the system, integrated over time.
        replica_s: that replicas were there, starting and ending included; busy_s: that they computed.
        unfinished: jobs that had not ended `LONGEST_DRAIN_S` after the last one came.
    """

    arrived: int = 0
    completed: int = 0
    unfinished: int = 0
    waited: list[float] = field(default_factory=list)
    turnaround: list[float] = field(default_factory=list)
    queue_age: list[float] = field(default_factory=list)
    job_seconds: float = 0.0
    worker_s: float = 0.0
    replica_s: float = 0.0
    busy_s: float = 0.0
    sound_s: float = 0.0
    refused: int = 0
    most_workers: int = 0
    most_replicas: int = 0
    started: int = 0
    ended_s: float = 0.0


@dataclass(eq=False)
class _Job:
    arrival: Arrival
    worker: _Worker | None = None
    next_chunk: int = 0
    done: int = 0


@dataclass(eq=False)
class _Worker:
    since: float
    ready: bool = False
    leaving: bool = False
    running: int = 0


@dataclass(eq=False)
class _Replica:
    since: float
    ready: bool = False
    leaving: bool = False
    waiting: deque[tuple[_Job, float]] = field(default_factory=deque)
    batch: list[tuple[_Job, float]] = field(default_factory=list)
    waiting_s: float = 0.0  # seconds of sound in `waiting` and `batch`

    @property
    def running(self) -> int:
        return len(self.waiting) + len(self.batch)


class Simulation:
    """One run. Make a new one for the next."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.outcome = Outcome()
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbered = 0
        self._queue: deque[_Job] = deque()
        self._refused: deque[tuple[_Job, float]] = deque()
        self._workers: list[_Worker] = []
        self._replicas: list[_Replica] = []
        self._scale_workers, self._scale_replicas = Scaler(plant.workers), Scaler(plant.replicas)
        self._seen: deque[tuple[float, dict[str, float]]] = deque()  # when, and the metrics then
        self._computed_s = 0.0  # in batches that have ended, which is when a replica tells of them
        self._computed_until: deque[float] = deque([0.0], maxlen=round(BUSY_WINDOW_S / PERIOD_S) + 1)
        self._in_system = 0
        self._coming = 0

    def run(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Serve them all, or as many as there is time for."""
        # What there is at midnight has been there for long.
        for _ in range(self.plant.workers.minimum):
            self._workers.append(_Worker(0.0, ready=True))
        for _ in range(self.plant.replicas.minimum):
            self._replicas.append(_Replica(0.0, ready=True))
        for arrival in arrivals:
            self._at(arrival.at_s, partial(self._arrive, _Job(arrival)))
        self._coming = len(arrivals)
        self._at(0.0, self._scale)
        last = (arrivals[-1].at_s if arrivals else 0.0) + LONGEST_DRAIN_S
        while self._events and self._events[0][0] <= last:
            at, _, happen = heapq.heappop(self._events)
            self.outcome.job_seconds += self._in_system * (at - self._now)
            self._now = at
            happen()
        outcome = self.outcome
        outcome.ended_s = self._now
        outcome.unfinished = outcome.arrived - outcome.completed
        outcome.worker_s += sum(self._now - worker.since for worker in self._workers)
        outcome.replica_s += sum(self._now - replica.since for replica in self._replicas)
        return outcome

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        self._numbered += 1
        heapq.heappush(self._events, (when, self._numbered, happen))

    def _arrive(self, job: _Job) -> None:
        self._coming -= 1
        self._in_system += 1
        self.outcome.arrived += 1
        self._queue.append(job)
        self._claim()

    def _claim(self) -> None:
        while self._queue:
            free = [w for w in self._workers if w.ready and not w.leaving and w.running < self.plant.slots]
            if not free:
                return
            worker, job = min(free, key=lambda each: each.running), self._queue.popleft()
            worker.running += 1
            job.worker = worker
            self.outcome.waited.append(self._now - job.arrival.at_s)
            for _ in range(self.plant.chunk_concurrency):
                self._send_next(job)

    def _send_next(self, job: _Job) -> None:
        if job.next_chunk < len(job.arrival.chunks):
            sound_s = job.arrival.chunks[job.next_chunk]
            job.next_chunk += 1
            if not self._place(job, sound_s):
                self.outcome.refused += 1
                self._refused.append((job, sound_s))

    def _place(self, job: _Job, sound_s: float) -> bool:
        """Give a chunk to the replica with the fewest requests, if that one has room."""
        there = [replica for replica in self._replicas if replica.ready and not replica.leaving]
        replica = min(there, key=lambda each: each.running, default=None)
        if replica is None or not self._has_room(replica):
            return False
        replica.waiting.append((job, sound_s))
        replica.waiting_s += sound_s
        self._compute(replica)
        return True

    def _has_room(self, replica: _Replica) -> bool:
        patient = replica.running < 2 or replica.waiting_s * self.plant.service.a_second_s < self.plant.patience_s
        return replica.running < self.plant.admitted and patient

    def _compute(self, replica: _Replica) -> None:
        if replica.batch or not replica.waiting:
            return
        replica.batch = [replica.waiting.popleft() for _ in range(min(self.plant.batch, len(replica.waiting)))]
        takes = self.plant.service.of([sound_s for _, sound_s in replica.batch])
        self.outcome.busy_s += takes
        self._at(self._now + takes, partial(self._computed, replica))

    def _computed(self, replica: _Replica) -> None:
        batch, replica.batch = replica.batch, []
        self._computed_s += self.plant.service.of([sound_s for _, sound_s in batch])
        for job, sound_s in batch:
            replica.waiting_s -= sound_s
            self.outcome.sound_s += sound_s
            job.done += 1
            if job.done == len(job.arrival.chunks):
                self._end(job)
            else:
                self._send_next(job)
        self._compute(replica)
        self._place_refused()
        self._claim()
        if replica.leaving and not replica.running:
            self._remove_replica(replica)

    def _place_refused(self) -> None:
        while self._refused and self._place(*self._refused[0]):
            self._refused.popleft()

    def _end(self, job: _Job) -> None:
        self._in_system -= 1
        self.outcome.completed += 1
        self.outcome.turnaround.append(self._now - job.arrival.at_s)
        worker = job.worker
        if worker is not None:
            worker.running -= 1
            if worker.leaving and not worker.running:
                self._remove_worker(worker)

    def _scale(self) -> None:
        """What both autoscalers do, and the look at the queue that metrics are made of."""
        plant, outcome = self.plant, self.outcome
        self._seen.append((self._now, self._metrics()))
        outcome.queue_age.append(self._seen[-1][1][AGE])
        while len(self._seen) > 1 and self._seen[1][0] <= self._now - plant.staleness_s:
            self._seen.popleft()
        _, metrics = self._seen[0]
        staying = sum(not worker.leaving for worker in self._workers)
        self._to_workers(self._scale_workers.decide(self._now, metrics, staying) - staying)
        staying = sum(not replica.leaving for replica in self._replicas)
        self._to_replicas(self._scale_replicas.decide(self._now, metrics, staying) - staying)
        outcome.most_workers = max(outcome.most_workers, len(self._workers))
        outcome.most_replicas = max(outcome.most_replicas, len(self._replicas))
        if self._coming or self._in_system:
            self._at(self._now + PERIOD_S, self._scale)

    def _metrics(self) -> dict[str, float]:
        self._computed_until.append(self._computed_s)
        return {
            AGE: self._now - self._queue[0].arrival.at_s if self._queue else 0.0,
            JOBS: float(len(self._queue) + sum(worker.running for worker in self._workers)),
            REQUESTS: float(sum(replica.running for replica in self._replicas)),
            BUSY: 100 * (self._computed_s - self._computed_until[0]) / BUSY_WINDOW_S,
        }

    def _to_workers(self, more: int) -> None:
        for _ in range(more):
            worker = _Worker(self._now)
            self._workers.append(worker)
            self._at(self._now + self.plant.worker_start_s, partial(self._ready, worker))
        for worker in sorted((w for w in self._workers if not w.leaving), key=lambda w: (w.ready, w.running))[: max(0, -more)]:
            worker.leaving = True
            if not worker.running:
                self._remove_worker(worker)

    def _to_replicas(self, more: int) -> None:
        for _ in range(more):
            replica = _Replica(self._now)
            self._replicas.append(replica)
            self.outcome.started += 1
            self._at(self._now + self.plant.replica_start_s, partial(self._ready, replica))
        for replica in sorted((r for r in self._replicas if not r.leaving), key=lambda r: (r.ready, r.running))[: max(0, -more)]:
            replica.leaving = True
            if not replica.running:
                self._remove_replica(replica)

    def _ready(self, started: _Worker | _Replica) -> None:
        started.ready = True
        self._place_refused()
        self._claim()

    def _remove_worker(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self.outcome.worker_s += self._now - worker.since

    def _remove_replica(self, replica: _Replica) -> None:
        self._replicas.remove(replica)
        self.outcome.replica_s += self._now - replica.since
