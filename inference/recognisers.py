"""The models that listen: which there are, where their files lie, how they are loaded. Nothing is downloaded but on demand.

A recogniser is a folder in the hub's layout (``config.json``, ``model.safetensors``, …) in ``models_dir/<name>/``. ``models.toml`` names
those that ``python -m inference fetch`` knows; ``config.toml`` in a folder overrides ``license`` and ``commercial_use`` for weights of the
operator's own.
"""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inference import checkpoints
from inference.errors import ModelUnavailableError
from inference.registry import MODELS_FILE

LISTEN_RATE = 16_000
"""Sample rate in Hz that Whisper and wav2vec 2.0 were trained on."""


@dataclass(frozen=True)
class Recogniser:
    """A row of ``[recognisers]``. ``files`` are what the repository's model needs; ``languages`` is empty where it takes all it can."""

    name: str
    repository: str
    license: str
    commercial_use: bool
    files: tuple[str, ...]
    languages: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def known() -> dict[str, Recogniser]:
    """The recognisers of ``models.toml`` by name."""
    table = tomllib.loads(MODELS_FILE.read_text(encoding="utf-8"))["recognisers"]
    return {
        name: Recogniser(name, **(row | {"files": tuple(row["files"]), "languages": tuple(row.get("languages", ()))}))
        for name, row in table.items()
    }


def refusal(name: str, models_dir: Path, *, commercial_only: bool = False) -> str | None:
    """Why a recogniser cannot be used here, for a person; None where it can."""
    spec, folder = known()[name], models_dir / name
    try:
        config = checkpoints.read_config(folder)
    except ModelUnavailableError as error:
        return error.message
    if commercial_only and not config.get("commercial_use", spec.commercial_use):
        licence = config.get("license", spec.license)
        return f"Its licence ({licence}) forbids commercial use, and this installation is commercial."
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        return f"Not fetched yet: python -m inference fetch {name}"
    return None


def fetch(name: str, models_dir: Path, *, commercial_only: bool = False) -> Path:
    """Download a recogniser, with a progress bar; what is there already is not fetched again. Returns its folder.

    Raises:
        ModelUnavailableError: its licence is refused, or the hub does not give it.
    """
    spec = known()[name]
    if commercial_only and not spec.commercial_use:
        raise ModelUnavailableError(f"The licence of {name} ({spec.license}) forbids commercial use, and this installation is commercial.")
    checkpoints.fetch(spec.repository, list(spec.files), models_dir / name)
    return models_dir / name


def model_name(folder: Path) -> str:
    """What the model calls itself (``openai/whisper-large-v3-turbo``), or its folder's name."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config.get("_name_or_path", "")
    # Training scripts write a path of their machine there.
    return name if isinstance(name, str) and name.count("/") == 1 and name[0] not in "./~" else folder.name


def library(module: str) -> Any:
    """A module of transformers, imported on first use: it takes seconds."""
    logging = importlib.import_module("transformers.utils.logging")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return importlib.import_module(f"transformers.models.{module}")


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what libraries raise on damaged or missing files into ModelUnavailableError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailableError(f"The model in {folder.name} cannot be loaded: {type(error).__name__}.") from error


def load(cls: Callable[[], Any], folder: Path, *, device: str, dtype: Any) -> Any:
    """A model of a folder, ready to run. ``cls`` returns its class, and is called within the guard.

    Raises:
        ModelUnavailableError: the files are damaged or missing.
    """
    with reading(folder):
        model = cls().from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)
        return model.to(device).eval().requires_grad_(False)
