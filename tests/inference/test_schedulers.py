"""The schedulers that `benchmarks.scheduler` compares, on a device whose times are plain numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scheduler_model import ModelDevice, ModelStepDevice, StepTime, fitted
from benchmarks.schedulers import BatchByBatch, Chunk, PassByPass, Scheduler, StepByStep, arrivals, fits, serve

TIME = StepTime(floor_s=0.01, frame_s=0.001, chunk_s=0.0, batch_s=0.0, mixed=1.0, budget=1000, source="a test", adds=True)
SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "batches": lambda: BatchByBatch(ModelDevice(TIME), 4),
    "passes": lambda: PassByPass(ModelDevice(TIME), 1000),
    "steps": lambda: StepByStep(ModelStepDevice(TIME), 1000),
}


def chunk(at: float = 0.0, frames: int = 100, steps: int = 10) -> Chunk:
    return Chunk(at=at, first=True, frames=frames, steps=steps, sound_s=1.0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_one_chunk_takes_its_steps(name: str) -> None:
    one = chunk(at=5.0)
    seen = serve(SCHEDULERS[name](), [one])
    assert one.done == pytest.approx(5 + 10 * (0.01 + 0.1))
    assert seen["latency_p50_s"] == pytest.approx(1.1)
    assert seen["sound_s_per_busy_s"] == pytest.approx(1 / 1.1, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(50, 1500), st.sampled_from([5, 7, 16])), min_size=1, max_size=30),
    st.sampled_from(sorted(SCHEDULERS)),
)
def test_every_chunk_is_answered_once_and_not_before_it_can(drawn: list[tuple[float, int, int]], name: str) -> None:
    chunks = [chunk(*values) for values in sorted(drawn)]
    scheduler = SCHEDULERS[name]()
    seen = serve(scheduler, chunks, patience_s=math.inf)
    assert seen["refused_share"] == 0
    assert scheduler.device.frames == sum(each.frames * each.steps for each in chunks)
    assert scheduler.device.padded >= scheduler.device.frames
    for each in chunks:
        assert each.done is not None
        assert each.done - each.at >= each.steps * TIME.of(each.frames) - 1e-9


def test_all_of_a_batch_are_answered_with_its_last() -> None:
    chunks = [chunk(frames=100), chunk(frames=900)]
    serve(BatchByBatch(ModelDevice(TIME), 4), chunks)
    assert chunks[0].done == chunks[1].done
    serve(PassByPass(ModelDevice(TIME), 1000), chunks := [chunk(frames=100), chunk(frames=900)])
    assert chunks[0].done == pytest.approx(1.1)
    assert chunks[1].done == pytest.approx(1.1 + 9.1)


def test_who_comes_while_a_batch_runs_joins_it_only_step_by_step() -> None:
    early, late = chunk(at=0.0), chunk(at=0.5)
    serve(StepByStep(ModelStepDevice(TIME), 1000), [early, late])
    assert early.done is not None
    assert late.done is not None
    assert late.done < 0.5 + 10 * 0.21, "it has not waited for the other's end"
    assert early.done > 1.1, "which pays for it"
    early, late = chunk(at=0.0), chunk(at=0.5)
    serve(BatchByBatch(ModelDevice(TIME), 4), [early, late])
    assert (early.done, late.done) == (pytest.approx(1.1), pytest.approx(2.2))


def test_the_frames_of_a_running_batch_are_bounded() -> None:
    early, late = chunk(frames=600), chunk(frames=600)
    serve(StepByStep(ModelStepDevice(TIME), 1000), [early, late])
    assert (early.done, late.done) == (pytest.approx(6.1), pytest.approx(12.2))


def test_too_many_are_refused() -> None:
    seen = serve(BatchByBatch(ModelDevice(TIME), 1), [chunk() for _ in range(10)], places=4)
    assert seen["refused_share"] == 0.6


def test_passages_come_at_the_asked_rate_and_each_has_one_first_chunk() -> None:
    made = arrivals(lambda _, steps: chunk(steps=steps), 4000, chunks_a_s=2.0, steps=(7, 16), seed=3)
    assert 4000 / made[-1].at == pytest.approx(2.0, rel=0.1)
    assert [each.at for each in made] == sorted(each.at for each in made)
    passages = {each.at for each in made}
    assert sum(each.first for each in made) == len(passages)
    assert {each.steps for each in made} == {7, 16}
    again = arrivals(lambda _, steps: chunk(steps=steps), 4000, chunks_a_s=2.0, steps=(7, 16), seed=3)
    assert [each.at for each in again] == [each.at for each in made]


def test_step_times_are_fitted_to_what_was_measured() -> None:
    passes = [(frames, 0.02 + 0.0003 * frames) for frames in (300, 500, 900) for _ in range(5)]
    found = fitted(passes, chunk_s=0.1, batch_s=0.0, mixed=1.1, budget=1024, source="a test")
    assert (found.floor_s, found.frame_s) == (pytest.approx(0.02), pytest.approx(0.0003))
    with pytest.raises(ValueError, match="two lengths"):
        fitted(passes[:5], chunk_s=0.1, batch_s=0.0, mixed=1.1, budget=1024, source="a test")


def test_what_may_share_a_pass() -> None:
    assert fits([300, 400], 1000, 0.25)
    assert not fits([300, 600], 1000, 0.25), "beyond the budget"
    assert not fits([100, 400], 1000, 0.25), "too much padding"
    assert fits([100, 400], 1000, 1.0)


def test_an_arrival_is_not_used_up() -> None:
    """The contenders get copies of the same arrivals."""
    one = chunk()
    serve(SCHEDULERS["batches"](), [copy.copy(one)])
    assert one.done is None
