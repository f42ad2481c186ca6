"""References: trimmed, levelled, and cut together with their text or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import reference_cut
from inference.align_words import SpokenWord
from inference.errors import InvalidItemError, LanguageUnavailableError
from inference.reference import (
    AudioTooShortError,
    PreparedReference,
    ReferenceTextRequiredError,
    ReferenceTooLongError,
    end_with_mark,
    prepare,
)
from inference.text import EmptyTextError, UnsupportedCharactersError, Vocabulary
from inference.transcribe import Transcript, TranscriptionUnavailableError
from tests.inference.conftest import hum
from tests.inference.models import TOKENS

RATE = 24_000
SYLLABLES = ["ba", "ne", "tor", "li", "sun", "ka", "mi", "gre", "do", "vel", "in", "ar", "stra", "o", "e", "lu", "pen"]


@dataclass(frozen=True)
class Recording:
    """Tone bursts that stand for words. ``ends``: of each word, its end in the text, and the silence behind it in seconds."""

    samples: np.ndarray
    text: str
    ends: list[tuple[int, float, float]]


def recording(seed: int, *, seconds: float = 14.0, hesitation: float = 0.05, jitter: float = 0.15) -> Recording:
    """Sentences at a rate that wanders by ``jitter``; people pause after most marks, and now and then where there is none."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(10, 20)
    text, parts, at, ends = "", [np.zeros(int(rng.uniform(0, 0.4) * RATE))], 0.0, []
    at = len(parts[0]) / RATE
    while at < seconds or len(ends) < 4:
        count, pace = int(rng.integers(2, 16)), rate * np.exp(rng.normal(0, jitter))
        for place in range(count):
            word = "".join(rng.choice(SYLLABLES) for _ in range(int(rng.integers(1, 4))))
            last = place == count - 1
            t = np.arange(int(max(0.08, (len(word) + 0.7) / pace * np.exp(rng.normal(0, 0.2)) + 0.08 * last) * RATE)) / RATE
            swell = np.minimum(1, np.minimum(t, t[::-1]) / 0.015) * (0.7 + 0.3 * np.abs(np.sin(2 * np.pi * rng.uniform(2, 4) * t)))
            parts.append(0.2 * swell * np.sin(2 * np.pi * rng.uniform(100, 250) * t))
            mark = str(rng.choice([".", "!", "?"])) if last else "," if rng.random() < 0.12 else ""
            longest, chance = (0.9, 0.95) if last else (0.5, 0.6) if mark else (0.6, hesitation)
            pause = rng.uniform(0.15, longest) if rng.random() < chance else rng.uniform(0, 0.04)
            text += (word if place else word.capitalize()) + mark
            at += len(t) / RATE
            ends.append((len(text), at, at + pause))
            text += " "
            parts.append(np.zeros(int(pause * RATE)))
            at += pause
    sound = np.concatenate(parts)
    noise = 10 ** rng.uniform(-4.5, -2.8) * rng.standard_normal(len(sound))
    return Recording((sound + noise).astype(np.float32), text.strip(), ends)


class Exact:
    """An aligner that knows when the words of a recording are said; the sound it is given begins ``lead`` seconds later."""

    def __init__(self, of: Recording, score: float = 0.9) -> None:
        self.of, self.score = of, score

    def align(self, samples: np.ndarray, said: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
        lead = offset(self.of)
        starts = [0.0, *(after for _, _, after in self.of.ends)]
        return [(max(0.0, s - lead), end - lead, self.score) for s, (_, end, _) in zip(starts, self.of.ends, strict=False)]


def offset(of: Recording) -> float:
    """Seconds that trimming takes from the beginning."""
    from audio.activity import active_spans

    return max(0, active_spans(of.samples, RATE)[0][0] - int(0.1 * RATE)) / RATE


def together(of: Recording, prepared: PreparedReference) -> bool:
    """Whether the sound ends in the silence behind the last word of the text."""
    last = offset(of) + prepared.seconds
    text = prepared.text
    return any(of.text[:end] in (text, text[:-1]) and before - 0.03 <= last <= after + 0.1 for end, before, after in of.ends)


def test_sound_and_text_are_cut_together_or_not_at_all() -> None:
    cut = refused = 0
    for seed in range(200):
        of = recording(seed)
        try:
            prepared = prepare(of.samples, of.text, language="en-US")
        except ReferenceTooLongError:
            refused += 1
            continue
        assert prepared.cut
        assert 3 <= prepared.seconds <= 12
        assert together(of, prepared), seed
        cut += 1
    # A rule that refuses everything is never wrong either.
    assert cut > 90, refused


def test_speech_with_known_word_times_is_cut_between_the_right_words() -> None:
    """The pauses of real speech, as noise bursts: two recordings of a voice after one another."""
    recordings = json.loads(Path(__file__).with_name("spoken_words.json").read_text())["recordings"]
    right = 0
    for first, second in zip(recordings[::2], recordings[1::2], strict=True):
        of = joined(first, second)
        if len(of.samples) < 13 * RATE:
            continue
        try:
            prepared = prepare(of.samples, of.text, language="en-US")
        except ReferenceTooLongError:
            continue
        assert together(of, prepared)
        right += 1
    assert right >= 6


def joined(first: dict[str, Any], second: dict[str, Any]) -> Recording:
    from inference.align_words import words

    lead = first["seconds"]
    rng = np.random.default_rng(0)
    sound = 1e-4 * rng.standard_normal(int((lead + second["seconds"]) * RATE))
    for start, end in [*first["sound"], *([a + lead, b + lead] for a, b in second["sound"])]:
        part = sound[int(start * RATE) : int(end * RATE)]
        part += 0.1 * rng.standard_normal(len(part))
    text = f"{first['text']} {second['text']}"
    times = [*first["words"], *([a + lead, b + lead] for a, b in second["words"])]
    following = [*(start for start, _ in times[1:]), len(sound) / RATE]
    marks = [word.marks_end for word in words(text, "en-US")]
    # The recorded end of a word lies up to a frame of the detector before the silence.
    ends = [(mark, end - 0.05, max(after, end)) for mark, (_, end), after in zip(marks, times, following, strict=True)]
    return Recording(sound.astype(np.float32), text, ends)


def test_a_pause_that_could_follow_several_words_is_refused() -> None:
    """Even speech with a comma after every word, and one pause at seven seconds."""
    speech = np.concatenate([hum(7.0), np.zeros(RATE // 2, np.float32), hum(7.0)])
    with pytest.raises(ReferenceTooLongError):
        prepare(speech, "one, two, " * 25, language="en-US")


def test_speech_without_a_pause_is_refused() -> None:
    with pytest.raises(ReferenceTooLongError) as caught:
        prepare(hum(15.0), "Words that go on and on. " * 8, language="en-US")
    assert caught.value.details == {"limit_s": 12.0}


def test_a_text_that_cannot_be_that_of_the_sound_is_refused() -> None:
    of = recording(0)
    assert prepare(of.samples, of.text, language="en-US").cut
    with pytest.raises(ReferenceTooLongError):
        prepare(of.samples, "Only. This.", language="en-US")
    with pytest.raises(ReferenceTooLongError):
        prepare(of.samples, of.text * 4, language="en-US")


def halves(first_s: float, second_s: float) -> np.ndarray:
    return np.concatenate([hum(first_s), np.zeros(RATE // 2, np.float32), hum(second_s)])


def test_a_rate_that_nobody_speaks_at_is_refused() -> None:
    words = "somewhat wordlike utterances "
    assert prepare(halves(7.0, 7.0), f"{words * 4}. {words * 4}.", language="en-US").cut
    with pytest.raises(ReferenceTooLongError):
        prepare(halves(7.0, 7.0), f"{words}. {words}.", language="en-US")


def test_sentences_that_take_other_times_than_their_words_are_refused() -> None:
    with pytest.raises(ReferenceTooLongError):
        prepare(halves(7.0, 7.0), f"{'na' * 10}. {'na' * 60}.", language="en-US")


def test_a_pause_without_a_mark_is_no_place_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cut, "_CERTAINTY", 0.0)
    with pytest.raises(ReferenceTooLongError):
        prepare(halves(7.0, 7.0), "and then a great many of these words came along " * 4, language="en-US")


def test_with_an_aligner_more_is_cut_and_rightly() -> None:
    cut = 0
    for seed in range(60):
        of = recording(seed)
        try:
            prepared = prepare(of.samples, of.text, language="en-US", aligner=Exact(of))
        except ReferenceTooLongError:
            continue
        assert together(of, prepared), seed
        cut += 1
    assert cut >= 57


def test_an_aligner_that_does_not_hear_the_text_is_not_believed() -> None:
    of = next(of for of in map(recording, range(200)) if refused(of))
    assert prepare(of.samples, of.text, language="en-US", aligner=Exact(of)).cut
    with pytest.raises(ReferenceTooLongError):
        prepare(of.samples, of.text, language="en-US", aligner=Exact(of, score=0.2))


def refused(of: Recording) -> bool:
    return reference_cut.cut_together(of.samples, RATE, of.text, language="en-US", limit_s=12) is None


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
