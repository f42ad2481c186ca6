"""The teachers tell when each sound is said, and the corpus keeps what they told. Needs the Debian packages flite and espeak-ng."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import numpy as np
import pytest

from inference.mel import SAMPLE_RATE
from inference.phonemes import INDEX, PAUSES, SYMBOLS
from inference.training import corpus, sentences
from inference.training.listen import Listener, word_error_rate, words
from inference.training.teachers import Speaker
from tests.servers import need

TEXT = "The children walked slowly to the river, and nobody spoke."


@pytest.fixture(autouse=True)
def engines() -> None:
    need(ctypes.util.find_library("flite"), "flite")
    need(ctypes.util.find_library("espeak-ng"), "espeak-ng")


def speakers() -> list[Speaker]:
    return [Speaker("flite", "slt"), Speaker("flite", "kal16"), Speaker("flite", "awb", 1.2), Speaker("espeak", "en-us+female2")]


@pytest.mark.parametrize("who", speakers(), ids=lambda who: who.name)
def test_phones_part_the_sound_and_lie_where_it_sounds_like_them(who: Speaker) -> None:
    example, sound = corpus.example(who, TEXT, corpus.random.Random(1))
    assert len(example.tokens) == len(example.mel) == 1 + len(sound) // 256
    assert example.durations.sum() == len(example.mel)
    names = np.array([SYMBOLS[token] for token in example.tokens])
    loudness = example.mel[:, :60].astype(np.float32).mean(axis=1)
    vowels = np.array([name[-1] == "1" for name in names])
    quiet = np.isin(names, PAUSES)

    def contrast(shift: int) -> float:
        moved = np.roll(loudness, shift)
        return float(moved[vowels].mean() - moved[quiet].mean())

    assert contrast(0) > 2
    assert contrast(0) > max(contrast(-8), contrast(8)) + 0.3
    assert names[0] == "pau"
    assert names[-1] == "."
    assert "," in names


def test_the_phones_are_those_of_the_words() -> None:
    named = corpus.symbols(Speaker("flite", "slt").say("Hello water?"), "Hello water?")
    assert named == ["pau", "hh", "ax0", "l", "ow1", "w", "ao1", "t", "er0", "?"]
    other = corpus.symbols(Speaker("espeak", "en-us+male3").say("Hello water?"), "Hello water?")
    assert [name for name in other if name[-1] == "1"] == ["ow1", "ao1"]


def test_a_warped_speaker_is_another_and_keeps_the_tempo() -> None:
    plain, warped = (Speaker("flite", "slt", warp).say(TEXT) for warp in (1.0, 1.2))
    assert len(warped.sound) == pytest.approx(len(plain.sound), rel=0.12)

    def centroid(sound: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(sound))
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() * SAMPLE_RATE / len(sound))

    assert centroid(warped.sound) > 1.1 * centroid(plain.sound)


def test_the_corpus_is_made_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SHARD_SIZE", 3)
    assert list(corpus.make(tmp_path, [TEXT[:-1]], utterances=6, sounds=1)) == [3, 6]
    first, second = corpus.shards(tmp_path)
    before = [file.stat().st_mtime_ns for file in (first, second)]
    assert list(corpus.make(tmp_path, [TEXT[:-1]], utterances=6, sounds=1)) == [3, 6]
    assert [file.stat().st_mtime_ns for file in (first, second)] == before
    examples = corpus.read(first)
    assert len(examples) == 3
    for example in examples:
        assert example.speaker in {who.name for who in corpus.SPEAKERS}
        assert len(example.mel) == len(example.tokens) == example.durations.sum()
        assert (np.repeat(example.phones, example.durations) == example.tokens).all()
        assert example.tokens.max() < len(INDEX)
    assert [len(sound) // 256 + 1 for sound in corpus.read_sounds(first)] == [len(example.mel) for example in examples]
    assert corpus.read_sounds(second) == []


def test_held_out_sentences_and_speakers_stay_out() -> None:
    kept, held = sentences.split([f"sentence {i}" for i in range(50)], held_out=10)
    assert len(held) == 10
    assert not set(kept) & set(held)
    assert sentences.split([f"sentence {i}" for i in range(50)], held_out=10) == (kept, held)
    assert not set(corpus.HELD_OUT_SPEAKERS) & set(corpus.SPEAKERS)


def test_the_listener_hears_the_teacher_and_not_noise() -> None:
    listener = Listener(words(TEXT + " some other words that nobody said before"))
    assert word_error_rate([words(TEXT)], [listener.hear(Speaker("flite", "slt").say(TEXT).sound)]) <= 0.2
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    assert word_error_rate([words(TEXT)], [listener.hear(noise)]) >= 0.8
    assert listener.hear(np.zeros(SAMPLE_RATE, dtype=np.float32)) == []
