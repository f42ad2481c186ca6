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
    than Vocos, ``f5_tts.model.utils`` takes pypinyin and rjieba with their dictionaries, and x_transformers takes einx, which brings
    SymPy and torch's compiler, for layers that DiT does not have.
    """
    os.environ.setdefault("WANDB_MODE", "disabled")
    package = importlib.import_module("f5_tts")
    bare_package = types.ModuleType("f5_tts.model")
    bare_package.__path__ = [str(Path(package.__path__[0]) / "model")]
    later = (_later("librosa.filters", "mel"), _later("pypinyin", "Style", "lazy_pinyin"), _later("rjieba"), _later("einx"))
    with contextlib.ExitStack() as stack:
        for module in (bare_package, *later):
            stack.enter_context(_standing_in(module))
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


class _Later:
    """An attribute of a module that is imported when the attribute is called or looked into."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._real()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


def _later(name: str, *attributes: str) -> types.ModuleType:
    """A module that stands in for the one of this name. ``attributes`` are those that others import from it by name."""

    def attribute(wanted: str) -> Any:
        # Not for what the import system itself looks at.
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return getattr(importlib.import_module(name), wanted)

    module = types.ModuleType(name)
    module.__getattr__ = attribute  # type: ignore[method-assign]
    for wanted in attributes:
        setattr(module, wanted, _Later(name, wanted))
    return module


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
