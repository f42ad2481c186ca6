"""The measures of a voice, on voices whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.models import Clone
from worker.handlers.clone_quality import SEEDS, Vector, measured
from worker.sentences import trial_sentence


def at(*degrees: float) -> list[Vector]:
    """Voices at these angles in one plane."""
    return [np.array([np.cos(np.radians(each)), np.sin(np.radians(each))], np.float32) for each in degrees]


def test_similarity_is_to_the_reference_and_stability_among_the_takes() -> None:
    (own,) = at(0)
    found = measured(own, at(60, 60, 60), 0.5)
    assert (found["speaker_similarity"], found["stability"]) == (0.5, 1.0), "another voice, but always the same"
    assert found["quality_score"] == pytest.approx((0.5 * 1.0 * 0.5) ** (1 / 3), abs=1e-4)
    found = measured(own, at(-60, 0, 60), 1.0)
    assert found["similarities"] == [0.5, 1.0, 0.5]
    assert found["speaker_similarity"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["stability"] == pytest.approx((0.5 + 0.5 - 0.5) / 3, abs=1e-4)
    assert found["seeds"] == list(SEEDS)


def test_what_is_unlike_scores_nothing_and_an_unknown_quality_does_not_count() -> None:
    (own,) = at(0)
    assert measured(own, at(120, 120, 120), 0.9)["quality_score"] == 0.0
    assert measured(own, at(60, 60, 60), None)["quality_score"] == pytest.approx(0.5**0.5, abs=1e-4)


@given(st.lists(st.floats(-180, 180), min_size=2, max_size=5), st.floats(0, 1))
def test_every_measure_stays_in_its_range(degrees: list[float], sample_quality: float) -> None:
    found = measured(at(0)[0], at(*degrees), sample_quality)
    assert 0 <= found["quality_score"] <= 1
    assert -1 <= found["speaker_similarity"] <= 1
    assert -1 <= found["stability"] <= 1


def test_a_sentence_is_in_the_language_of_the_voice_or_its_own_words() -> None:
    assert trial_sentence("de-AT", "Own.") == trial_sentence("DE", "Own.") != trial_sentence("en-US", "Own.")
    assert trial_sentence("tlh", "Own words.") == "Own words."


def test_a_voice_in_the_making_has_no_styles_and_nothing_stored() -> None:
    clone = Clone(samples=[], references=[])
    assert (clone.styles, clone.objects, clone.reference_in(None)) == ([], [], None)
