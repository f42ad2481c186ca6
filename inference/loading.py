"""From a description of a model to one that can speak: transformer, vocabulary and vocoder on their device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from inference import checkpoints, upstream
from inference.engine import Sampler
from inference.errors import ModelUnavailableError
from inference.phoneme_vocabulary import PhonemeVocabulary
from inference.registry import ModelSpec, Registry
from inference.text import Vocabulary
from inference.vocoder import VOCOS_CONFIG, VOCOS_REPOSITORY, VOCOS_WEIGHTS, GriffinLim, Vocoder, find_weights, load_vocos

SMOKE_SEED = 20_240_610
MOST_TOGETHER = 16
VOCOS_FOLDER = "vocos-mel-24khz"


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to speak."""

    spec: ModelSpec
    vocabulary: Vocabulary
    sampler: Sampler
    vocoder: Vocoder

    @property
    def size_mb(self) -> float:
        """Memory that the weights of its transformer take, in MiB; the vocoder's are a fraction of that."""
        tensors = [*self.sampler.transformer.parameters(), *self.sampler.transformer.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def choose_device(setting: str) -> str:
    """``auto`` to ``cuda`` where there is one, else ``cpu``; other settings as they are."""
    if setting != "auto":
        return setting
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype(device: str, setting: str = "auto") -> torch.dtype:
    """``auto``: bfloat16 on GPUs and CPUs that multiply it themselves, float16 on older GPUs, float32 on other CPUs; else the named one."""
    if setting != "auto":
        chosen: torch.dtype = getattr(torch, setting)
        return chosen
    if not device.startswith("cuda"):
        can = torch.cpu.get_capabilities()
        return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def batch_size(device: str, cores: int) -> int:
    """How many items are computed together where the operator does not say. On a processor more of them only make those wait who come
    meanwhile: 2 on two cores (measured: `docs/inference.md`), 16 on 32."""
    return MOST_TOGETHER if device.startswith("cuda") else min(MOST_TOGETHER, max(2, cores // 2))


def frame_budget(device: str) -> int:
    """Most padded frames in one pass. On a GPU it bounds the memory of attention. A frame costs a CPU the same in a narrow pass as in a
    wide one, so that only short items share one there, and no padding is computed."""
    return 32_768 if device.startswith("cuda") else 1024


@lru_cache(maxsize=16)
def _vocabulary(path: Path) -> Vocabulary:
    return Vocabulary.from_file(path)


@lru_cache(maxsize=16)
def _phonemes(folder: Path, file: Path) -> PhonemeVocabulary:
    return PhonemeVocabulary.from_folder(folder, file)


def load_vocabulary(registry: Registry, spec: ModelSpec) -> Vocabulary:
    """The vocabulary of a model, without its weights. ModelUnavailableError if it is not there."""
    if spec.seeded:
        return _vocabulary(upstream.base_vocabulary_file())
    file = checkpoints.locate(registry.folder(spec), spec.checkpoint, spec.vocabulary).vocabulary
    return _phonemes(registry.folder(spec), file) if spec.spelling == "phonemes" else _vocabulary(file)


def fetch_model(registry: Registry, name: str) -> None:
    """Download what a model needs and is not there yet. ModelUnavailableError if the hub does not give it."""
    spec = registry.spec(name)
    if spec.repository is not None and spec.checkpoint is not None and spec.vocabulary is not None:
        checkpoints.fetch(spec.repository, [spec.vocabulary, spec.checkpoint], registry.folder(spec))
    if spec.vocoder == "vocos" and _vocos_folder(registry, spec) is None:
        checkpoints.fetch(VOCOS_REPOSITORY, [VOCOS_CONFIG, VOCOS_WEIGHTS], registry.models_dir / VOCOS_FOLDER)


def _vocos_folder(registry: Registry, spec: ModelSpec) -> Path | None:
    """A vocoder of the model's own, else the shared one."""
    candidates = [registry.folder(spec) / "vocoder", registry.models_dir / VOCOS_FOLDER]
    return next((folder for folder in candidates if find_weights(folder)), None)


def load_vocoder(registry: Registry, spec: ModelSpec, device: str) -> Vocoder:
    """The vocoder of a model. ModelUnavailableError if it is not there."""
    if spec.vocoder == "random-phase":
        return GriffinLim(iterations=0)
    if spec.vocoder == "griffin-lim":
        return GriffinLim()
    folder = _vocos_folder(registry, spec)
    if folder is None:
        raise ModelUnavailableError(f"The vocoder is not fetched yet: python -m inference fetch {spec.name}", {"model": spec.name})
    return load_vocos(folder, device=device, max_batch_frames=frame_budget(device))


def load_model(registry: Registry, name: str, *, device: str = "cpu", dtype: torch.dtype | None = None) -> LoadedModel:
    """Load a model from its folder, or make the smoke voice.

    Raises:
        ModelUnavailableError: it cannot be used here, or its files are damaged or do not fit its architecture.
    """
    spec = registry.usable(name)
    vocabulary = load_vocabulary(registry, spec)
    if spec.seeded:
        transformer = seeded_transformer(dict(spec.architecture), len(vocabulary))
    else:
        weights = checkpoints.read_weights(checkpoints.locate(registry.folder(spec), spec.checkpoint, spec.vocabulary))
        transformer = _fill(spec, weights, len(vocabulary))
    transformer = transformer.to(device=device, dtype=dtype or choose_dtype(device)).eval().requires_grad_(False)
    vocoder = load_vocoder(registry, spec, device)
    return LoadedModel(spec, vocabulary, Sampler(transformer, max_batch_frames=frame_budget(device)), vocoder)


def _fill(spec: ModelSpec, weights: dict[str, Any], vocabulary_size: int) -> Any:
    embedding = weights.get("text_embed.text_embed.weight")
    if embedding is not None and embedding.shape[0] != vocabulary_size + 1:
        raise ModelUnavailableError(
            f"The vocabulary of {spec.name} has {vocabulary_size} entries, its checkpoint {embedding.shape[0] - 1}.", {"model": spec.name}
        )
    try:
        transformer = upstream.make_transformer(dict(spec.architecture), vocabulary_size=vocabulary_size)
        transformer.load_state_dict(weights)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ModelUnavailableError(f"The checkpoint of {spec.name} does not fit its architecture.", {"model": spec.name}) from error
    return transformer


def seeded_transformer(architecture: dict[str, Any], vocabulary_size: int, *, seed: int = SMOKE_SEED) -> Any:
    """A transformer of fixed random weights.

    Upstream starts its output layers at zero, where nothing that goes in would change what comes out; these weights let every
    input be heard. The output bias sets the level: audible, and below clipping.
    """
    transformer = upstream.make_transformer(architecture, vocabulary_size=vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, min(1.0, fan_in**-0.5), generator=generator)
            else:
                parameter.normal_(0.0, 0.1, generator=generator)
        transformer.proj_out.bias.sub_(0.5)
    return transformer
