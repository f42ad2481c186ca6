"""From states of training to a folder that every Voxify can speak with: half precision, in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from inference.mel import HOP_LENGTH, MEL_BANDS
from inference.phoneme_timing import TIMING_FILE
from inference.phonemes import SYMBOLS
from inference.training import vocoder


def write_voice(folder: Path, *, voice_state: Path, architecture: Mapping[str, Any], limits: Mapping[str, int], license: str) -> Path:
    """The averaged weights of a voice, its vocabulary and its ``config.toml``; returns the checkpoint's path."""
    kept = torch.load(voice_state, map_location="cpu", weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model_*.safetensors"):
        old.unlink()
    file = folder / f"model_{kept['step']}.safetensors"
    save_file({name: _half(value) for name, value in kept["average"].items()}, file)
    (folder / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in SYMBOLS), encoding="utf-8")
    lines = [f'license = "{license}"', "commercial_use = true", 'languages = ["en"]', 'spelling = "phonemes"', 'vocoder = "vocos"']
    lines += [f"{key} = {value}" for key, value in limits.items()]
    lines += ["", "[architecture]", *(f"{key} = {str(value).lower()}" for key, value in architecture.items())]
    (folder / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_vocoder(folder: Path, *, state: Path) -> None:
    """The vocoder's weights and configuration in the layout of ``charactr/vocos-mel-24khz``."""
    kept = torch.load(state, map_location="cpu", weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    made = vocoder.make()
    torch.nn.ModuleList([made.backbone, made.head]).load_state_dict(kept["learned"])
    save_file({name: _half(value) for name, value in made.state_dict().items()}, folder / "model.safetensors")
    mel = {"sample_rate": 24_000, "n_fft": 1024, "hop_length": HOP_LENGTH, "n_mels": MEL_BANDS, "padding": "center"}
    parts: dict[str, Any] = {
        "feature_extractor": {"class_path": "vocos.feature_extractors.MelSpectrogramFeatures", "init_args": mel},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": {"input_channels": MEL_BANDS, **vocoder.SHAPE}},
        "head": {
            "class_path": "vocos.heads.ISTFTHead",
            "init_args": {"dim": vocoder.SHAPE["dim"], "n_fft": 1024, "hop_length": HOP_LENGTH, "padding": "center"},
        },
        "floor": vocoder.FLOOR,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(parts, sort_keys=False), encoding="utf-8")


def write_timing(folder: Path, *, file: Path) -> None:
    """The timing as it was trained."""
    (folder / TIMING_FILE).write_bytes(file.read_bytes())


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half().contiguous() if value.dtype == torch.float32 else value.contiguous()
