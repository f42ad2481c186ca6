"""What the contenders speak: a model of seeded weights in the layout of the hub, a reference, and chunks of mixed length."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file

from inference import upstream, wire
from inference.loading import seeded_transformer
from inference.mel import HOP_LENGTH, SAMPLE_RATE
from inference.registry import Registry
from inference.synthesis import Synthesizer

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "small": {"dim": 192, "depth": 6, "heads": 3, "ff_mult": 2, "text_dim": 128, "conv_layers": 3, "text_mask_padding": True},
    "base": {"dim": 1024, "depth": 22, "heads": 16, "ff_mult": 2, "text_dim": 512, "conv_layers": 4, "text_mask_padding": True},
}
VOCOS = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {"sample_rate": SAMPLE_RATE, "n_fft": 1024, "hop_length": HOP_LENGTH, "n_mels": 100, "padding": "center"},
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {"input_channels": 100, "dim": 512, "intermediate_dim": 1536, "num_layers": 8},
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 512, "n_fft": 1024, "hop_length": HOP_LENGTH, "padding": "center"},
    },
}
REFERENCE_SECONDS = 3.0
REFERENCE_TEXT = "The quick brown fox jumps over the lazy dog by the river."
TEXTS = (
    "She opened the window and listened to the rain.",
    "Nobody at the station could say when the last train for the coast would leave, or whether it had left already.",
    "It was late.",
    "The garden had been left to itself for a year, and the roses had taken the path, the bench and half of the wall.",
)
"""Chunks of about 3, 6, 1 and 6 seconds, in this order over and over."""
PASSAGE = " ".join(TEXTS * 3)


@dataclass(frozen=True)
class Work:
    """One chunk: the item of the wire, and the frames it asks for."""

    item: wire.SynthesisItem
    frames: int

    @property
    def seconds(self) -> float:
        """Length of the sound it becomes."""
        return (self.frames - 1) * HOP_LENGTH / SAMPLE_RATE


def reference() -> NDArray[np.float32]:
    """Harmonics with a beat, float32 at 24 kHz."""
    t = np.arange(int(REFERENCE_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    sound = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 6)) * (1.2 + np.sin(2 * np.pi * 3 * t))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def write_model(folder: Path, architecture: Mapping[str, Any]) -> None:
    """A model folder with seeded weights, the base vocabulary and a seeded Vocos of the shipped shapes."""
    from vocos import Vocos

    (folder / "vocoder").mkdir(parents=True)
    vocabulary = upstream.base_vocabulary_file()
    shutil.copy(vocabulary, folder / "vocab.txt")
    size = len(vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    state = seeded_transformer(dict(architecture), size).state_dict()
    save_file({f"transformer.{name}": value.contiguous() for name, value in state.items()}, folder / "model_1.safetensors")
    rows = "\n".join(f"{key} = {str(value).lower()}" for key, value in architecture.items())
    (folder / "config.toml").write_text(
        f'license = "seeded"\nlanguages = ["en"]\nspeech = false\n[architecture]\n{rows}\n', encoding="utf-8"
    )
    config = folder / "vocoder" / "config.yaml"
    config.write_text(yaml.safe_dump(VOCOS), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(Vocos.from_hparams(str(config)).state_dict(), folder / "vocoder" / "pytorch_model.bin")


def make_synthesizer(folder: Path, device: str, dtype: str = "auto") -> Synthesizer:
    """The engine with the model of a folder, loaded."""
    registry = Registry(folder.parent / "models", model=str(folder), voices_dir=folder.parent / "none")
    synthesizer = Synthesizer(registry, device=device, dtype=dtype)
    synthesizer.pool.start()
    return synthesizer


def plan(synthesizer: Synthesizer, text: str) -> list[wire.ChunkValue]:
    """Chunks of a text after the reference."""
    request = wire.PlanRequest(text=text, reference_text=REFERENCE_TEXT, reference_seconds=REFERENCE_SECONDS)
    result = synthesizer.plan(request)
    if isinstance(result, wire.Failure):
        raise TypeError(result.error.message)
    return result.chunks


def work(text: str, frames: int, *, steps: int, seed: int) -> Work:
    item = wire.SynthesisItem(
        text=text,
        reference_audio=wire.encode_pcm(reference()),
        reference_text=REFERENCE_TEXT,
        frames=frames,
        nfe_step=steps,
        seed=seed,
    )
    return Work(item, frames)


def works(synthesizer: Synthesizer, count: int, *, steps: int) -> list[Work]:
    """``count`` chunks, cycling through ``TEXTS``."""
    lengths = [sum(chunk.frames for chunk in plan(synthesizer, text)) for text in TEXTS]
    return [work(TEXTS[i % len(TEXTS)], lengths[i % len(TEXTS)], steps=steps, seed=i) for i in range(count)]
