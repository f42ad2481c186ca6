"""Recordings are cut between words, each piece with its own words, and every frame has the phoneme that is said in it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.align_words import words
from inference.phoneme_vocabulary import PhonemeVocabulary
from inference.phonemes import INDEX, PAUSES, SYMBOLS
from inference.text import EmptyTextError, Vocabulary
from inference.training.finetune_data import LONGEST_S, Piece, Utterances, hold_out, pieces
from tests.inference.models import TOKENS
from tests.inference.test_phoneme_vocabulary import timing
from tests.inference.training.speech import RATE, TEXT, spoken

CHARACTERS = Vocabulary(TOKENS)


@pytest.fixture(scope="module")
def vocabulary() -> PhonemeVocabulary:
    return PhonemeVocabulary(timing())


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def test_the_pieces_are_the_recording_with_its_own_words() -> None:
    sound = spoken()
    found = pieces(sound, TEXT, language="en-US", vocabulary=CHARACTERS, longest_frames=2812)
    assert len(found) >= 3
    assert max(piece.seconds for piece in found) <= LONGEST_S
    assert sum(len(piece.sound) for piece in found) == pytest.approx(len(sound), abs=len(found))
    assert letters("".join(piece.text for piece in found)) == letters(TEXT)
    for piece in found:
        assert piece.text[-1] in ".,", "it is cut in a pause behind a mark"
        assert len(piece.mel) == 1 + len(piece.sound) // 256
        assert "".join(TOKENS[token] for token in piece.tokens) == piece.text
        # As long as its words take, so that these are the words that are said in it.
        assert piece.seconds == pytest.approx(len(spoken(piece.text)) / RATE, abs=0.35)


def test_without_a_place_to_cut_what_is_too_long_is_left_out() -> None:
    text = TEXT.replace(".", "").replace(",", "")
    sound = np.concatenate([spoken(word) for word in text.split()])
    found = pieces(sound, text, language="en-US", vocabulary=CHARACTERS, longest_frames=500)
    assert found == []
    assert len(pieces(sound, text, language="en-US", vocabulary=CHARACTERS, longest_frames=2812)) == 1


def test_a_recording_may_be_kept_whole_and_must_be_spoken() -> None:
    (whole,) = pieces(spoken(), TEXT, language="en-US", vocabulary=CHARACTERS, longest_frames=2812, cut=False)
    assert whole.text == TEXT
    with pytest.raises(EmptyTextError):
        pieces(spoken(), "...", language="en-US", vocabulary=CHARACTERS, longest_frames=2812)


def test_quiet_recordings_are_raised_and_loud_ones_stay() -> None:
    loud = spoken()
    for factor in (0.05, 1.0):
        found = pieces(loud * np.float32(factor), TEXT, language="en-US", vocabulary=CHARACTERS, longest_frames=2812)
        level = float(np.sqrt(np.mean(np.concatenate([piece.sound for piece in found]) ** 2)))
        assert level == pytest.approx(max(0.1, factor * float(np.sqrt(np.mean(loud**2)))), rel=0.02)


def test_every_frame_has_the_phoneme_that_is_said_in_it(vocabulary: PhonemeVocabulary) -> None:
    found = pieces(spoken(), TEXT, language="en-US", vocabulary=vocabulary, longest_frames=900)
    for piece in found:
        assert len(piece.tokens) == len(piece.mel)
        said = [SYMBOLS[token] for token, _ in itertools.groupby(piece.tokens)]
        wanted = [SYMBOLS[token] for token in vocabulary.encode(piece.text, "en-US")]
        assert [s for s in said if s not in PAUSES] == [s for s, _ in itertools.groupby(w for w in wanted if w not in PAUSES)]
        silent = piece.mel.mean(axis=1) < -8
        pause = np.isin(piece.tokens, [INDEX[name] for name in PAUSES])
        assert np.mean(silent == pause) > 0.85, "pauses lie where it is silent"
        example = piece.example()
        assert (np.repeat(example.phones, example.durations) == piece.tokens).all()


def test_words_that_are_read_out_have_the_times_of_what_was_written(vocabulary: PhonemeVocabulary) -> None:
    text = "It costs $5 in May. The rest is free."
    assert len(words(text, "en-US")) == 9
    (piece,) = pieces(
        spoken("It costs fivedollars in May. The rest is free."), text, language="en-US", vocabulary=vocabulary, longest_frames=900
    )
    said = [SYMBOLS[token] for token, _ in itertools.groupby(piece.tokens) if SYMBOLS[token] not in PAUSES]
    assert said == [s for s in (SYMBOLS[t] for t in vocabulary.encode(text, "en-US")) if s not in PAUSES]


def piece(seconds: float, tokens: int = 5) -> Piece:
    samples = np.zeros(round(seconds * RATE), np.float32)
    frames = 1 + len(samples) // 256
    return Piece(samples, "x", np.zeros((frames, 100), np.float32), np.arange(tokens))


@given(st.lists(st.floats(0.5, 12), min_size=2, max_size=30))
def test_something_is_held_out_and_something_is_left(lengths: list[float]) -> None:
    found = [piece(seconds) for seconds in lengths]
    learnt, held = hold_out(found)
    assert [*learnt, *held] == found
    assert learnt
    assert held
    kept = sum(p.seconds for p in held)
    if len(learnt) > 1:
        assert kept >= min(3.0, 0.15 * sum(p.seconds for p in found)) - 0.01
    assert kept - held[0].seconds <= max(3.0, 0.15 * sum(p.seconds for p in found)), "and no more than is needed"


@settings(max_examples=30)
@given(st.lists(st.floats(0.5, 8), min_size=1, max_size=8), st.integers(1, 4), st.integers(64, 900), st.integers(0, 99))
def test_a_batch_hides_a_span_of_each_and_pads_the_rest(lengths: list[float], items: int, frames: int, seed: int) -> None:
    batch = Utterances([piece(seconds) for seconds in lengths], seed=seed).batch(items, frames)
    assert batch.mask is not None
    for mask, generated, tokens in zip(batch.mask, batch.generated, batch.tokens, strict=True):
        assert mask[: mask.sum()].all(), "padding is at the end"
        assert not (generated & ~mask).any()
        assert 0.69 * mask.sum() <= generated.sum() + 1
        assert (tokens >= 0).sum() == 5
    assert batch.mask.size <= items * frames or len(batch.mask) == 1
