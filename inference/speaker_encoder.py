"""resemblyzer's voice encoder (GE2E, arXiv:1710.10467): its network and weights, without its imports.

The package brings librosa, Numba and half of SciPy along for one mel spectrogram, and compiles code when the first voice is heard.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchaudio.transforms import MelSpectrogram

ENCODER_RATE = 16_000
EMBEDDING_SIZE = 256
HOP_LENGTH = 160
MEL_BANDS = 40
FRAMES = 160
"""Of a partial utterance, which is what the network was trained on: 1.6 s."""
STEP = 77
"""Frames from one partial utterance to the next: 1.3 of them a second."""
LEAST_COVERAGE = 0.75
"""Of the last partial utterance; what is missing of it is silence, and one that covers less is left out."""


class SpeakerEncoder:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        weights = torch.load(_weights_file(), map_location="cpu", weights_only=True)["model_state"]
        self._lstm = nn.LSTM(MEL_BANDS, EMBEDDING_SIZE, num_layers=3, batch_first=True)
        self._linear = nn.Linear(EMBEDDING_SIZE, EMBEDDING_SIZE)
        for name, part in (("lstm.", self._lstm), ("linear.", self._linear)):
            part.load_state_dict({key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)})
        # librosa's mel power spectrogram, not its logarithm; the window has 25 ms.
        self._mel = MelSpectrogram(
            ENCODER_RATE, n_fft=400, hop_length=HOP_LENGTH, n_mels=MEL_BANDS, pad_mode="constant", norm="slaney", mel_scale="slaney"
        )

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean of the partial utterances' embeddings, which have unit length: mono sound at 16 kHz ``[n]`` to ``[256]``."""
        starts = partials(len(samples))
        lacking = max(0, (starts[-1] + FRAMES) * HOP_LENGTH - len(samples))
        with torch.inference_mode():
            mel = self._mel(torch.from_numpy(np.pad(samples, (0, lacking)))).T
            _, (hidden, _) = self._lstm(torch.stack([mel[start : start + FRAMES] for start in starts]))
            embeddings = self._linear(hidden[-1]).relu()
            mean: NDArray[np.float32] = (embeddings / embeddings.norm(dim=1, keepdim=True)).mean(dim=0).numpy()
        return mean


def partials(samples: int) -> list[int]:
    """The first frame of each partial utterance of a sound; there is always one."""
    frames = samples // HOP_LENGTH + 1
    starts = list(range(0, max(1, frames - FRAMES + STEP + 1), STEP))
    coverage = (samples / HOP_LENGTH - starts[-1]) / FRAMES
    return starts[:-1] if coverage < LEAST_COVERAGE and len(starts) > 1 else starts


@lru_cache(maxsize=1)
def encoder() -> SpeakerEncoder:
    """The encoder, read from its file at the first call, in a fraction of a second."""
    return SpeakerEncoder()


def _weights_file() -> Path:
    package = find_spec("resemblyzer")
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError("resemblyzer, whose package holds the weights of the speaker encoder, is not installed.")
    return Path(package.submodule_search_locations[0]) / "pretrained.pt"
