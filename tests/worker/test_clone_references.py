"""Which recordings speak for a voice: the best first, as many as fit, each with exactly its own words."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from store.models import Clone, CloneSample, Sample
from store.objects import Objects
from store.vectors import pack
from worker.errors import AttemptFailedError, JobFailedError
from worker.handlers.references import PAUSE_S, REFERENCE_LIMIT_S, SAME_VOICE, ReferenceMaker, StyleReference, by_style, default_first
from worker.inference import SAMPLE_RATE


class Preparing:
    """Stands in for the client: leaves sound and text as they are, or raises what it was told for a text."""

    def __init__(self, faults: dict[str | None, Exception] | None = None) -> None:
        self.faults = faults or {}
        self.asked: list[str | None] = []

    async def reference(
        self, samples: NDArray[np.float32], text: str | None, *, language: str, request_id: str | None
    ) -> tuple[NDArray[np.float32], str]:
        self.asked.append(text)
        if text in self.faults:
            raise self.faults[text]
        return samples[: int(REFERENCE_LIMIT_S * SAMPLE_RATE)], f"{text or 'heard'}."


class Studio:
    """Makes samples whose files are there."""

    def __init__(self, objects: Objects, inference: Preparing) -> None:
        self.objects = objects
        self.maker = ReferenceMaker(SimpleNamespace(objects=objects), inference)  # type: ignore[arg-type]

    async def sample(self, name: str, seconds: float, score: float, **columns: Any) -> Sample:
        written = io.BytesIO()
        # Its level tells one from another in what was joined.
        soundfile.write(written, np.full(int(seconds * SAMPLE_RATE), score / 2), SAMPLE_RATE, format="WAV")
        key = f"samples/vs_{name}/prepared.wav"
        await self.objects.put(key, written.getvalue())
        given: dict[str, Any] = {"ref_text": name, "style": "neutral", "status": "ready"} | columns
        return Sample(id=f"vs_{name}", prepared_path=key, prepared_duration=seconds, quality_metrics={"quality_score": score}, **given)

    async def make(self, *samples: Sample, ref_text: str | None = None) -> tuple[StyleReference | None, dict[str, str]]:
        reference, left_out = await self.maker.make(clone_of(*samples, ref_text=ref_text), "neutral", samples, None)
        return reference, {sample_id.removeprefix("vs_"): reason.code for sample_id, reason in left_out.items()}


def clone_of(*samples: Sample, ref_text: str | None = None) -> Clone:
    links = [CloneSample(sample_id=sample.id, position=place) for place, sample in enumerate(samples)]
    return Clone(id="vc_1", language="en-US", ref_text=ref_text, samples=links)


@pytest.fixture
def inference() -> Preparing:
    return Preparing()


@pytest.fixture
def studio(tmp_path: Path, inference: Preparing) -> Studio:
    return Studio(Objects.in_folder(tmp_path), inference)


async def test_the_best_comes_first_and_sound_and_words_are_joined_in_one_order(studio: Studio) -> None:
    samples = [await studio.sample("poor", 3, 0.2), await studio.sample("best", 4, 0.8), await studio.sample("good", 3, 0.6)]
    reference, left_out = await studio.make(*samples)
    assert reference is not None
    assert (reference.text, left_out) == ("best. good. poor.", {})
    assert reference.duration_s == pytest.approx(10 + 2 * PAUSE_S, abs=0.001)
    levels = [reference.sound[int(second * SAMPLE_RATE)] for second in (2, 5.6, 9)]
    assert levels == pytest.approx([0.4, 0.3, 0.1], abs=0.001)
    between = reference.sound[int(4.02 * SAMPLE_RATE) : int(4.08 * SAMPLE_RATE)]
    assert not between.any(), "a short pause"
    assert reference.sample_quality == pytest.approx((4 * 0.8 + 3 * 0.6 + 3 * 0.2) / 10, abs=0.001)


async def test_what_does_not_fit_is_left_out_and_a_shorter_one_still_joins(studio: Studio, inference: Preparing) -> None:
    samples = [await studio.sample("best", 6, 0.9), await studio.sample("long", 7, 0.8), await studio.sample("short", 4, 0.7)]
    reference, left_out = await studio.make(*samples)
    assert reference is not None
    assert (reference.text, left_out) == ("best. short.", {"long": "REFERENCE_FULL"})
    assert inference.asked == ["best", "short"], "nothing is prepared in vain"


async def test_the_limit_counts_the_pause(studio: Studio) -> None:
    first = await studio.sample("best", 6, 0.9)
    for seconds, joins in ((REFERENCE_LIMIT_S - 6, False), (REFERENCE_LIMIT_S - 6 - PAUSE_S, True)):
        reference, left_out = await studio.make(first, await studio.sample("other", seconds, 0.5))
        assert reference is not None
        assert (len(reference.parts) == 2, left_out == {}) == (joins, joins)
        assert reference.duration_s <= REFERENCE_LIMIT_S


async def test_one_that_is_too_long_is_cut_where_it_is_the_best(studio: Studio) -> None:
    reference, left_out = await studio.make(await studio.sample("best", 20, 0.9), await studio.sample("other", 3, 0.5))
    assert reference is not None
    assert (reference.text, left_out) == ("best.", {"other": "REFERENCE_FULL"})


async def test_what_cannot_be_used_is_left_out_with_its_reason(studio: Studio, inference: Preparing) -> None:
    inference.faults = {
        None: JobFailedError("REFERENCE_TEXT_REQUIRED", "Say what is spoken"),
        "long": JobFailedError("REFERENCE_TOO_LONG", "No pause"),
    }
    gone = await studio.sample("gone", 3, 0.7)
    await studio.objects.delete(gone.prepared_path)
    samples = [
        await studio.sample("mute", 3, 0.9, ref_text=None),
        await studio.sample("long", 3, 0.8),
        gone,
        await studio.sample("failed", 3, 0.6, status="failed", error_code="AUDIO_TOO_SHORT", error_message="Too short"),
        await studio.sample("fine", 3, 0.1),
    ]
    reference, left_out = await studio.make(*samples)
    assert reference is not None
    assert reference.text == "fine."
    assert left_out == {
        "mute": "REFERENCE_TEXT_REQUIRED", "long": "REFERENCE_TOO_LONG", "gone": "FILE_NOT_FOUND", "failed": "AUDIO_TOO_SHORT"
    }  # fmt: skip
    none, left_out = await studio.make(*samples[:4])
    assert none is None
    assert len(left_out) == 4


async def test_one_reference_has_one_speaker(studio: Studio, inference: Preparing) -> None:
    def voice(cosine: float) -> bytes:
        return pack([cosine, float(np.sqrt(1 - cosine**2)), *[0.0] * 254])

    best = await studio.sample("best", 3, 0.9, embedding=voice(1.0))
    near = await studio.sample("near", 3, 0.8, embedding=voice(SAME_VOICE + 0.01))
    other = await studio.sample("other", 3, 0.7, embedding=voice(SAME_VOICE - 0.01))
    reference, left_out = await studio.make(best, near, other)
    assert reference is not None
    assert (reference.text, left_out) == ("best. near.", {"other": "OTHER_VOICE"})
    assert inference.asked == ["best", "near"]


async def test_a_passing_fault_is_no_reason_to_leave_a_sample_out(studio: Studio, inference: Preparing) -> None:
    inference.faults = {"b": AttemptFailedError("SYNTHESIS_FAILED", "A moment's fault")}
    with pytest.raises(AttemptFailedError):
        await studio.make(await studio.sample("a", 3, 0.9), await studio.sample("b", 3, 0.8))


async def test_a_sample_without_text_is_listened_to(studio: Studio) -> None:
    reference, left_out = await studio.make(await studio.sample("a", 3, 0.9, ref_text=None), await studio.sample("b", 3, 0.8))
    assert reference is not None
    assert (reference.text, left_out) == ("heard. b.", {})


async def test_the_text_of_the_clone_is_that_of_its_first_sample_which_goes_first(studio: Studio) -> None:
    samples = [await studio.sample("chosen", 3, 0.1), await studio.sample("better", 3, 0.9)]
    reference, _ = await studio.make(*samples, ref_text="As said")
    assert reference is not None
    assert reference.text == "As said. better."


@given(st.permutations(["happy", "neutral", "sad"]), st.permutations([0.2, 0.5, 0.9]))
def test_neutral_is_the_default_and_else_the_style_of_the_best(styles: list[str], scores: list[float]) -> None:
    def ordered(chosen: list[str]) -> list[str]:
        samples = [
            Sample(id=f"vs_{style}", style=style, quality_metrics={"quality_score": score})
            for style, score in zip(styles, scores, strict=True)
            if style in chosen
        ]
        assert list(by_style(samples)) == [sample.style for sample in samples]
        references = [StyleReference(sample.style, (SimpleNamespace(sample=sample),), np.zeros(1), "") for sample in samples]  # type: ignore[arg-type]
        return [reference.style for reference in default_first(clone_of(*samples), references)]

    assert ordered(styles)[0] == "neutral"
    quality = dict(zip(styles, scores, strict=True))
    assert ordered(["happy", "sad"])[0] == max(("happy", "sad"), key=lambda style: quality[style])
