"""A device that is calculated: seconds of a step by its padded frames, fitted to what was measured or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.schedulers import Chunk
from inference import batching


@dataclass(frozen=True)
class StepTime:
    """Seconds that things take.

    Attributes:
        floor_s: of a step however few frames it has: launches of kernels.
        frame_s: of a padded frame in a step, guidance included; a pass takes ``max(floor_s, frame_s * frames)``, or the sum of both
            where ``adds``.
        chunk_s: beside the steps, of a chunk: embedding its text, vocoding, encoding.
        batch_s: the same of a batch, or of chunks that join or leave together.
        mixed: factor of a pass whose items have different times, so that the modulations cannot go into the weights.
        budget: most padded frames in one pass.
        source: where the numbers come from.
    """

    floor_s: float
    frame_s: float
    chunk_s: float
    batch_s: float
    mixed: float
    budget: int
    source: str
    adds: bool = False

    def of(self, frames: int) -> float:
        """Seconds of one pass of so many padded frames."""
        return self.floor_s + self.frame_s * frames if self.adds else max(self.floor_s, self.frame_s * frames)


@dataclass
class ModelDevice:
    """Batches as the engine makes them: by schedule, then by the frame budget and the padding."""

    time: StepTime
    max_padding: float = batching.MAX_PADDING
    frames: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)

    def run(self, chunks: Sequence[Chunk]) -> float:
        seconds = self.time.batch_s + self.time.chunk_s * len(chunks)
        for steps, group in batching.group(chunks, lambda each: each.steps).items():
            lengths = [each.frames for each in group]
            for indices in batching.split(lengths, self.time.budget, max_padding=self.max_padding):
                members = [lengths[i] for i in indices]
                seconds += steps * self.time.of(batching.padded_frames(members))
                self.frames += steps * sum(members)
                self.padded += steps * batching.padded_frames(members)
        return seconds


@dataclass
class ModelStepDevice:
    """A running batch, split into passes by the frame budget and the padding at each step."""

    time: StepTime
    max_padding: float = batching.MAX_PADDING
    frames: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)
    _left: dict[Chunk, int] = field(default_factory=dict, init=False)

    def step(self, joining: Sequence[Chunk]) -> tuple[float, list[Chunk]]:
        self._left |= {each: each.steps for each in joining}
        members = list(self._left)
        lengths = [each.frames for each in members]
        seconds = 0.0
        for indices in batching.split(lengths, self.time.budget, max_padding=self.max_padding):
            sharing = [members[i] for i in indices]
            mixed = len({(each.steps, self._left[each]) for each in sharing}) > 1
            padded = batching.padded_frames([each.frames for each in sharing])
            seconds += self.time.of(padded) * (self.time.mixed if mixed else 1.0)
            self.frames += sum(each.frames for each in sharing)
            self.padded += padded
        for each in members:
            self._left[each] -= 1
        done = [each for each in members if not self._left[each]]
        for each in done:
            del self._left[each]
        moved = len(joining) > 0, len(done) > 0
        # Half of what a chunk costs comes when it joins, half when it leaves.
        return seconds + (self.time.chunk_s * (len(joining) + len(done)) + self.time.batch_s * sum(moved)) / 2, done


def fitted(passes: Sequence[tuple[int, float]], **others: float | int | str) -> StepTime:
    """``floor_s`` and ``frame_s`` from measured steps, frames and seconds, by least squares through the median of each length.

    Raises:
        ValueError: fewer than two lengths were measured.
    """
    by_frames: dict[int, list[float]] = {}
    for frames, seconds in passes:
        by_frames.setdefault(frames, []).append(seconds)
    lengths = sorted(frames for frames, seconds in by_frames.items() if len(seconds) >= 5)
    if len(lengths) < 2:
        raise ValueError("steps of two lengths at least must have been measured")
    medians = [float(np.median(by_frames[frames])) for frames in lengths]
    slope, offset = np.polyfit(lengths, medians, 1)
    return StepTime(floor_s=max(0.0, float(offset)), frame_s=float(slope), adds=True, **others)  # type: ignore[arg-type]
