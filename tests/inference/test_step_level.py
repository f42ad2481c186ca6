"""The prototype of `benchmarks.step_level`: whoever joins or leaves between two steps, an item's sound is its own."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.step_level import StepSampler
from inference.engine import SampleItem, Sampler
from tests.inference.conftest import transformer
from tests.inference.test_engine import ARCHITECTURES, distance, item


@functools.cache
def sampler(name: str = "v1") -> Sampler:
    return Sampler(transformer(**ARCHITECTURES[name]))


def run(steps: StepSampler, joining: list[tuple[int, SampleItem]]) -> dict[int, torch.Tensor]:
    """Let each item join before the step of its number, and go on until all are done."""
    mels: dict[int, torch.Tensor] = {}
    number = 0
    while len(mels) < len(joining):
        for index, (joins, one) in enumerate(joining):
            if joins == number:
                steps.join(index, one)
        mels.update(steps.step() if len(steps) else [])  # type: ignore[arg-type]
        number += 1
    assert len(steps) == 0
    return mels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_items_with_times_of_their_own_share_a_pass(architecture: str) -> None:
    engine = sampler(architecture)
    steps = StepSampler(engine, max_padding=1.0)
    joining = [
        (0, item(30, 20, 90, seed=1, steps=7)),
        (2, item(50, 60, 170, seed=2, steps=16)),
        (2, item(20, 100, 60, seed=3, steps=5, cfg_strength=1.0)),
        (4, item(30, 20, 90, seed=4, steps=7, sway_coefficient=None)),
        (30, item(30, 20, 90, seed=5, steps=4)),
    ]
    mels = run(steps, joining)
    for index, (_, one) in enumerate(joining):
        assert distance(mels[index], engine.sample([one])[0]) < 1e-3
    assert steps.padded > steps.frames, "some passes were shared"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6), st.integers(5, 60), st.integers(1, 90), st.integers(20, 140), st.sampled_from([0.0, 2.0]),
            st.sampled_from([1, 2, 5]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([200, 16_384]),
    st.sampled_from([0.0, 0.25, 1.0]),
)  # fmt: skip
def test_any_company_leaves_an_item_as_it_is_alone(drawn: list[tuple[int, int, int, int, float, int]], budget: int, padding: float) -> None:
    engine = Sampler(sampler().transformer, max_batch_frames=budget)
    joining = [(j, item(r, n, f, seed=i, cfg_strength=c, steps=s)) for i, (j, r, n, f, c, s) in enumerate(drawn)]
    mels = run(StepSampler(engine, max_padding=padding), joining)
    for index, (_, one) in enumerate(joining):
        assert distance(mels[index], engine.sample([one])[0]) < 1e-3


def test_one_that_leaves_early_changes_nobody() -> None:
    engine = sampler()
    steps = StepSampler(engine, max_padding=1.0)
    stays = item(30, 20, 90, seed=1, steps=6)
    steps.join("stays", stays)
    steps.join("goes", item(30, 20, 170, seed=2, steps=6))
    for _ in range(3):
        assert steps.step() == []
    steps.leave("goes")
    done = [each for _ in range(3) for each in steps.step()]
    assert [key for key, _ in done] == ["stays"]
    assert distance(done[0][1], engine.sample([stays])[0]) < 1e-3
