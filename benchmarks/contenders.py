"""The two engines behind one face: speak a batch of chunks, and start a passage."""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from benchmarks import workload
from benchmarks.workload import Work
from inference import batching, upstream, wire
from inference.mel import HOP_LENGTH, SAMPLE_RATE
from inference.synthesis import Synthesizer


class Contender(Protocol):
    """``largest`` is the most chunks that it takes at once."""

    largest: int

    def speak(self, works: Sequence[Work]) -> None:
        """Sound of every chunk, on the CPU, when it returns."""
        ...

    def start(self, passages: int, *, steps: int) -> list[float]:
        """Seconds until each of as many passages, asked for at once, has its first sound."""
        ...


@dataclass
class Engine:
    """This project's engine, from items of the wire to values of the wire."""

    synthesizer: Synthesizer
    largest: int = 16
    frames: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)

    def speak(self, works: Sequence[Work]) -> None:
        results = self.synthesizer.synthesize([work.item for work in works])
        failed = [result.error for result in results if isinstance(result, wire.Failure)]
        if failed:
            raise RuntimeError(failed[0].message)
        self._count(works)

    def _count(self, works: Sequence[Work]) -> None:
        sampler = self.synthesizer.pool.load(self.synthesizer.registry.default).sampler
        reference = int(workload.REFERENCE_SECONDS * SAMPLE_RATE) // HOP_LENGTH
        lengths = [reference + work.frames for work in works]
        self.frames += sum(lengths)
        self.padded += sum(
            batching.padded_frames([lengths[i] for i in batch]) for batch in batching.split(lengths, sampler.max_batch_frames)
        )

    @property
    def padding(self) -> float:
        """Share of the computed frames that was padding, since the start."""
        return 1 - self.frames / self.padded if self.padded else 0.0

    def start(self, passages: int, *, steps: int) -> list[float]:
        started = time.perf_counter()
        firsts = []
        for seed in range(passages):
            first = workload.plan(self.synthesizer, workload.PASSAGE)[0]
            firsts.append(workload.work(first.text, first.frames, steps=steps, seed=seed))
        seconds: list[float] = []
        for at in range(0, passages, self.largest):
            batch = firsts[at : at + self.largest]
            self.speak(batch)
            seconds += [time.perf_counter() - started] * len(batch)
        return seconds


class Upstream:
    """F5-TTS's own ``infer_batch_process``, one text a call, on the same weights and device, for the same number of frames; in the type
    that its ``load_checkpoint`` takes: float16 on CUDA, float32 elsewhere."""

    largest = 1

    def __init__(self, synthesizer: Synthesizer) -> None:
        from f5_tts.infer import utils_infer
        from f5_tts.model import CFM

        model = synthesizer.pool.load(synthesizer.registry.default)
        tokens = upstream.base_vocabulary_file().read_text(encoding="utf-8").rstrip("\n").split("\n")
        self.dtype = torch.float16 if model.sampler.device.type == "cuda" else torch.float32
        self.network = CFM(
            transformer=copy.deepcopy(model.sampler.transformer).to(self.dtype),
            mel_spec_kwargs={"mel_spec_type": "vocos"},
            vocab_char_map={token: i for i, token in enumerate(tokens)},
        ).eval()
        self.vocoder: Any = model.vocoder
        self.device = model.sampler.device
        self.functions = utils_infer
        self.reference = (torch.from_numpy(workload.reference())[None], SAMPLE_RATE)

    def speak(self, works: Sequence[Work]) -> None:
        for work in works:
            self._one(work.item.text, work.item.nfe_step, work.frames, work.item.seed)

    def _one(self, text: str, steps: int, frames: int | None, seed: int = 0) -> None:
        duration = None
        if frames is not None:
            total = self.reference[0].shape[-1] // HOP_LENGTH + frames
            duration = (total + 0.5) * HOP_LENGTH / SAMPLE_RATE
        torch.manual_seed(seed)
        sound, _, _ = next(
            self.functions.infer_batch_process(
                self.reference, workload.REFERENCE_TEXT + " ", [text], self.network, self.vocoder.model,
                progress=None, nfe_step=steps, fix_duration=duration, device=self.device,
            )
        )  # fmt: skip
        if frames is not None and len(sound) != (frames - 1) * HOP_LENGTH:
            raise RuntimeError(f"{len(sound)} samples of {frames} frames")

    def start(self, passages: int, *, steps: int) -> list[float]:
        started = time.perf_counter()
        seconds = []
        rate = len(workload.REFERENCE_TEXT.encode()) / workload.REFERENCE_SECONDS
        longest = int(rate * (22 - workload.REFERENCE_SECONDS))
        for seed in range(passages):
            with contextlib.redirect_stdout(io.StringIO()):
                first = self.functions.chunk_text(workload.PASSAGE, max_chars=longest)[0]
            self._one(first, steps, None, seed)
            seconds.append(time.perf_counter() - started)
        return seconds
