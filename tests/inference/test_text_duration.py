"""Predicted lengths: upstream's rule where it is right, better where bytes misjudge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.text_duration import FRAMES_PER_SECOND, frames, frames_per_unit, weight, weights

REFERENCE = "Some call me nature, others call me mother nature."
FRAMES = 330


def predict(text: str, *, per_unit: float, speed: float) -> int:
    return frames(sum(weights(text)), len(text), per_unit=per_unit, speed=speed)


def seconds(text: str, speed: float = 1.0, reference: str = REFERENCE, reference_frames: int = FRAMES) -> float:
    return predict(text, per_unit=frames_per_unit(reference, reference_frames), speed=speed) / FRAMES_PER_SECOND


def test_a_text_as_long_as_the_reference_takes_as_long() -> None:
    assert predict(REFERENCE, per_unit=frames_per_unit(REFERENCE, FRAMES), speed=1.0) == FRAMES


def test_one_script_keeps_the_rule_of_upstream() -> None:
    text = "The quick brown fox jumps over the lazy dog, and then it sleeps in the long grass for an hour."
    upstream = FRAMES * len(text.encode()) / len(REFERENCE.encode()) / FRAMES_PER_SECOND
    assert seconds(text) == pytest.approx(upstream, rel=0.12)


def test_scripts_take_their_own_time() -> None:
    """The same greeting from an English reference: bytes would give Russian nearly twice the time of English."""
    english, russian, chinese = (
        seconds("How are you doing today, my friend?"),
        seconds("Как дела сегодня, мой дорогой друг?"),
        seconds("我的朋友，你今天过得怎么样？"),
    )
    assert russian == pytest.approx(english, rel=0.25)
    assert chinese == pytest.approx(english * 1.3, rel=0.3)


def test_short_texts_are_not_rushed() -> None:
    assert seconds("Hi.") >= 0.75
    assert seconds("Yes, sir.") / len("Yes, sir.") > seconds(REFERENCE) / len(REFERENCE)


def test_speed_divides() -> None:
    assert seconds(REFERENCE, 2.0) == pytest.approx(seconds(REFERENCE) / 2, rel=0.02)
    assert seconds("Hi.", 0.5) == pytest.approx(2 * seconds("Hi."), rel=0.02)


def test_letters_said_by_name_take_longer() -> None:
    assert seconds("The BBC and the FTP and P M D B") > seconds("The bbc and the ftp and p m d b")
    assert seconds("I am A") == seconds("I am a")


@pytest.mark.parametrize(("reference", "reference_frames"), [("Hi.", 2000), ("word " * 200, 50)])
def test_a_reference_text_that_cannot_be_right_does_not_set_the_rate(reference: str, reference_frames: int) -> None:
    rate = FRAMES_PER_SECOND / frames_per_unit(reference, reference_frames)
    assert 6 <= rate <= 26.001


def test_weightless_marks_get_the_frames_that_their_tokens_need() -> None:
    assert predict("e" + "\u0301" * 500, per_unit=frames_per_unit(REFERENCE, FRAMES), speed=1.0) == 2 * 501


@pytest.mark.parametrize("reference", ["", "...", " "])
def test_a_reference_without_words_gives_the_usual_rate(reference: str) -> None:
    assert frames_per_unit(reference, 300) == pytest.approx(FRAMES_PER_SECOND / 14)


@given(st.characters(exclude_categories=["Cs"]))
def test_weights_are_within_what_the_docstring_says(character: str) -> None:
    assert 0 <= weight(character) <= 5


@given(st.text(max_size=40), st.text(max_size=10), st.sampled_from([0.5, 1.0, 3.0]))
def test_more_text_never_takes_less_and_tokens_always_fit(text: str, more: str, speed: float) -> None:
    per_unit = frames_per_unit(REFERENCE, FRAMES)
    # Joined by a space: capitals that meet may change from a spelled word to a spoken one.
    assert predict(f"{text} {more}", per_unit=per_unit, speed=speed) >= predict(text, per_unit=per_unit, speed=speed)
    assert predict(text, per_unit=per_unit, speed=speed) >= 2 * len(text)
