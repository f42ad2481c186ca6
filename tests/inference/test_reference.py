"""References: trimmed, levelled, and cut together with their text or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import InvalidItemError, LanguageUnavailableError
from inference.reference import (
    AudioTooShortError,
    ReferenceTextRequiredError,
    end_with_mark,
    prepare,
)
from inference.text import EmptyTextError, UnsupportedCharactersError, Vocabulary
from inference.transcribe import Transcript, TranscriptionUnavailableError
from tests.inference.conftest import hum
from tests.inference.models import TOKENS
from tests.inference.recordings import RATE, offset, recording


def test_a_short_recording_stays_whole() -> None:
    prepared = prepare(hum(5.0), "Some words that were said", language="en-US")
    assert not prepared.cut
    assert not prepared.transcribed
    assert prepared.text == "Some words that were said."
    assert 5.0 <= prepared.seconds <= 5.2


def test_silence_at_the_ends_goes_and_a_little_stays() -> None:
    sound = np.concatenate([np.zeros(RATE, np.float32), hum(4.0), np.zeros(2 * RATE, np.float32)])
    prepared = prepare(sound, "Words.", language="en-US")
    assert prepared.seconds == pytest.approx(4.3, abs=0.06)
    loud = np.flatnonzero(np.abs(prepared.samples) > 0.01) / RATE
    assert loud[0] == pytest.approx(0.1, abs=0.04)
    assert prepared.seconds - loud[-1] == pytest.approx(0.2, abs=0.04)


def test_a_recording_that_ends_in_speech_gets_some_silence() -> None:
    prepared = prepare(hum(4.0), "Words.", language="en-US")
    assert np.abs(prepared.samples[-int(0.07 * RATE) :]).max() == 0


@pytest.mark.parametrize("seconds", [11.8, 11.95, 12.0])
def test_silence_never_makes_it_longer_than_the_limit(seconds: float) -> None:
    sound = np.concatenate([np.zeros(RATE, np.float32), hum(seconds), np.zeros(RATE, np.float32)])
    prepared = prepare(sound, "Words.", language="en-US", limit_s=12.1)
    assert not prepared.cut
    assert seconds - 0.1 <= prepared.seconds <= 12.1


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0, 0.95))
def test_level_rises_to_the_models_and_never_clips(level: float, spike: float) -> None:
    sound = hum(2.0, level=level)
    sound[RATE] = spike
    prepared = prepare(sound, "Words.", language="en-US").samples
    peak, rms = float(np.abs(prepared).max()), float(np.sqrt(np.mean(prepared**2)))
    assert peak <= 1
    assert rms <= max(0.1001, level)
    assert rms >= 0.099 or peak == pytest.approx(0.98, abs=0.01)


def test_a_loud_recording_keeps_its_level() -> None:
    sound = hum(3.0, level=0.9)
    assert float(np.abs(prepare(sound, "Words.", language="en-US").samples).max()) == pytest.approx(float(np.abs(sound).max()), abs=0.01)


@pytest.mark.parametrize("sound", [np.zeros(0, np.float32), np.zeros(5 * RATE, np.float32), hum(0.8)])
def test_less_than_a_second_of_speech(sound: np.ndarray) -> None:
    with pytest.raises(AudioTooShortError) as caught:
        prepare(sound, "Words.", language="en-US")
    assert caught.value.details["minimum_s"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there", "Hello there."),
        ("Hello there.", "Hello there."),
        ("Hello?", "Hello?"),
        ('He said "no."', 'He said "no."'),
        ('He said "no"', 'He said "no".'),
        ("first,", "first,"),
        ("\u4f60\u597d", "\u4f60\u597d\u3002"),
        ("\u4f60\u597d\u3002", "\u4f60\u597d\u3002"),
        ("\u3053\u308c\u306f\u30c6\u30b9\u30c8", "\u3053\u308c\u306f\u30c6\u30b9\u30c8\u3002"),
        ("", ""),
    ],
)
def test_a_text_ends_in_a_mark(text: str, expected: str) -> None:
    assert end_with_mark(text) == expected


def test_a_mark_that_the_model_lacks_is_not_added() -> None:
    assert end_with_mark("\u4f60", Vocabulary([" ", "\u4f60"])) == "\u4f60"
    assert end_with_mark("abc", Vocabulary(TOKENS)) == "abc."


def test_characters_the_model_lacks_are_named_where_they_are() -> None:
    with pytest.raises(UnsupportedCharactersError) as caught:
        prepare(hum(3.0), "  Hello \u044f there", language="en-US", vocabulary=Vocabulary(TOKENS))
    assert caught.value.details == {"field": "reference_text", "characters": [{"character": "\u044f", "position": 8}]}


def test_characters_that_are_cut_away_do_no_harm() -> None:
    of = recording(0)
    text = of.text[:-1] + " \u044f."
    assert prepare(of.samples, text, language="en-US", vocabulary=Vocabulary(TOKENS)).cut


def heard(text: str) -> Any:
    calls = []

    def transcribe(samples: np.ndarray, rate: int, language: str) -> Transcript:
        calls.append(len(samples) / rate)
        return Transcript(text, language, "test")

    transcribe.calls = calls  # type: ignore[attr-defined]
    return transcribe


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_missing_text_is_heard(text: str | None) -> None:
    prepared = prepare(hum(3.0), text, language="en-US", transcribe=heard("These words were heard"))
    assert prepared.transcribed
    assert prepared.text == "These words were heard."


def test_a_long_recording_without_a_text_is_cut_before_it_is_heard() -> None:
    of = recording(3)
    transcribe = heard("about as many words as twelve seconds of talking have in them")
    prepared = prepare(of.samples, None, language="en-US", transcribe=transcribe)
    assert prepared.cut
    assert prepared.transcribed
    assert transcribe.calls[0] <= 12
    ends = offset(of) + transcribe.calls[0]
    assert any(before - 0.03 <= ends <= after + 0.03 for _, before, after in of.ends)


@pytest.mark.parametrize("text", ["", "...", "a", "on and on " * 100])
def test_what_cannot_have_been_said_was_not_heard(text: str) -> None:
    with pytest.raises(ReferenceTextRequiredError):
        prepare(hum(3.0), None, language="en-US", transcribe=heard(text))


@pytest.mark.parametrize("error", [TranscriptionUnavailableError("Fetch it."), LanguageUnavailableError("Not known.")])
def test_without_a_text_and_a_recogniser_a_text_is_asked_for(error: Exception) -> None:
    def transcribe(samples: np.ndarray, rate: int, language: str) -> Transcript:
        raise error

    with pytest.raises(ReferenceTextRequiredError, match=str(error)):
        prepare(hum(3.0), None, language="en-US", transcribe=transcribe)
    with pytest.raises(ReferenceTextRequiredError):
        prepare(hum(3.0), None, language="en-US")


def test_a_text_without_words() -> None:
    with pytest.raises(EmptyTextError):
        prepare(hum(3.0), "...", language="en-US")


@pytest.mark.parametrize("values", [{"limit_s": 1.0}, {"limit_s": 30.0}, {"limit_s": float("nan")}])
def test_a_limit_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(InvalidItemError):
        prepare(hum(3.0), "Words.", language="en-US", **values)


def test_sound_that_is_no_sound() -> None:
    with pytest.raises(InvalidItemError):
        prepare(np.full(RATE * 2, np.nan, np.float32), "Words.", language="en-US")
    with pytest.raises(InvalidItemError):
        prepare(np.zeros((2, RATE), np.float32), "Words.", language="en-US")


def test_a_prepared_reference_is_fit_to_be_prepared_again() -> None:
    of = recording(0)
    once = prepare(of.samples, of.text, language="en-US")
    again = prepare(once.samples, once.text, language="en-US")
    assert again.text == once.text
    assert again.seconds == pytest.approx(once.seconds, abs=0.2)
    assert not again.cut
