"""How long each sound of an utterance lasts: a small network over each phoneme and its neighbours, in NumPy: plans need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelUnavailableError

TIMING_FILE = "timing.safetensors"
CONTEXT = 4
"""Phonemes on either side that a phoneme's length depends on."""
SHORTEST, LONGEST = 2.0, 60.0
"""Frames that one sound may last."""

Array = NDArray[np.float32]


class Timing:
    """Lengths of phonemes in mel frames (93.75 a second) at the mean tempo of the corpus.

    Args:
        weights: ``embedding`` ``[symbols + 1, e]`` (its last row stands beyond the ends), ``hidden.N.weight`` and ``.bias``,
            ``out.weight`` ``[1, h]`` and ``out.bias``, as `inference.training.timing` saves them.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        try:
            self.embedding = weights["embedding"]
            names = sorted(name for name in weights if name.startswith("hidden.") and name.endswith(".weight"))
            self.layers = [(weights[name], weights[name.replace("weight", "bias")]) for name in [*names, "out.weight"]]
        except KeyError as error:
            raise ModelUnavailableError("The timing of the voice is damaged.") from error

    @classmethod
    def from_file(cls, file: Path) -> Timing:
        """Read the weights. ModelUnavailableError if they are missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(load_file(file))
        except (OSError, SafetensorError) as error:
            raise ModelUnavailableError(f"{file.name} of the voice cannot be read.") from error

    def frames(self, phonemes: Sequence[int]) -> Array:
        """Predicted lengths of an utterance's phonemes, float32 ``[phonemes]``, not rounded."""
        x = self.embedding[windows(phonemes, len(self.embedding) - 1)].reshape(len(phonemes), -1)
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if i < len(self.layers) - 1:
                x = np.maximum(x, 0)
        return np.clip(np.exp(x[:, 0]), SHORTEST, LONGEST)


def windows(phonemes: Sequence[int], beyond: int) -> NDArray[np.int64]:
    """Each phoneme with its neighbours, ``[phonemes, 2 * CONTEXT + 1]``; ``beyond`` stands before the first and after the last."""
    padded = np.pad(np.asarray(phonemes, dtype=np.int64), CONTEXT, constant_values=beyond)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1)


def spread(lengths: Array, frames: int) -> NDArray[np.int64]:
    """Whole lengths with the sum ``frames`` in the proportions of ``lengths``; each at least 1 where there are frames enough.

    The ends are rounded and not the lengths, so that no error adds up.
    """
    ends = np.round(np.cumsum(lengths / lengths.sum()) * frames).astype(np.int64)
    count = len(lengths)
    if frames >= count:
        # An end leaves a frame for each sound before it and after it.
        ends = np.maximum.accumulate(np.maximum(ends - np.arange(1, count + 1), 0)) + np.arange(1, count + 1)
        ends = np.minimum(ends, frames - np.arange(count - 1, -1, -1))
    return np.diff(ends, prepend=0)
