"""Ways to share a device among chunks that come at random, on a clock of the device's own time.

A device is asked to work and answers how long it took; between two pieces of work the clock jumps to the next arrival. So the same loop
runs with an engine that really computes (`scheduler_engines`) and with one that is calculated (`scheduler_model`), and nobody sleeps.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.inference import percentile
from inference import batching
from inference.admission import Admission


@dataclass(eq=False)
class Chunk:
    """What is asked for, and when it was answered.

    Attributes:
        at: time of arrival in seconds.
        first: whether it is the first of its passage, for whose sound a listener waits.
        frames: length in frames, reference included.
        steps: of its schedule.
        sound_s: length of the sound that becomes of it.
        work: what an engine that really computes is given.
        done: time of its answer; None where it was refused.
    """

    at: float
    first: bool
    frames: int
    steps: int
    sound_s: float
    work: Any = None
    done: float | None = None


class Device(Protocol):
    """``frames`` and ``padded`` count the frames of all steps so far, without and with padding."""

    @property
    def frames(self) -> int: ...

    @property
    def padded(self) -> int: ...

    def run(self, chunks: Sequence[Chunk]) -> float:
        """Speak these together; seconds that it took."""
        ...


class StepDevice(Protocol):
    """Counts as `Device` does."""

    @property
    def frames(self) -> int: ...

    @property
    def padded(self) -> int: ...

    def step(self, joining: Sequence[Chunk]) -> tuple[float, list[Chunk]]:
        """Let these join, and do one step of all that run; seconds that it took, and those that are spoken now."""
        ...


class Scheduler(Protocol):
    """``device`` is what it works with."""

    device: Any

    def work(self, waiting: deque[Chunk]) -> tuple[float, list[Chunk]]:
        """Take what it likes of ``waiting``, in order of arrival, and do a piece of work; seconds, and those that are answered."""
        ...

    @property
    def running(self) -> bool: ...


@dataclass
class BatchByBatch:
    """BentoML's dispatcher before the engine, as it is: up to ``largest`` of those that wait, and all answers when the last is ready.

    Its waiting for a batch to fill is left out.
    """

    device: Device
    largest: int
    running: bool = False

    def work(self, waiting: deque[Chunk]) -> tuple[float, list[Chunk]]:
        batch = [waiting.popleft() for _ in range(min(self.largest, len(waiting)))]
        return self.device.run(batch), batch


@dataclass
class PassByPass:
    """The engine's forward batches, each answered when it is done and the next chosen among all that wait by then."""

    device: Device
    budget: int
    max_padding: float = batching.MAX_PADDING
    running: bool = False

    def work(self, waiting: deque[Chunk]) -> tuple[float, list[Chunk]]:
        batch = [waiting.popleft()]
        for chunk in list(waiting):
            if chunk.steps == batch[0].steps and fits([c.frames for c in (*batch, chunk)], self.budget, self.max_padding):
                waiting.remove(chunk)
                batch.append(chunk)
        return self.device.run(batch), batch


@dataclass
class StepByStep:
    """A running batch that chunks join and leave between steps, as long as their frames keep within ``budget``."""

    device: StepDevice
    budget: int
    _active: list[Chunk] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return bool(self._active)

    def work(self, waiting: deque[Chunk]) -> tuple[float, list[Chunk]]:
        joining: list[Chunk] = []
        while waiting and (not self._active or sum(c.frames for c in (*self._active, waiting[0])) <= self.budget):
            joining.append(waiting.popleft())
            self._active.append(joining[-1])
        seconds, done = self.device.step(joining)
        self._active = [chunk for chunk in self._active if chunk not in done]
        return seconds, done


def fits(lengths: Sequence[int], budget: int, max_padding: float) -> bool:
    """Whether items of these lengths may share a pass."""
    padded = batching.padded_frames(lengths)
    return padded <= budget and padded - sum(lengths) <= max_padding * padded


class Service:
    """Lets chunks come, each at its time, and answers or refuses them as the service's admission does. Seconds.

    Attributes:
        clock: of the device; ``busy``: how much of it was work; ``processor``: how much time of processors that took.
    """

    def __init__(self, scheduler: Scheduler, chunks: Sequence[Chunk], *, places: int = 64, patience_s: float = 30.0) -> None:
        self.scheduler, self.chunks = scheduler, chunks
        self.clock = self.busy = self.processor = 0.0
        self._admission = Admission(places, lambda: self.clock, patience_s=patience_s)
        self._coming, self._waiting = deque(chunks), deque[Chunk]()
        self._before = scheduler.device.frames, scheduler.device.padded

    @property
    def open(self) -> bool:
        """Whether there is still something to do."""
        return bool(self._coming or self._waiting or self.scheduler.running)

    def advance(self) -> None:
        """Let in who has come, and do one piece of work, or jump to the next arrival."""
        while self._coming and self._coming[0].at <= self.clock:
            chunk = self._coming.popleft()
            # All of the places, which jobs alone would not get: what is compared is the schedulers.
            if self._admission.enter(live=True):
                self._waiting.append(chunk)
        if not self._waiting and not self.scheduler.running:
            self.clock = self._coming[0].at if self._coming else self.clock
            return
        began = time.process_time()
        seconds, done = self.scheduler.work(self._waiting)
        self.processor += time.process_time() - began
        self.clock += seconds
        self.busy += seconds
        for chunk in done:
            chunk.done = self.clock
            self._admission.leave(live=True)

    def told(self) -> dict[str, Any]:
        """Sound a second from the first arrival to the last answer, and a second of the device being busy; latencies of chunks, and of the
        first chunks of passages; shares of padding and of refusals."""
        device = self.scheduler.device
        frames, padded = device.frames - self._before[0], device.padded - self._before[1]
        return told(self.chunks, self.busy) | {"padding_share": round(1 - frames / padded, 3)}


def serve(scheduler: Scheduler, chunks: Sequence[Chunk], *, places: int = 64, patience_s: float = 30.0) -> dict[str, Any]:
    """A `Service` from its first chunk to its last; what it tells."""
    service = Service(scheduler, chunks, places=places, patience_s=patience_s)
    while service.open:
        service.advance()
    return service.told()


def side_by_side(services: Sequence[Service]) -> None:
    """Run services in turn, always the one whose clock is furthest behind, so that whatever else the machine does hits all of them."""
    while going := [service for service in services if service.open]:
        min(going, key=lambda service: service.clock).advance()


def told(chunks: Sequence[Chunk], busy: float) -> dict[str, Any]:
    """The numbers of `Service.told`, but for those of the device."""
    answered = [(chunk, chunk.done) for chunk in chunks if chunk.done is not None]
    latencies = [done - chunk.at for chunk, done in answered]
    first = [done - chunk.at for chunk, done in answered if chunk.first]
    sound = sum(chunk.sound_s for chunk, _ in answered)
    return {
        "chunks": len(chunks),
        "refused_share": round(1 - len(answered) / len(chunks), 3),
        "sound_s_per_s": round(sound / (max(done for _, done in answered) - chunks[0].at), 3),
        "sound_s_per_busy_s": round(sound / busy, 3),
        "latency_p50_s": round(percentile(latencies, 0.5), 4),
        "latency_p95_s": round(percentile(latencies, 0.95), 4),
        "first_audio_p50_s": round(percentile(first, 0.5), 4),
        "first_audio_p95_s": round(percentile(first, 0.95), 4),
    }


def arrivals(make: Callable[[int, int], Chunk], count: int, *, chunks_a_s: float, steps: Sequence[int], seed: int) -> list[Chunk]:
    """Passages of one to four chunks at random (Poisson), all chunks of one at once, as a worker sends them.

    Args:
        make: a chunk at time 0 for its number and its steps; the lengths go round.
        count: how many chunks there are at least.
        chunks_a_s: mean rate of chunks.
        steps: a passage draws one of these for all its chunks.
    """
    random = np.random.default_rng(seed)
    chunks: list[Chunk] = []
    at = 0.0
    while len(chunks) < count:
        size, number_of_steps = int(random.integers(1, 5)), int(random.choice(list(steps)))
        at += float(random.exponential(2.5 / chunks_a_s))
        start = int(random.integers(0, 4))
        for i in range(size):
            chunk = make(start + i, number_of_steps)
            chunk.at, chunk.first = at, i == 0
            chunks.append(chunk)
    if not math.isfinite(at):
        raise ValueError("the rate must be positive")
    return chunks
