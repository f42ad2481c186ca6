"""A recording that is too long is cut together with its text, or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference import reference_cut
from inference.align_words import SpokenWord
from inference.reference import (
    PreparedReference,
    ReferenceTooLongError,
    prepare,
)
from tests.inference.conftest import hum
from tests.inference.recordings import RATE, Recording, offset, recording


class Exact:
    """An aligner that knows when the words of a recording are said; the sound it is given begins ``lead`` seconds later."""

    def __init__(self, of: Recording, score: float = 0.9) -> None:
        self.of, self.score = of, score

    def align(self, samples: np.ndarray, said: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
        lead = offset(self.of)
        starts = [0.0, *(after for _, _, after in self.of.ends)]
        return [(max(0.0, s - lead), end - lead, self.score) for s, (_, end, _) in zip(starts, self.of.ends, strict=False)]


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
