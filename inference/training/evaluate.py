"""What a bundled voice reaches: is it understood, does it follow its reference, how fast is it. Numbers for its card."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference import speaker, wire
from inference.mel import SAMPLE_RATE, log_mel
from inference.registry import Registry
from inference.synthesis import Synthesizer
from inference.training import corpus, sentences
from inference.training.listen import Listener, word_error_rate, words
from inference.training.teachers import Speaker

SHORTEST_WORDS, LONGEST_WORDS = 3, 20
GROUP = 20


@dataclass(frozen=True)
class Heard:
    """One sentence: what was said, and the words heard from the teacher, from its frames through the vocoder, and from the voice.

    ``among_all`` are the same by a listener who may hear any word of the test.
    """

    text: str
    speaker: str
    teacher: list[str]
    vocoder: list[str]
    voice: list[str]
    among_all: dict[str, list[str]]


@dataclass(frozen=True)
class Report:
    """The measures of a voice.

    Attributes:
        word_error_rate, teacher_word_error_rate: over the same sentences by the same listener, who may hear the words of `GROUP` sentences.
        vocoder_word_error_rate: of the teacher's own mel frames through the vocoder.
        all_words: the three for a listener who may hear any word of the test, each as likely.
        nearest: share of sentences whose embedding is nearest to the reference's speaker among all the speakers of training.
        similarity: mean cosine to the reference's speaker; for speakers that no training saw, and for people, to the reference itself.
        real_time_factor: seconds of computing for a second of sound, sentences one by one.
        load_s: from nothing to ready to speak.
    """

    sentences: int
    word_error_rate: float
    teacher_word_error_rate: float
    vocoder_word_error_rate: float
    all_words: dict[str, float]
    nearest: float
    similarity: float
    similarity_held_out: float
    similarity_people: float
    real_time_factor: float
    load_s: float
    steps: int


class Voice:
    """A model of the registry, spoken with one sentence at a time."""

    def __init__(self, folder: Path, *, steps: int = 16, cfg_strength: float = 2.0) -> None:
        began = time.perf_counter()
        self.synthesizer = Synthesizer(Registry(models_dir=folder.parent, model=str(folder)))
        self.synthesizer.pool.start()
        self.load_s = time.perf_counter() - began
        self.steps, self.cfg_strength = steps, cfg_strength
        self.computed_s = self.spoken_s = 0.0

    def say(self, text: str, reference: np.ndarray, reference_text: str, *, seed: int = 0) -> np.ndarray:
        """``text`` in the voice of ``reference`` (float32, 24 kHz), as float32 at 24 kHz."""
        began = time.perf_counter()
        plan = self.synthesizer.plan(
            wire.PlanRequest(text=text, language="en-US", reference_text=reference_text, reference_seconds=len(reference) / SAMPLE_RATE)
        )
        if isinstance(plan, wire.Failure):
            raise TypeError(plan.error.message)
        given = {"reference_audio": wire.encode_pcm(reference), "reference_text": reference_text, "language": "en-US"}
        settings: dict[str, Any] = {"nfe_step": self.steps, "cfg_strength": self.cfg_strength, "seed": seed}
        items = [wire.SynthesisItem(text=chunk.text, frames=chunk.frames, **given, **settings) for chunk in plan.chunks]
        sounds = []
        for result in self.synthesizer.synthesize(items):
            if isinstance(result, wire.Failure):
                raise TypeError(result.error.message)
            sounds.append(wire.decode_pcm(result.audio, "audio"))
        sound = np.concatenate(sounds)
        self.computed_s += time.perf_counter() - began
        self.spoken_s += len(sound) / SAMPLE_RATE
        return sound

    def vocode(self, sound: np.ndarray) -> np.ndarray:
        """A sound (float32, 24 kHz) to mel frames and back."""
        vocoder = self.synthesizer.pool.load(self.synthesizer.registry.default).vocoder
        back: np.ndarray = vocoder.decode([log_mel(sound)])[0].numpy()
        return back


def held_out(count: int) -> list[str]:
    """Sentences of 3 to 20 words that no training saw."""
    _, kept = sentences.split(sentences.wordnet(), held_out=corpus.HELD_OUT_SENTENCES)
    rng = random.Random(11)
    fitting = [sentences.punctuated(s, rng) for s in kept if SHORTEST_WORDS <= len(s.split()) <= LONGEST_WORDS]
    return fitting[:count]


def evaluate(
    folder: Path,
    *,
    count: int = 200,
    steps: int = 16,
    cfg_strength: float = 2.0,
    report: Callable[[int, Heard], None] = lambda *_: None,
    keep: Callable[[str, np.ndarray], None] = lambda *_: None,
) -> Report:
    """Measure the voice in ``folder``.

    Args:
        count: held-out sentences, spoken in turn with references of flite's four voices.
        report: told of each sentence.
        keep: given the sounds of the first ten sentences by name.
    """
    voice = Voice(folder, steps=steps, cfg_strength=cfg_strength)
    texts = held_out(count)
    teachers = [Speaker("flite", name) for name in ("slt", "rms", "awb", "kal16")]
    references = _references(list(dict.fromkeys(teachers)))
    everyone = {who.name: _centre(who) for who in corpus.speakers()}
    everything = Listener({word for text in texts for word in words(text)})
    said: list[list[str]] = []
    heard: list[Heard] = []
    near, similar = [], []
    for i, text in enumerate(texts):
        who = teachers[i % len(teachers)]
        reference, reference_text = references[who.name]
        sound = voice.say(text, reference, reference_text, seed=i)
        taught = _levelled(who.say(text).sound)
        if i % GROUP == 0:
            listener = Listener({word for near in texts[i : i + GROUP] for word in words(near)})
        sounds = {"teacher": taught, "vocoder": voice.vocode(taught), "voice": sound}
        among_all = {name: everything.hear(each) for name, each in sounds.items()}
        result = Heard(text, who.name, **{name: listener.hear(each) for name, each in sounds.items()}, among_all=among_all)
        said.append(words(text))
        heard.append(result)
        embedding = speaker.embed(sound, SAMPLE_RATE)
        near.append(max(everyone, key=lambda name: float(everyone[name] @ embedding)) == who.name)
        similar.append(float(everyone[who.name] @ embedding))
        report(i, result)
        if i < 10:
            keep(f"{i:02}-{who.voice}", sound)
    return Report(
        sentences=len(texts),
        word_error_rate=word_error_rate(said, [h.voice for h in heard]),
        teacher_word_error_rate=word_error_rate(said, [h.teacher for h in heard]),
        vocoder_word_error_rate=word_error_rate(said, [h.vocoder for h in heard]),
        all_words={name: round(word_error_rate(said, [h.among_all[name] for h in heard]), 4) for name in ("teacher", "vocoder", "voice")},
        nearest=float(np.mean(near)),
        similarity=float(np.mean(similar)),
        similarity_held_out=_similarity(voice, texts[:30], _references(corpus.HELD_OUT_SPEAKERS)),
        similarity_people=_similarity(voice, texts[:10], _people(), keep=keep),
        real_time_factor=voice.computed_s / voice.spoken_s,
        load_s=voice.load_s,
        steps=steps,
    )


REFERENCE_TEXT = "The old man walked slowly along the river, and he watched the boats go by."


def _references(of: Sequence[Speaker]) -> dict[str, tuple[np.ndarray, str]]:
    return {who.name: (_levelled(who.say(REFERENCE_TEXT).sound), REFERENCE_TEXT) for who in of}


def _levelled(sound: np.ndarray) -> np.ndarray:
    return (sound * (0.1 / float(np.sqrt(np.mean(sound**2))))).astype(np.float32)


def _centre(who: Speaker) -> np.ndarray:
    """The mean embedding of a speaker over a few sentences."""
    vectors = [speaker.embed(_levelled(who.say(text).sound), SAMPLE_RATE) for text in held_out(6)[:3]]
    mean = np.mean([*vectors, speaker.embed(_levelled(who.say(REFERENCE_TEXT).sound), SAMPLE_RATE)], axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def _people() -> dict[str, tuple[np.ndarray, str]]:
    """The recording of a person that comes with f5-tts, and its text."""
    from importlib.resources import files

    import soxr

    from inference.training.listen import read_sound

    file = Path(str(files("f5_tts").joinpath("infer/examples/basic/basic_ref_en.wav")))
    samples, rate = read_sound(file)
    text = "Some call me nature, others call me mother nature."
    return {"person": (soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32), text)}


def _similarity(
    voice: Voice,
    texts: Sequence[str],
    references: dict[str, tuple[np.ndarray, str]],
    *,
    keep: Callable[[str, np.ndarray], None] = lambda *_: None,
) -> float:
    found = []
    for i, text in enumerate(texts):
        name = list(references)[i % len(references)]
        reference, reference_text = references[name]
        sound = voice.say(text, reference, reference_text, seed=i)
        found.append(float(speaker.embed(sound, SAMPLE_RATE) @ speaker.embed(reference, SAMPLE_RATE)))
        if i < 2:
            keep(f"{i:02}-{name}", sound)
    return float(np.mean(found))


def as_dict(report: Report) -> dict[str, Any]:
    """The report with its numbers rounded."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(report).items()}
