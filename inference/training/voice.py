"""The bundled voice: its shape, its limits, and the steps that make it, each of which goes on where it was stopped."""

from __future__ import annotations

import json
import signal
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
from safetensors.torch import load_file

from inference.mel import SAMPLE_RATE
from inference.phonemes import SYMBOLS
from inference.registry import VOICES_DIR
from inference.training import bundle, corpus, evaluate, sentences, timing
from inference.training.loop import Progress, Schedule, Trainer
from inference.training.vocoder import VocoderTrainer
from inference.training.windows import Windows

NAME = "voxify-small-en"
FOLDER = VOICES_DIR / NAME
ARCHITECTURE: dict[str, Any] = {
    **{"dim": 256, "depth": 6, "heads": 4, "ff_mult": 2},
    **{"text_dim": 128, "text_mask_padding": False, "conv_layers": 2},
}
LARGER: dict[str, Any] = ARCHITECTURE | {"dim": 384, "depth": 7, "heads": 6}
"""What the 40 MB of a shipped voice have room for, beside the vocoder. Two cores take a week for it; it is meant for a GPU."""
SIZES = {"small": ARCHITECTURE, "larger": LARGER}
LIMITS = {"max_frames": 1024, "max_reference_frames": 400}
LICENSE = "Apache-2.0"
TIMING_SHARDS = 20
VOCODER_SHARDS = 8
REPORT_EVERY = 50


def say(line: str) -> None:
    print(line, flush=True)


def make_corpus(work: Path, utterances: int) -> None:
    """The teachers' speech, shard by shard; those that are there already stay."""
    texts, _ = sentences.split(sentences.wordnet(), held_out=corpus.HELD_OUT_SENTENCES)
    for made in corpus.make(work / "corpus", texts, utterances=utterances, sounds=VOCODER_SHARDS):
        say(f"corpus: {made} of {utterances} utterances")


def _state(work: Path, size: str) -> Path:
    return work / ("voice.pt" if size == "small" else f"voice-{size}.pt")


def train(work: Path, *, size: str, steps: int, minutes: float, device: str, lengths: tuple[int, ...], frames: int) -> None:
    """The transformer, from its state, or from the voice that is shipped if it has this size, or from nothing.

    ``frames``: learnt from in one step; a GPU takes some twenty times what two cores do.
    """
    windows = Windows(seed=time.time_ns() % 2**32)
    for shard in corpus.shards(work / "corpus"):
        windows.add(corpus.read(shard))
    schedule = Schedule(steps, learning_rate=1.2e-3, lengths=lengths, frames=frames)
    state = _state(work, size)
    start = None if state.exists() else _shipped(SIZES[size])
    trainer = Trainer(SIZES[size], vocabulary_size=len(SYMBOLS), schedule=schedule, state=state, start=start, device=device)
    ends = time.monotonic() + 60 * minutes
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    say(f"voice: step {trainer.step} of {steps}")
    trainer.run(windows, until=lambda: told.is_set() or time.monotonic() > ends, report=_report)
    if told.is_set():
        raise SystemExit(f"Stopped at step {trainer.step}; the same command goes on from here.")


def _report(progress: Progress) -> None:
    if progress.step % REPORT_EVERY == 0:
        say(f"voice: step {progress.step} of {progress.steps}, loss {progress.loss:.4f}, {progress.seconds_a_step:.2f} s a step")


def _shipped(architecture: dict[str, Any]) -> dict[str, Any] | None:
    """The weights of the voice that is shipped; None: it is of another shape, or there is none."""
    from inference import checkpoints

    config = FOLDER / "config.toml"
    if not config.is_file() or tomllib.loads(config.read_text(encoding="utf-8"))["architecture"] != architecture:
        return None
    weights = checkpoints.read_weights(checkpoints.locate(FOLDER, None, None))
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def train_timing(work: Path) -> None:
    """The lengths of phonemes; a minute."""
    examples = [example for shard in corpus.shards(work / "corpus")[:TIMING_SHARDS] for example in corpus.read(shard)]
    kept = max(1, len(examples) // 20)
    network = timing.train(examples[:-kept])
    timing.save(network, work / "timing.safetensors")
    say(f"timing: lengths of held-out halves are off by {timing.error(network, examples[-kept:]):.1%}")


def train_vocoder(work: Path, *, steps: int, device: str, items: int) -> None:
    """The vocoder, from its state, or from the one that is shipped. ``items``: windows of 0.7 s in one step."""
    sounds = [sound for shard in corpus.shards(work / "corpus")[:VOCODER_SHARDS] for sound in corpus.read_sounds(shard)]
    report: Callable[[int, float, float], None] = lambda step, loss, seconds: (  # noqa: E731
        say(f"vocoder: step {step} of {steps}, loss {loss:.4f}, {seconds:.2f} s a step") if step % REPORT_EVERY == 0 else None
    )
    shipped = FOLDER / "vocoder" / "model.safetensors"
    start = {name: value.float() for name, value in load_file(shipped).items()} if shipped.is_file() else None
    VocoderTrainer(state=work / "vocoder.pt", steps=steps, start=start, device=device, items=items).run(sounds, report=report)


def write_bundle(work: Path, folder: Path, *, size: str) -> None:
    """The voice as it is shipped, from whatever states there are; parts without a state stay as they are."""
    if (state := _state(work, size)).exists():
        bundle.write_voice(folder, voice_state=state, architecture=SIZES[size], limits=LIMITS, license=LICENSE)
    if (work / "vocoder.pt").exists():
        bundle.write_vocoder(folder / "vocoder", state=work / "vocoder.pt")
    if (work / "timing.safetensors").exists():
        bundle.write_timing(folder, file=work / "timing.safetensors")
    taken = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    say(f"bundle: {folder.name}, {taken / 2**20:.1f} MiB")


def measure(work: Path, folder: Path, *, count: int, steps: int, cfg_strength: float) -> None:
    """Evaluate, print the table, and keep it with the sounds of ten sentences."""
    sounds = work / "sounds"
    sounds.mkdir(parents=True, exist_ok=True)

    def keep(name: str, sound: Any) -> None:
        soundfile.write(sounds / f"{name}.wav", sound, SAMPLE_RATE)

    def report(i: int, heard: evaluate.Heard) -> None:
        if i < 10:
            say(f"{heard.speaker}: {heard.text}\n  teacher: {' '.join(heard.teacher)}\n  voice:   {' '.join(heard.voice)}")

    found = evaluate.as_dict(evaluate.evaluate(folder, count=count, steps=steps, cfg_strength=cfg_strength, report=report, keep=keep))
    for key, value in found.items():
        say(f"{key:26} {value}")
    (work / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    say(f"sounds: {sounds}")
