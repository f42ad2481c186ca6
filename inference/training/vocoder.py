"""Training of the small vocoder: a Vocos (arXiv:2306.00814) that learns to turn mel frames back into the teachers' sounds.

Upstream's Vocos learns against discriminators on GPUs for days. This one learns from spectra alone: magnitudes at several resolutions
(Parallel WaveGAN, arXiv:1910.11480) and the mel itself. That settles what is said and by whom; the fine structure of breath and
friction stays smoother than the teachers'.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference import upstream
from inference.mel import HOP_LENGTH, MEL_BANDS

WINDOW = 64 * HOP_LENGTH
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
FLOOR = -6.0
"""Frames are not taken below it, in training and afterwards: of the differences between one silence and another it would make noise
(measured on the teachers' own frames: a word error rate of 27 % instead of 14 %)."""
SHAPE = {"dim": 256, "intermediate_dim": 768, "num_layers": 6}


def make(shape: dict[str, int] | None = None) -> Any:
    """A Vocos of this shape with fresh weights: mel ``[items, 100, frames]`` to sound ``[items, samples]``."""
    from vocos.feature_extractors import MelSpectrogramFeatures
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    shape = shape or SHAPE
    features = MelSpectrogramFeatures(sample_rate=24_000, n_fft=1024, hop_length=HOP_LENGTH, n_mels=MEL_BANDS, padding="center")
    backbone = VocosBackbone(input_channels=MEL_BANDS, **shape)
    return Vocos(features, backbone, ISTFTHead(dim=shape["dim"], n_fft=1024, hop_length=HOP_LENGTH, padding="center"))


def spectral_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean over resolutions of spectral convergence and of the difference of log magnitudes."""
    total = torch.zeros((), device=made.device)
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size, device=made.device)
        a, b = (torch.stft(x, size, hop, window=window, return_complex=True).abs().clamp(min=1e-4) for x in (made, wanted))
        total = total + (a.log() - b.log()).abs().mean() + torch.linalg.norm(a - b) / torch.linalg.norm(b)
    return total / len(RESOLUTIONS)


class VocoderTrainer:
    """Trains a vocoder from sounds, from where its state left it.

    Args:
        state: file of weights, optimiser and step.
        steps: in all; the learning rate falls along a cosine.
        start: weights of a vocoder to begin with where there is no state.
        items: windows in one step.
    """

    def __init__(
        self,
        *,
        state: Path,
        steps: int,
        start: dict[str, torch.Tensor] | None = None,
        device: str = "cpu",
        learning_rate: float = 1e-3,
        items: int = 8,
        save_every: int = 250,
    ) -> None:
        self.vocoder = make()
        if start is not None:
            self.vocoder.load_state_dict(start)
        self.device = device
        self.learned = torch.nn.ModuleList([self.vocoder.backbone, self.vocoder.head]).to(device)
        self.optimizer = torch.optim.AdamW(self.learned.parameters(), lr=learning_rate, betas=(0.8, 0.95), weight_decay=0.01)
        # Not the vocoder's own features: their floor is lower than that of the frames which it will be given.
        self.log_mel = upstream.load().MelSpec(mel_spec_type="vocos").to(device)
        self.state, self.steps, self.rate, self.items, self.save_every = state, steps, learning_rate, items, save_every
        self.step, self.loss = 0, math.nan
        if state.exists():
            kept = torch.load(state, map_location=device, weights_only=True)
            self.learned.load_state_dict(kept["learned"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.loss = kept["step"], kept["loss"]

    def save(self) -> None:
        partial = self.state.with_suffix(".partial")
        torch.save(
            {"learned": self.learned.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step, "loss": self.loss}, partial
        )
        partial.replace(self.state)

    def run(self, sounds: Sequence[np.ndarray], *, report: Callable[[int, float, float], None] = lambda *_: None) -> None:
        """Train to the last step. ``report`` gets step, mean loss and seconds a step."""
        rng = random.Random(self.step)
        began, first = time.monotonic(), self.step
        self.learned.train()
        while self.step < self.steps:
            for group in self.optimizer.param_groups:
                along = self.step / self.steps
                group["lr"] = self.rate * min(1.0, (self.step + 1) / 100) * max(0.02, 0.5 * (1 + math.cos(math.pi * along)))
            wanted = torch.from_numpy(np.stack([self._window(rng.choice(sounds), rng) for _ in range(self.items)])).to(self.device)
            with torch.no_grad():
                mel = self.log_mel(wanted).clamp(min=FLOOR)
            made = self.vocoder.head(self.vocoder.backbone(mel))[:, : wanted.shape[1]]
            wanted = wanted[:, : made.shape[1]]
            mel_error = self.log_mel(made) - self.log_mel(wanted)
            loss = spectral_loss(made, wanted) + mel_error.abs().mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.learned.parameters(), 5.0)
            self.optimizer.step()
            self.step += 1
            self.loss = loss.item() if math.isnan(self.loss) else 0.99 * self.loss + 0.01 * loss.item()
            report(self.step, self.loss, (time.monotonic() - began) / (self.step - first))
            if self.step % self.save_every == 0:
                self.save()
        self.save()

    @staticmethod
    def _window(sound: np.ndarray, rng: random.Random) -> np.ndarray:
        start = rng.randrange(max(1, len(sound) - WINDOW))
        return np.pad(sound[start : start + WINDOW], (0, max(0, WINDOW - len(sound))))
