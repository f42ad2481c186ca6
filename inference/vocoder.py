"""Mel frames to sound: Vocos by its own settings, and Griffin-Lim where no vocoder was trained.

As with the sampler, the sound of an item depends on the item alone: the backbone of Vocos is masked after each layer, and every
inverse transform is done over the item's own frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch.nn.utils.rnn import pad_sequence

from inference import batching
from inference.errors import ModelUnavailableError
from inference.mel import HOP_LENGTH, MEL_BANDS, SAMPLE_RATE

N_FFT = 1024
VOCOS_REPOSITORY = "charactr/vocos-mel-24khz"
VOCOS_CONFIG = "config.yaml"
VOCOS_WEIGHTS = "pytorch_model.bin"
VOCOS_SAFE_WEIGHTS = "model.safetensors"


class Vocoder(Protocol):
    """Turns log-mel frames into sound."""

    def decode(self, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Log-mel frames, each float ``[frames, 100]`` with at least 2 frames, to mono sound at 24 kHz, each float32
        ``[(frames - 1) * 256]`` on the CPU. The length is that of a centred inverse STFT, as upstream's."""
        ...


class GriffinLim:
    """Phase by iteration (Griffin and Lim 1984, with the momentum of Perraudin 2013), from a seeded start: deterministic.

    Args:
        iterations: each is one inverse and one forward transform. More sound more natural, and amplify small differences of the
            frames; none at all leaves noise in the shape of the frames, and is linear in their magnitudes.
    """

    def __init__(self, iterations: int = 32, momentum: float = 0.99) -> None:
        import torchaudio

        self.iterations, self.momentum = iterations, momentum
        filters = torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, MEL_BANDS, SAMPLE_RATE, norm=None, mel_scale="htk"
        )
        self.inverse = torch.linalg.pinv(filters)  # [bands, bins]
        self.window = torch.hann_window(N_FFT)

    @torch.inference_mode()
    def decode(self, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self._decode(mel) for mel in mels]

    def _decode(self, mel: torch.Tensor) -> torch.Tensor:
        # 7 is above the loudest frame that sound within [-1, 1] can have, so that no input overflows.
        magnitude = (mel.float().cpu().clamp(max=7.0).exp() @ self.inverse).clamp(min=0).T
        length = (mel.shape[0] - 1) * HOP_LENGTH
        if length < N_FFT:  # reflection at the edges needs half a window
            magnitude = torch.nn.functional.pad(magnitude, (0, N_FFT // HOP_LENGTH))
        padded = (magnitude.shape[1] - 1) * HOP_LENGTH
        angle = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0)) * (2 * torch.pi)
        phase = torch.polar(torch.ones_like(angle), angle)
        previous = torch.zeros_like(phase)
        for _ in range(self.iterations):
            sound = torch.istft(magnitude * phase, N_FFT, HOP_LENGTH, N_FFT, self.window, length=padded)
            rebuilt = torch.stft(sound, N_FFT, HOP_LENGTH, N_FFT, self.window, return_complex=True)
            phase = rebuilt - previous * (self.momentum / (1 + self.momentum))
            phase = phase / phase.abs().clamp(min=1e-16)
            previous = rebuilt
        return torch.istft(magnitude * phase, N_FFT, HOP_LENGTH, N_FFT, self.window, length=padded)[:length]


class Vocos:
    """Vocos (arXiv:2306.00814) with its inverse transform at the end.

    Args:
        model: a ``vocos.Vocos`` in evaluation mode on its device.
        max_batch_frames: most padded frames in one pass.
        floor: frames are not taken below it (natural logarithm of the magnitude). A small vocoder makes audible noise of how a
            model draws silence, which lies around -11.5 and differs from frame to frame; -6 is quiet enough. None: as they are.
    """

    def __init__(self, model: Any, *, max_batch_frames: int = 16_384, floor: float | None = None) -> None:
        self.model = model.eval()
        self.max_batch_frames = max_batch_frames
        self.floor = floor
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def decode(self, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        sounds: list[Any] = [None] * len(mels)
        for indices in batching.split([mel.shape[0] for mel in mels], self.max_batch_frames):
            for index, sound in zip(indices, self._decode([mels[i] for i in indices]), strict=True):
                sounds[index] = sound
        return sounds

    def _decode(self, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        lengths = [mel.shape[0] for mel in mels]
        features = pad_sequence([mel.to(self.device, torch.float32) for mel in mels], batch_first=True)
        if self.floor is not None:
            features = features.clamp(min=self.floor)
        mask = (torch.arange(features.shape[1], device=self.device)[None] < torch.tensor(lengths, device=self.device)[:, None])[:, None]
        net = self.model.backbone
        x = net.norm(net.embed(features.transpose(1, 2)).transpose(1, 2)).transpose(1, 2) * mask
        for block in net.convnext:
            x = block(x) * mask
        hidden = net.final_layer_norm(x.transpose(1, 2))
        return [self.model.head(hidden[i : i + 1, :length])[0].float().cpu() for i, length in enumerate(lengths)]


def find_weights(folder: Path) -> Path | None:
    """The file of a vocoder's weights, in either form."""
    return next((file for name in (VOCOS_WEIGHTS, VOCOS_SAFE_WEIGHTS) if (file := folder / name).is_file()), None)


def _read(weights: Path) -> Any:
    if weights.suffix != ".safetensors":
        return torch.load(weights, map_location="cpu", weights_only=True)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(weights)
    except SafetensorError as error:
        raise ValueError("damaged weights") from error


def load_vocos(folder: Path, *, device: str, max_batch_frames: int = 16_384) -> Vocos:
    """Vocos from a folder with ``config.yaml`` and ``pytorch_model.bin``, as the hub has it, or ``model.safetensors`` in its place.

    The configuration may hold a ``floor`` for the frames beside what the hub's has.

    Raises:
        ModelUnavailableError: files are missing, do not fit together, or belong to another kind of mel.
    """
    config, weights = folder / VOCOS_CONFIG, find_weights(folder) or folder / VOCOS_WEIGHTS
    missing = [path.name for path in (config, weights) if not path.is_file()]
    if missing:
        raise ModelUnavailableError(f"The vocoder lacks {' and '.join(missing)}.")
    from vocos import Vocos as Network

    try:
        model = Network.from_hparams(str(config))
        model.load_state_dict(_read(weights))
        floor = yaml.safe_load(config.read_text(encoding="utf-8")).get("floor")
        floor = None if floor is None else float(floor)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailableError(f"The vocoder cannot be loaded: {type(error).__name__}.") from error
    if model.backbone.input_channels != MEL_BANDS or getattr(model.backbone, "adanorm", False):
        raise ModelUnavailableError(f"The vocoder is not for {MEL_BANDS} mel bands.")
    return Vocos(model.to(device), max_batch_frames=max_batch_frames, floor=floor)
