"""What a batch is counted as."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from inference import metrics, wire

ITEM = {"text": "a", "reference_audio": "AAAA", "reference_text": "a", "frames": 10}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"voxify_inference_{name}", labels) or 0.0


def test_a_batch_by_its_items_its_sound_and_its_time() -> None:
    asked = [wire.SynthesisItem(**ITEM) for _ in range(3)]
    spoken = wire.SynthesisResult(audio="", frames=376, model="m", speech=True)  # 375 hops of 256 at 24 kHz: 4 s
    failed = wire.Failure(error=wire.ErrorValue(code="DEADLINE_EXCEEDED", message="Late"))
    names = ("batch_items_sum", "batch_seconds_sum", "wait_seconds_count", "sound_seconds_total", "real_time_factor_sum")
    before = [value(name) for name in names]
    ends = value("items_total", end="ok"), value("items_total", end="DEADLINE_EXCEEDED")
    began = asked[0].arrived + 1
    metrics.batch(asked, [spoken, failed, spoken], began=began, ended=began + 2)
    assert [value(name) - was for name, was in zip(names, before, strict=True)] == pytest.approx([3, 2, 3, 8, 0.25])
    assert (value("items_total", end="ok") - ends[0], value("items_total", end="DEADLINE_EXCEEDED") - ends[1]) == (2, 1)


def test_a_batch_without_sound_has_no_real_time_factor() -> None:
    before = value("real_time_factor_count")
    failed = wire.Failure(error=wire.ErrorValue(code="SYNTHESIS_FAILED", message="No"))
    metrics.batch([wire.SynthesisItem(**ITEM)], [failed], began=0.0, ended=1.0)
    assert value("real_time_factor_count") == before


@pytest.mark.parametrize(("lengths", "share"), [([10, 10], 0.0), ([5, 10], 0.25), ([7], 0.0)])
def test_the_share_of_padding(lengths: list[int], share: float) -> None:
    before = value("padding_ratio_sum"), value("padding_ratio_count")
    metrics.forward(lengths)
    assert (value("padding_ratio_sum") - before[0], value("padding_ratio_count") - before[1]) == (pytest.approx(share), 1)


def test_a_pass_of_nothing_is_none() -> None:
    before = value("padding_ratio_count")
    metrics.forward([])
    assert value("padding_ratio_count") == before
