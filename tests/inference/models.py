"""Writes tiny models in the layout of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from inference.registry import Registry

ARCHITECTURE = {
    "dim": 32,
    "depth": 1,
    "heads": 2,
    "dim_head": 16,
    "ff_mult": 2,
    "text_dim": 16,
    "conv_layers": 1,
    "text_mask_padding": True,
}
TOKENS = [" ", *"abcdefghijklmnopqrstuvwxyz.,!?'-ABCDEFGHIJKLMNOPQRSTUVWXYZ"]


def weights(vocabulary_size: int = len(TOKENS), **architecture: Any) -> dict[str, torch.Tensor]:
    from inference.loading import seeded_transformer

    network = seeded_transformer(ARCHITECTURE | architecture, vocabulary_size, seed=5)
    return {name: value.clone() for name, value in network.state_dict().items()}


def save_model(
    folder: Path, *, name: str = "model_100.safetensors", state: dict[str, torch.Tensor] | None = None, config: str | None = None
) -> Path:
    """A model folder: checkpoint in upstream's layout of averaged weights, vocabulary and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    averaged = {f"ema_model.transformer.{key}": value for key, value in (state or weights()).items()}
    averaged |= {"initted": torch.tensor(True), "step": torch.tensor(100), "ema_model.mel_spec.mel_stft.spectrogram.window": torch.ones(4)}
    if name.endswith(".pt"):
        torch.save({"ema_model_state_dict": averaged, "update": 100}, folder / name)
    else:
        save_file(averaged, folder / name)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    if config is None:
        sizes = "\n".join(f"{key} = {str(value).lower()}" for key, value in ARCHITECTURE.items())
        config = f'license = "MIT"\ncommercial_use = true\nlanguages = ["en"]\nvocoder = "random-phase"\n[architecture]\n{sizes}\n'
    if config:
        (folder / "config.toml").write_text(config)
    return folder


def registry(folder: Path, **values: Any) -> Registry:
    """A registry that looks for models and voices below ``folder`` only."""
    return Registry(folder / "models", voices_dir=folder / "voices", **values)
