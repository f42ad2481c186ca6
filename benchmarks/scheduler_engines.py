"""The engine and the prototype of `step_level`, both really computing, as devices of `schedulers`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.scheduler_model import fitted
from benchmarks.schedulers import Chunk
from benchmarks.step_level import StepSampler
from inference import batching, wire
from inference.engine import SampleItem
from inference.mel import HOP_LENGTH, SAMPLE_RATE
from inference.registry import Registry
from inference.synthesis import Ready, Synthesizer

VOICE = "voxify-small-en"


def chunk(synthesizer: Synthesizer, number: int, steps: int) -> Chunk:
    """A chunk of one of the workload's texts, with its length as the engine will have it."""
    text = workload.TEXTS[number % len(workload.TEXTS)]
    frames = sum(each.frames for each in workload.plan(synthesizer, text))
    work = workload.work(text, frames, steps=steps, seed=number)
    sample = synthesizer._prepare(0, work.item).sample
    return Chunk(at=0.0, first=True, frames=sample.total_frames, steps=steps, sound_s=(frames - 1) * HOP_LENGTH / SAMPLE_RATE, work=work)


@dataclass
class EngineDevice:
    """The engine as the service calls it: values of the wire in and out."""

    synthesizer: Synthesizer
    frames: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)

    def run(self, chunks: Sequence[Chunk]) -> float:
        started = time.perf_counter()
        results = self.synthesizer.synthesize([each.work.item for each in chunks])
        seconds = time.perf_counter() - started
        check(results)
        self._count(chunks)
        return seconds

    def _count(self, chunks: Sequence[Chunk]) -> None:
        sampler = self.synthesizer.pool.load(self.synthesizer.registry.default).sampler
        for steps, group in batching.group(chunks, lambda each: each.steps).items():
            lengths = [each.frames for each in group]
            for indices in batching.split(lengths, sampler.max_batch_frames):
                members = [lengths[i] for i in indices]
                self.frames += steps * sum(members)
                self.padded += steps * batching.padded_frames(members)


@dataclass
class PrototypeDevice:
    """The prototype with the rest of the engine around it: an item is prepared when it joins, and vocoded and encoded when it leaves.

    ``passes`` collects, for each step, the frames of its passes with padding and the seconds that it took; ``beside``, for each piece of
    work, how many joined and left and the seconds beside the step.
    """

    synthesizer: Synthesizer
    passes: list[tuple[int, float]] = field(default_factory=list, init=False)
    beside: list[tuple[int, float]] = field(default_factory=list, init=False)
    _prepared: dict[int, tuple[Chunk, Ready]] = field(default_factory=dict, init=False)
    _number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._model = self.synthesizer.pool.load(self.synthesizer.registry.default)
        self._sampler = StepSampler(self._model.sampler)

    @property
    def frames(self) -> int:
        return self._sampler.frames

    @property
    def padded(self) -> int:
        return self._sampler.padded

    def step(self, joining: Sequence[Chunk]) -> tuple[float, list[Chunk]]:
        started = time.perf_counter()
        for each in joining:
            prepared = self.synthesizer._prepare(0, each.work.item)
            self._number += 1
            self._prepared[self._number] = (each, prepared)
            sample: SampleItem = prepared.sample
            self._sampler.join(self._number, sample)
        padded, stepping = self.padded, time.perf_counter()
        finished = self._sampler.step()
        stepped = time.perf_counter() - stepping
        self.passes.append((self.padded - padded, stepped))
        done = [(*self._prepared.pop(int(str(key))), mel) for key, mel in finished]
        mels = [mel[prepared.reference.frames :] for _, prepared, mel in done]
        sounds: list[Any] = self.synthesizer._vocode(self._model, mels) if mels else []
        for (_, prepared, _), sound in zip(done, sounds, strict=True):
            wire.encode_pcm(sound * prepared.reference.gain)
        seconds = time.perf_counter() - started
        self.beside.append((len(joining) + len(done), seconds - stepped))
        return seconds, [each for each, _, _ in done]


def step_time(devices: Sequence[PrototypeDevice], budget: int, mixed: float) -> dict[str, Any]:
    """Their step times, for `scheduler_model.StepTime`. A chunk joins and leaves, and what that takes is not split further."""
    beside = [each for device in devices for each in device.beside]
    chunk_s = 2 * sum(seconds for _, seconds in beside) / sum(moved for moved, _ in beside)
    passes = [each for device in devices for each in device.passes]
    return vars(fitted(passes, chunk_s=chunk_s, batch_s=0.0, mixed=mixed, budget=budget, source=f"measured: {VOICE}"))


def mixing(synthesizer: Synthesizer, repeats: int = 7) -> float:
    """How many times as long a pass of two items takes when they are at different times: median over pairs of steps, side by side."""
    sampler = synthesizer.pool.load(synthesizer.registry.default).sampler
    item = synthesizer._prepare(0, chunk(synthesizer, 2, 16).work.item).sample
    ratios = []
    for _ in range(repeats):
        alike, mixed = StepSampler(sampler), StepSampler(sampler)
        alike.join(0, item)
        mixed.join(0, item)
        mixed.step()
        alike.join(1, item)
        mixed.join(1, item)
        seconds = []
        for each in (alike, mixed):
            each.step()
            started = time.perf_counter()
            for _ in range(5):
                each.step()
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[1] / seconds[0])
    return float(statistics.median(ratios))


def bundled() -> Synthesizer:
    """The engine with the voice that comes with it, as the service loads it on a processor."""
    with tempfile.TemporaryDirectory() as folder:
        synthesizer = Synthesizer(Registry(Path(folder), model=VOICE), device="cpu")
        synthesizer.pool.start()
    return synthesizer


def check(results: Sequence[wire.SynthesisResult | wire.Failure]) -> None:
    """RuntimeError where one was not spoken: what fails is fast."""
    failed = [result.error.message for result in results if isinstance(result, wire.Failure)]
    if failed:
        raise RuntimeError(failed[0])
