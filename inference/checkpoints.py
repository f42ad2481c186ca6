"""Files of a model: find them in a folder in the hub's layout, fetch them from the hub, read their weights."""

from __future__ import annotations

import pickle
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from inference.errors import ModelUnavailableError

# What a training configuration says about how to train, or what the sampler decides by itself.
NOT_ARCHITECTURE = {"attn_mask_enabled", "attn_backend", "checkpoint_activations", "dropout", "mel_dim", "text_num_embeds"}
SHARD = re.compile(r"-(\d+)-of-(\d+)$")


@dataclass(frozen=True)
class ModelFiles:
    """Paths of a model: one checkpoint file, or the shards of one, and the vocabulary."""

    checkpoint: tuple[Path, ...]
    vocabulary: Path


def clean_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``DiT`` that change what the network computes."""
    return {key: value for key, value in architecture.items() if key not in NOT_ARCHITECTURE}


def read_config(folder: Path) -> dict[str, Any]:
    """``config.toml`` or ``config.yaml`` of a model folder; empty without either. ModelUnavailableError if it cannot be read."""
    toml, yaml_file = folder / "config.toml", folder / "config.yaml"
    try:
        if toml.is_file():
            return tomllib.loads(toml.read_text(encoding="utf-8"))
        if yaml_file.is_file():
            loaded = yaml.safe_load(yaml_file.read_text(encoding="utf-8"))
            return loaded if isinstance(loaded, dict) else {}
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise ModelUnavailableError(f"The configuration of the model in {folder.name} cannot be read.") from error
    return {}


def locate(folder: Path, checkpoint: str | None = None, vocabulary: str | None = None) -> ModelFiles:
    """The files of a model in a folder.

    Args:
        checkpoint, vocabulary: paths within the repository; looked for there and directly in the folder. None: the
            ``model*.safetensors`` or ``.pt`` with the highest number (all of its shards), and ``vocab.txt``.

    Raises:
        ModelUnavailableError: a file is missing.
    """
    found = _named(folder, checkpoint) if checkpoint else _newest(folder)
    if not found:
        raise ModelUnavailableError(f"The folder {folder.name} holds no checkpoint.")
    vocabulary_file = _named(folder, vocabulary or "vocab.txt") or sorted(folder.glob("vocab*.txt"))[:1]
    if not vocabulary_file:
        raise ModelUnavailableError(f"The folder {folder.name} holds no vocabulary.")
    return ModelFiles(tuple(found), vocabulary_file[0])


def _named(folder: Path, name: str) -> list[Path]:
    return [path for path in (folder / name, folder / Path(name).name) if path.is_file()][:1]


def _newest(folder: Path) -> list[Path]:
    def number(path: Path) -> tuple[int, str]:
        digits = re.findall(r"\d+", SHARD.sub("", path.stem))
        return (int(digits[-1]) if digits else -1, path.name)

    for suffix in ("safetensors", "pt"):
        candidates = sorted(folder.glob(f"model*.{suffix}"), key=number)
        if not candidates:
            continue
        newest = candidates[-1]
        shard = SHARD.search(newest.stem)
        if shard is None:
            return [newest]
        stem = SHARD.sub("", newest.stem)
        shards = sorted(path for path in candidates if SHARD.search(path.stem) and SHARD.sub("", path.stem) == stem)
        if len(shards) != int(shard.group(2)):
            raise ModelUnavailableError(f"The checkpoint {stem} in {folder.name} has {len(shards)} of {int(shard.group(2))} parts.")
        return shards
    return []


def fetch(repository: str, names: list[str], folder: Path) -> None:
    """Download files of a repository into a folder, with a progress bar. What is there already is not fetched again.

    Raises:
        ModelUnavailableError: the hub cannot be reached, or has no such file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if _named(folder, name):
            continue
        try:
            hf_hub_download(repository, name, local_dir=folder)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise ModelUnavailableError(
                f"{name} could not be fetched from {repository}: {type(error).__name__}.", {"repository": repository}
            ) from error


def read_weights(files: ModelFiles) -> dict[str, Any]:
    """Weights of the transformer, by the names of upstream's ``DiT``.

    Both layouts of upstream are understood: the averaged weights (``ema_model.transformer.*``, in a ``.pt`` under
    ``ema_model_state_dict``) and plain ones (``transformer.*``). Pickled files are read as weights only.

    Raises:
        ModelUnavailableError: the file is damaged or holds no transformer.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: dict[str, Any] = {}
    try:
        for path in files.checkpoint:
            if path.suffix == ".safetensors":
                state |= load_file(path)
            else:
                loaded = torch.load(path, map_location="cpu", weights_only=True)
                state |= loaded.get("ema_model_state_dict") or loaded.get("model_state_dict") or loaded
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ModelUnavailableError(f"The checkpoint {files.checkpoint[0].name} cannot be read: {type(error).__name__}.") from error
    names = {key: key.removeprefix("ema_model.").removeprefix("transformer.") for key in state}
    weights = {name: state[key] for key, name in names.items() if "." in name and not name.startswith("mel_spec.")}
    if not weights:
        raise ModelUnavailableError(f"The checkpoint {files.checkpoint[0].name} holds no transformer.")
    return weights
