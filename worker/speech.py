"""Text to sound, chunk by chunk: what a job and a direct synthesis have in common."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

import tracing
from audio.effects import Gain, RunningLoudness
from audio.join import Joiner
from audio.pitch import pitch_shift
from audio.resample import Resampler
from worker.inference import SAMPLE_RATE, InferenceClient, PlannedChunk, Reference, Sampling, SpeechPlan
from worker.metrics import WorkMetrics

Tap = Callable[[NDArray[np.float32]], Awaitable[None]]
"""Is given each block of finished sound as soon as there is one."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the finished sound is to be: rate in Hz, pitch as a factor (1 unchanged), volume as a factor of amplitude.

    With a loudness in LUFS, all sound is brought to that, and the volume comes on top.
    """

    sample_rate: int
    pitch: float = 1.0
    volume: float = 1.0
    loudness_lufs: float | None = None


async def chunks_in_order(
    plan: SpeechPlan,
    reference: Reference,
    sampling: Sampling,
    inference: InferenceClient,
    *,
    concurrency: int,
    request_id: str | None,
    live: bool = False,
    metrics: WorkMetrics | None = None,
) -> AsyncGenerator[NDArray[np.float32]]:
    """The sound of each chunk of the plan, in order, with up to `concurrency` requests under way, `live` ones before others.

    When the consumer stops, or a chunk fails, the requests that still run are cancelled.
    """
    waiting = iter(plan.chunks)
    under_way: deque[asyncio.Task[NDArray[np.float32]]] = deque()

    def send_next() -> None:
        chunk = next(waiting, None)
        if chunk is not None:
            # Every chunk has its own noise, told by the job's seed alone, so that a retry sounds the same.
            sampled = Sampling(sampling.seed + chunk.index, sampling.nfe_step, sampling.cfg_strength)
            call = partial(inference.synthesize, chunk, plan=plan, reference=reference, sampling=sampled, request_id=request_id, live=live)
            under_way.append(asyncio.create_task(_watched(call, chunk, metrics)))

    try:
        for _ in range(concurrency):
            send_next()
        while under_way:
            sound = await under_way[0]
            under_way.popleft()
            send_next()
            yield sound
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _watched(
    call: Callable[[], Awaitable[NDArray[np.float32]]], chunk: PlannedChunk, metrics: WorkMetrics | None
) -> NDArray[np.float32]:
    began, end = time.monotonic(), "cancelled"
    try:
        with tracing.span("chunk", {"voxify.chunk": chunk.index, "voxify.frames": chunk.frames}):
            sound = await call()
    except Exception:
        end = "failed"
        raise
    else:
        end = "ok"
        return sound
    finally:
        if metrics is not None:
            metrics.chunk.labels(end).observe(time.monotonic() - began)


class Finisher:
    """Chunks to finished sound: pitched, cross-faded, resampled and levelled, as they come.

    A manner with a loudness leaves the level to others: :class:`audio.level.LevelledEncoder` for the file, `Heard` for a listener.
    """

    def __init__(self, manner: Manner) -> None:
        self._pitch = manner.pitch
        self._joiner = Joiner(SAMPLE_RATE)
        self._resampler = Resampler(SAMPLE_RATE, manner.sample_rate)
        self._gain = Gain(manner.sample_rate, manner.volume) if manner.loudness_lufs is None else None

    @property
    def spans_s(self) -> list[tuple[float, float]]:
        """Where each chunk so far lies in the sound, in seconds; neighbours overlap by the cross-fade."""
        return [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in self._joiner.spans]

    async def blocks(self, chunks: AsyncGenerator[NDArray[np.float32]]) -> AsyncGenerator[NDArray[np.float32]]:
        """Mono blocks at the rate of the manner: one for each chunk that goes in, so that a consumer can count, and the tail."""
        async with aclosing(chunks) as source:
            async for chunk in source:
                yield await asyncio.to_thread(self._push, chunk)
        yield await asyncio.to_thread(self._flush)

    def _push(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._levelled(self._resampler.process(self._joiner.push(pitch_shift(chunk, SAMPLE_RATE, self._pitch))))

    def _flush(self) -> NDArray[np.float32]:
        tail = [self._levelled(self._resampler.process(self._joiner.flush())), self._levelled(self._resampler.flush())]
        if self._gain is not None:
            tail.append(self._gain.flush())
        return np.concatenate(tail)

    def _levelled(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return block if self._gain is None else self._gain.process(block)


class Heard:
    """The blocks of a `Finisher` as somebody hears them while they are made, at a loudness that is not known to the end."""

    def __init__(self, tap: Tap | None, manner: Manner) -> None:
        self._tap = tap
        self._level: RunningLoudness | None = None
        if manner.loudness_lufs is not None:
            self._level = RunningLoudness(manner.sample_rate, manner.loudness_lufs, manner.volume)

    async def block(self, block: NDArray[np.float32]) -> None:
        if self._tap is not None:
            await self._tap(block if self._level is None else await asyncio.to_thread(self._level.process, block))

    async def end(self) -> None:
        if self._tap is not None and self._level is not None:
            await self._tap(self._level.flush())
