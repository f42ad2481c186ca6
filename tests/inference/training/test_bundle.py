"""From the states of training to a folder that speaks: the way that the bundled voice takes, with tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference import wire
from inference.phonemes import SYMBOLS
from inference.registry import Registry
from inference.synthesis import Synthesizer
from inference.training import bundle, timing
from inference.training.loop import Schedule, Trainer
from inference.training.vocoder import VocoderTrainer
from tests.inference.conftest import hum

ARCHITECTURE = {"dim": 48, "depth": 1, "heads": 2, "dim_head": 16, "ff_mult": 2, "text_dim": 16, "conv_layers": 1}
LIMITS = {"max_frames": 500, "max_reference_frames": 120}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("work")
    trainer = Trainer(ARCHITECTURE, vocabulary_size=len(SYMBOLS), schedule=Schedule(steps=1), state=work / "voice.pt")
    generator = torch.Generator().manual_seed(3)
    for name, value in trainer.average.items():
        if value.dtype.is_floating_point and "rotary" not in name:
            value.normal_(0.0, 0.1, generator=generator)
    trainer.save()
    VocoderTrainer(state=work / "vocoder.pt", steps=0).save()
    timing.save(timing.TimingNetwork(), work / "timing.safetensors")
    made = work / "tiny-voice"
    bundle.write_voice(made, voice_state=work / "voice.pt", architecture=ARCHITECTURE, limits=LIMITS, license="Apache-2.0")
    bundle.write_vocoder(made / "vocoder", state=work / "vocoder.pt")
    bundle.write_timing(made, file=work / "timing.safetensors")
    return made


@pytest.fixture(scope="module")
def synthesizer(folder: Path) -> Synthesizer:
    made = Synthesizer(Registry(folder.parent, model=str(folder)), dtype="float32")
    made.pool.start()
    return made


def item(text: str, **given: Any) -> wire.SynthesisItem:
    body = {"text": text, "reference_text": "Some words.", "reference_audio": wire.encode_pcm(hum(2.0)), "frames": 90, "nfe_step": 5}
    return wire.SynthesisItem(**(body | given))


def test_the_folder_says_what_it_is(folder: Path) -> None:
    spec = Registry(folder.parent, model=str(folder)).usable("tiny-voice")
    assert (spec.spelling, spec.max_frames, spec.max_reference_frames) == ("phonemes", 500, 120)
    assert (spec.license, spec.commercial_use, spec.languages, spec.speech) == ("Apache-2.0", True, ("en",), True)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 10 * 2**20


def test_what_is_planned_is_spoken_at_its_length(synthesizer: Synthesizer) -> None:
    request = wire.PlanRequest(
        text="The boat goes by. It was seen, and it did not stop.", reference_text="Some words.", reference_seconds=2.0
    )
    plan = synthesizer.plan(request)
    assert isinstance(plan, wire.PlanResult)
    assert plan.speech
    results = synthesizer.synthesize([item(chunk.text, frames=chunk.frames) for chunk in plan.chunks])
    for chunk, result in zip(plan.chunks, results, strict=True):
        assert isinstance(result, wire.SynthesisResult), result
        assert abs(len(wire.decode_pcm(result.audio, "audio")) / 256 - chunk.frames) <= 2


def test_an_item_sounds_the_same_alone_and_among_others(synthesizer: Synthesizer) -> None:
    items = [item("One two three.", seed=4), item("Something else entirely.", frames=150), item("Four.", frames=60)]
    together = synthesizer.synthesize(items)
    for one, result in zip(items, together, strict=True):
        alone = synthesizer.synthesize([one])[0]
        assert isinstance(result, wire.SynthesisResult)
        assert isinstance(alone, wire.SynthesisResult)
        a, b = (wire.decode_pcm(r.audio, "audio") for r in (result, alone))
        assert np.abs(a - b).max() <= 2e-3


def test_the_text_is_heard_and_a_letter_it_cannot_say_is_an_error(synthesizer: Synthesizer) -> None:
    one, other, unknown = synthesizer.synthesize([item("One two three."), item("Six five four."), item("One \u4e2d three.")])
    assert isinstance(one, wire.SynthesisResult)
    assert isinstance(other, wire.SynthesisResult)
    assert np.abs(wire.decode_pcm(one.audio, "audio") - wire.decode_pcm(other.audio, "audio")).max() > 1e-3
    assert isinstance(unknown, wire.Failure)
    assert unknown.error.code == "UNSUPPORTED_CHARACTERS"


def test_of_a_long_reference_only_the_beginning_counts(synthesizer: Synthesizer) -> None:
    long = np.concatenate((hum(2.0), hum(2.0, frequency=300)))
    changed = np.concatenate((hum(2.0), hum(2.0, frequency=90)))
    found = synthesizer.synthesize(
        [item("One two.", reference_audio=wire.encode_pcm(sound)) for sound in (long, changed, hum(3.0, frequency=90))]
    )
    sounds = [wire.decode_pcm(result.audio, "audio") for result in found if isinstance(result, wire.SynthesisResult)]
    assert np.abs(sounds[0] - sounds[1]).max() <= 1e-3
    assert np.abs(sounds[0] - sounds[2]).max() > 1e-2
