"""A voice that is written in phonemes with times: lengths, tokens for frames, and text that it cannot say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from inference import text
from inference.errors import ModelUnavailableError
from inference.phoneme_timing import CONTEXT, TIMING_FILE, Timing, spread
from inference.phoneme_vocabulary import PACES, PhonemeVocabulary
from inference.phonemes import INDEX, REFERENCE, SYMBOLS

FRAMES = 6.0


def timing(seed: int = 0) -> Timing:
    """Every phoneme about six frames long, each somewhat different."""
    rng = np.random.default_rng(seed)
    width = (2 * CONTEXT + 1) * 4
    weights = {
        "embedding": rng.normal(size=(len(SYMBOLS) + 1, 4)),
        "hidden.0.weight": rng.normal(size=(8, width)) * 0.1,
        "hidden.0.bias": np.zeros(8),
        "out.weight": rng.normal(size=(1, 8)) * 0.1,
        "out.bias": np.log([FRAMES]),
    }
    return Timing({name: value.astype(np.float32) for name, value in weights.items()})


@pytest.fixture(scope="module")
def vocabulary() -> PhonemeVocabulary:
    return PhonemeVocabulary(timing())


@given(st.lists(st.floats(0.5, 60), min_size=1, max_size=80), st.integers(0, 900))
def test_spread_lengths_fill_the_frames_and_leave_nobody_out(lengths: list[float], frames: int) -> None:
    found = spread(np.array(lengths, dtype=np.float32), frames)
    assert found.sum() == frames
    assert (found >= (1 if frames >= len(lengths) else 0)).all()
    if frames >= 20 * len(lengths):
        assert np.abs(found - np.array(lengths) / sum(lengths) * frames).max() <= len(lengths) + 1


def test_a_length_depends_on_its_neighbours_and_on_nothing_further() -> None:
    found = timing()
    a = found.frames([5, 9, 12, 30, 8, 9, 10, 11, 12, 13])
    b = found.frames([5, 9, 12, 30, 8, 9, 10, 11, 12, 40])
    assert np.allclose(a[:5], b[:5])
    assert not np.allclose(a[5:], b[5:])


def test_each_frame_has_a_token_and_the_reference_has_its_own(vocabulary: PhonemeVocabulary) -> None:
    tokens = vocabulary.timed("Hello there.", "en-US", reference_frames=40, frames=75)
    assert len(tokens) == 115
    assert set(tokens[:40]) == {INDEX[REFERENCE]}
    spoken = [token for token, before in zip(tokens[40:], [None, *tokens[40:]], strict=False) if token != before]
    assert spoken == vocabulary.encode("Hello there.", "en-US")


def test_longer_text_takes_longer_and_speed_shortens(vocabulary: PhonemeVocabulary) -> None:
    short, long = (vocabulary.frames(t, "en-US", pace=1, speed=1) for t in ("One two.", "One two three four five six."))
    assert long > 1.8 * short
    assert vocabulary.frames("One two three four.", "en-US", pace=1, speed=2) == pytest.approx(
        vocabulary.frames("One two three four.", "en-US", pace=1, speed=1) / 2, abs=1
    )


def test_the_pace_is_that_of_the_reference_within_reason(vocabulary: PhonemeVocabulary) -> None:
    words = "The old man walked slowly along the river."
    usual = vocabulary.frames(words, "en-US", pace=1, speed=1)
    assert vocabulary.pace(words, "en-US", round(usual * 1.2)) == pytest.approx(1.2, abs=0.01)
    assert vocabulary.pace(words, "en-US", usual * 9) == PACES[1]
    assert vocabulary.pace("", "en-US", 300) == 1.0
    assert vocabulary.pace("\u0928\u092e\u0938\u094d\u0924\u0947", "en-US", 300) == 1.0


def test_other_scripts_and_signs_are_named_and_not_lost(vocabulary: PhonemeVocabulary) -> None:
    found = [(u.character, u.position) for u in vocabulary.unsupported("A \u4e2d b \u2603.", "en-US")]
    assert found == [("\u4e2d", 2), ("\u2603", 6)]
    with pytest.raises(text.UnsupportedCharactersError):
        vocabulary.encode("\u4e2d", "en-US")
    assert vocabulary.unsupported("Caf\u00e9, na\u00efve \u2014 \u201cyes\u201d; it\u2019s 5!", "en-US") == []
    assert vocabulary.encode("Caf\u00e9.", "en-US") == vocabulary.encode("Cafe.", "en-US")


def test_plans_take_the_lengths_of_the_phonemes_and_leave_room_for_a_cut_reference(vocabulary: PhonemeVocabulary) -> None:
    wanted = "It was a bright cold day in April, and the clocks were striking thirteen. " * 3
    plan = text.plan(
        wanted,
        language="en-US",
        vocabulary=vocabulary,
        reference_text="The old man walked slowly.",
        reference_frames=1400,
        max_frames=1000,
        max_reference_frames=380,
    )
    pace = vocabulary.pace("The old man walked slowly.", "en-US", 1400)
    for chunk in plan.chunks:
        assert chunk.frames == min(vocabulary.frames(chunk.text, "en-US", pace=pace, speed=1), 620)


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("a\nb\n")
    with pytest.raises(ModelUnavailableError, match="vocabulary"):
        PhonemeVocabulary.from_folder(tmp_path, vocab)
    vocab.write_text("".join(f"{s}\n" for s in SYMBOLS))
    with pytest.raises(ModelUnavailableError, match="cannot be read"):
        PhonemeVocabulary.from_folder(tmp_path, vocab)
    save_file({"other": np.zeros(3, dtype=np.float32)}, tmp_path / TIMING_FILE)
    with pytest.raises(ModelUnavailableError, match="damaged"):
        PhonemeVocabulary.from_folder(tmp_path, vocab)
