"""The steps that make the bundled voice: where they begin, and what a shipped voice may weigh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from inference import upstream
from inference.mel import log_mel
from inference.phonemes import SYMBOLS
from inference.training import voice
from inference.training.vocoder import VocoderTrainer

MOST_BYTES = 40e6


def test_a_training_begins_at_the_voice_that_is_shipped_if_it_has_its_shape() -> None:
    start = voice._shipped(voice.ARCHITECTURE)
    assert start is not None
    upstream.make_transformer(voice.ARCHITECTURE, vocabulary_size=len(SYMBOLS)).load_state_dict(start)
    assert voice._shipped(voice.LARGER) is None


@pytest.mark.parametrize("size", voice.SIZES)
def test_every_size_fits_into_what_is_shipped(size: str) -> None:
    network = upstream.make_transformer(voice.SIZES[size], vocabulary_size=len(SYMBOLS))
    others = sum(file.stat().st_size for file in voice.FOLDER.rglob("*") if file.is_file() and not file.name.startswith("model_"))
    assert 2 * sum(weight.numel() for weight in network.parameters()) + others < MOST_BYTES


def test_a_vocoder_learns_from_where_the_shipped_one_is_in_a_process_that_has_spoken(tmp_path: Path) -> None:
    sound = (0.3 * np.sin(np.arange(48_000) * 0.05)).astype(np.float32)
    log_mel(sound)  # whatever upstream keeps of this must not stop the learning
    start = {name: value.float() for name, value in load_file(voice.FOLDER / "vocoder" / "model.safetensors").items()}
    trainer = VocoderTrainer(state=tmp_path / "vocoder.pt", steps=1, start=start, items=1)
    before = trainer.vocoder.head.out.weight.detach().clone()
    assert torch.equal(before, start["head.out.weight"])
    trainer.run([sound])
    assert not torch.equal(before, trainer.vocoder.head.out.weight)
    assert (tmp_path / "vocoder.pt").is_file()
