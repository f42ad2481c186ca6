"""Words in time without a network: by the energy of the sound and the weight of letters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.align import align
from inference.align_estimate import estimate, match, sound_spans
from inference.align_words import Break, words
from inference.text import EmptyTextError
from tests.inference.alignments import RATE, bursts, check

RECORDINGS = json.loads(Path(__file__).with_name("spoken_words.json").read_text())["recordings"]


def test_the_estimate_is_close_on_speech_whose_times_are_known() -> None:
    errors = []
    for index, recording in enumerate(RECORDINGS):
        sound = bursts(recording["sound"], recording["seconds"], seed=index)
        found = align(sound, RATE, recording["text"], language="en-US")
        check(found, recording["text"], recording["seconds"])
        assert len(found.words) == len(recording["words"])
        errors += [abs(w.start_s - start) for w, (start, _) in zip(found.words, recording["words"], strict=True)]
    assert float(np.median(errors)) < 0.07
    assert float(np.percentile(errors, 95)) < 0.26


def test_words_lie_where_there_is_sound() -> None:
    spans = [(0.5, 1.5), (2.2, 3.2)]
    found = align(bursts(spans, 4.0), RATE, "one two three. four five six.", language="en-US").words
    assert found[0].start_s == pytest.approx(0.5, abs=0.05)
    assert found[2].end_s == pytest.approx(1.5, abs=0.05)
    assert found[3].start_s == pytest.approx(2.2, abs=0.05)
    assert found[5].end_s == pytest.approx(3.2, abs=0.05)


def test_a_long_word_takes_longer() -> None:
    found = align(bursts([(0.0, 3.0)], 3.0), RATE, "a extraordinarily b", language="en-US").words
    assert found[1].end_s - found[1].start_s > 3 * (found[0].end_s - found[0].start_s)


def test_a_pause_goes_to_the_mark_even_where_the_letters_would_have_it_elsewhere() -> None:
    spans = [(0.0, 1.15), (1.6, 2.8)]
    said_words = words("aaaa bbbb cccc, dddd eeee ffff", "en-US")
    times = estimate(bursts(spans, 2.8), RATE, said_words)
    assert times[2][1] == pytest.approx(1.15, abs=0.05)


def test_an_evident_place_of_a_pause_is_certain_and_a_doubtful_one_is_not() -> None:
    weights = np.full(8, 5.0)
    sure = match([(0.0, 2.0), (2.5, 4.5)], weights, [Break.NONE] * 3 + [Break.SENTENCE] + [Break.NONE] * 4)
    assert sure.cuts == [0, 4, 8]
    assert sure.certainty[0] > 0.95
    unsure = match(
        [(0.0, 2.0), (2.5, 4.5)], weights, [Break.NONE, Break.NONE, Break.SENTENCE, Break.NONE, Break.SENTENCE, *[Break.NONE] * 3]
    )
    assert 0.4 < unsure.certainty[0] < 0.6


def test_a_noise_without_words_is_left_out() -> None:
    spans = [(0.0, 2.0), (2.6, 2.66), (3.2, 5.2)]
    found = match(spans, np.full(8, 5.0), [Break.NONE] * 3 + [Break.SENTENCE] + [Break.NONE] * 4)
    assert found.cuts == [0, 4, 4, 8]


def test_silence_has_spans_too() -> None:
    assert sound_spans(np.zeros(RATE, np.float32), RATE) == [(0.0, 1.0)]


@settings(max_examples=80, deadline=None)
@given(
    st.text(max_size=120),
    st.lists(st.tuples(st.floats(0, 0.6), st.floats(0, 1)), min_size=1, max_size=25),
    st.sampled_from(["en-US", "zh-CN", "th-TH", "de-DE"]),
    st.integers(0, 3),
)
def test_any_text_in_any_energy(text: str, parts: list[tuple[float, float]], language: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sound = np.concatenate([level * rng.standard_normal(1 + int(seconds * RATE)) for seconds, level in parts]).astype(np.float32)
    try:
        found = align(sound, RATE, text, language=language)
    except EmptyTextError:
        assert not words(text, language)
        return
    assert found.method == "estimated"
    check(found, text, len(sound) / RATE)


def test_many_words_and_pauses_take_no_time() -> None:
    spans = [(i * 1.0, i * 1.0 + 0.7) for i in range(300)]
    found = align(bursts(spans, 300.0), RATE, "one two, three. " * 300, language="en-US")
    check(found, "one two, three. " * 300, 300.0)
    assert len(found.words) == 900
