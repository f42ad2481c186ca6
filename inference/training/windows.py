"""Windows of the corpus: pieces of one speaker's speech of a fixed length, part of it given as the reference. Needs no torch.

Lengths are fixed because every new shape costs the CPU's kernels a preparation, and nothing is padded: a model that is shown padding
learns to end in it. Utterances of one speaker are laid end to end until the window is full.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.phonemes import INDEX, REFERENCE
from inference.training.corpus import Example


@dataclass(frozen=True)
class Batch:
    """Windows of one length.

    Attributes:
        mel: float32 ``[items, frames, 100]``.
        tokens: int64 ``[items, frames]``; those of the reference are all :data:`inference.phonemes.REFERENCE`.
        generated: bool ``[items, frames]``: the frames to be learnt; the others are the reference.
        mask: bool ``[items, frames]``: what is no padding; None where there is none.
    """

    mel: np.ndarray
    tokens: np.ndarray
    generated: np.ndarray
    mask: np.ndarray | None = None


@dataclass
class Windows:
    """Draws windows from the examples it was given; more may come at any time."""

    seed: int = 0
    by_speaker: dict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def add(self, examples: Iterable[Example]) -> None:
        for example in examples:
            self.by_speaker[example.speaker].append(example)

    def batch(self, items: int, frames: int) -> Batch:
        """``items`` windows of ``frames`` frames, each of a speaker drawn by how much there is of each."""
        names = list(self.by_speaker)
        weights = [len(self.by_speaker[name]) for name in names]
        parts = [self._window(self.by_speaker[name], frames) for name in self._rng.choices(names, weights, k=items)]
        return Batch(*(np.stack(column) for column in zip(*parts, strict=True)))

    def _window(self, examples: Sequence[Example], frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen: list[Example] = []
        while sum(len(e.mel) for e in chosen) < frames:
            chosen.append(self._rng.choice(examples))
        mel = np.concatenate([e.mel for e in chosen])[:frames].astype(np.float32)
        tokens = np.concatenate([e.tokens for e in chosen])[:frames].astype(np.int64)
        joints = np.cumsum([len(e.mel) for e in chosen])
        generated = self._generated(frames, [int(j) for j in joints if 0.15 * frames < j < 0.75 * frames])
        return mel, np.where(generated, tokens, INDEX[REFERENCE]), generated

    def _generated(self, frames: int, joints: Sequence[int]) -> np.ndarray:
        """Mostly what follows a reference, as when a voice speaks; sometimes a gap in the middle, as upstream trains."""
        marks = np.zeros(frames, dtype=bool)
        if self._rng.random() < 0.75:
            at = self._rng.choice(joints) if joints and self._rng.random() < 0.8 else round(frames * self._rng.uniform(0.1, 0.6))
            marks[at:] = True
        else:
            length = round(frames * self._rng.uniform(0.6, 1.0))
            start = self._rng.randint(0, frames - length)
            marks[start : start + length] = True
        return marks
