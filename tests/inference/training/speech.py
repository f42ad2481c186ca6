"""Made-up speech whose words can be found, and tiny models to learn it."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.phonemes import SYMBOLS
from inference.training import bundle, timing
from inference.training.loop import Schedule, Trainer
from inference.training.vocoder import VocoderTrainer
from tests.inference.conftest import hum
from tests.inference.models import save_model

TEXT = (
    "The boat goes by in the morning. An old man watches the river, and he does not speak. Later it rains on the garden. "
    "Nobody sees the letter under the bridge. The train to the city leaves at noon. She reads the story again."
)
RATE = 24_000
ARCHITECTURE = {"dim": 48, "depth": 1, "heads": 2, "dim_head": 16, "ff_mult": 2, "text_dim": 16, "conv_layers": 1}


def spoken(text: str = TEXT, *, frequency: float = 150.0) -> np.ndarray:
    """A hum for each word, as long as its letters ask for, with a short silence behind it and a long one behind a mark."""
    parts = []
    for word in text.split():
        parts.append(hum(0.075 * len(word.strip(".,")) + 0.06, frequency=frequency + 3 * len(word)))
        parts.append(np.zeros(round((0.45 if word.endswith(".") else 0.25 if word.endswith(",") else 0.02) * RATE), np.float32))
    return np.concatenate(parts)


def character_model(folder: Path) -> Path:
    """A model folder whose tokens are characters and whose weights are random."""
    torch.set_num_threads(1)
    return save_model(folder)


def phoneme_model(folder: Path) -> Path:
    """A model folder in phonemes with times, of random weights, with a vocoder of its own."""
    torch.set_num_threads(1)
    work = folder.with_name("work")
    work.mkdir(parents=True)
    trainer = Trainer(ARCHITECTURE, vocabulary_size=len(SYMBOLS), schedule=Schedule(steps=1), state=work / "voice.pt")
    generator = torch.Generator().manual_seed(3)
    for name, value in trainer.average.items():
        if value.dtype.is_floating_point and "rotary" not in name:
            value.normal_(0.0, 0.1, generator=generator)
    trainer.save()
    VocoderTrainer(state=work / "vocoder.pt", steps=0).save()
    timing.save(timing.TimingNetwork(), work / "timing.safetensors")
    limits = {"max_frames": 900, "max_reference_frames": 300}
    bundle.write_voice(folder, voice_state=work / "voice.pt", architecture=ARCHITECTURE, limits=limits, license="Apache-2.0")
    bundle.write_vocoder(folder / "vocoder", state=work / "vocoder.pt")
    bundle.write_timing(folder, file=work / "timing.safetensors")
    return folder


def environment(models: Path, **settings: Any) -> dict[str, str]:
    """The settings of a service whose only model is ``tiny`` in this folder."""
    given = {"VOXIFY_MODEL_DIR": models, "VOXIFY_MODEL": models / "tiny", "VOXIFY_DEVICE": "cpu", "VOXIFY_LOG_LEVEL": "WARNING"}
    return {name: str(value) for name, value in (given | settings).items()}


class Forked:
    """A process of a training that was forked from one which has imported everything already: as `subprocess.Popen`."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["inference.training.finetune", "resemblyzer", "librosa.core", "librosa.feature.spectral", "scipy.stats", "torchaudio"]
        )
        self.process: ForkServerProcess = context.Process(target=_train, args=(str(folder), env))
        self.process.start()

    def poll(self) -> int | None:
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        return self.process.exitcode or 0


def _train(folder: str, env: dict[str, str]) -> None:
    os.environ.update(env)
    # Threads that wait for one another on a busy machine take longer than one alone.
    torch.set_num_threads(1)
    from inference.training import finetune

    raise SystemExit(finetune.main([folder]))
