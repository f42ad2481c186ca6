"""The one place where code of F5-TTS is imported, lazily: torch and its friends take seconds."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@lru_cache(maxsize=1)
def load() -> types.SimpleNamespace:
    """Upstream's ``DiT``, ``MelSpec`` and ``get_epss_timesteps``, without what they import and never use here: half of the start time.

    ``f5_tts.model`` imports the trainer with wandb and accelerate, ``f5_tts.model.modules`` takes librosa's filters for another vocoder
    than Vocos, and x_transformers takes einx, which brings SymPy and torch's compiler, for layers that DiT does not have.
    """
    os.environ.setdefault("WANDB_MODE", "disabled")
    package = importlib.import_module("f5_tts")
    bare_package = types.ModuleType("f5_tts.model")
    bare_package.__path__ = [str(Path(package.__path__[0]) / "model")]
    filters = types.ModuleType("librosa.filters")
    filters.mel = _librosa_mel  # type: ignore[attr-defined]
    einx = types.ModuleType("einx")
    einx.__getattr__ = _of_einx  # type: ignore[method-assign]
    with _standing_in(bare_package), _standing_in(filters), _standing_in(einx):
        dit = importlib.import_module("f5_tts.model.backbones.dit")
        modules = importlib.import_module("f5_tts.model.modules")
        utils = importlib.import_module("f5_tts.model.utils")
    return types.SimpleNamespace(DiT=dit.DiT, MelSpec=modules.MelSpec, get_epss_timesteps=utils.get_epss_timesteps)


@contextlib.contextmanager
def _standing_in(module: types.ModuleType) -> Iterator[None]:
    """Put a module in the place of one that is not imported yet, and take it away again, so that a later import gets the real one."""
    name = module.__name__
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


def _librosa_mel(*arguments: Any, **named: Any) -> Any:
    return importlib.import_module("librosa.filters").mel(*arguments, **named)


def _of_einx(name: str) -> Any:
    """An attribute of the real module, which is imported then (PEP 562). Not for what the import system itself looks at."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module("einx"), name)


def make_transformer(architecture: dict[str, Any], *, vocabulary_size: int, mel_bands: int = 100) -> Any:
    """Upstream's diffusion transformer with the attention mask on.

    The shipped configurations leave the mask off, and padded keys then change the sound of a batched item.
    """
    with warnings.catch_warnings():
        # The warning speaks of memory, which the frame budget of a batch bounds.
        warnings.filterwarnings("ignore", message="attn_mask_enabled=True")
        return load().DiT(**architecture, text_num_embeds=vocabulary_size, mel_dim=mel_bands, attn_mask_enabled=True, attn_backend="torch")


def base_vocabulary_file() -> Path:
    """The vocabulary of upstream's base models (Chinese pinyin and English), which is part of its package."""
    return Path(str(files("f5_tts").joinpath("infer/examples/vocab.txt")))
