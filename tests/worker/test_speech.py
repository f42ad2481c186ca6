"""Chunks in order, a few at a time, and none left under way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.errors import AttemptFailedError
from worker.inference import SAMPLE_RATE, PlannedChunk, Reference, Sampling, SpeechPlan
from worker.speech import Finisher, Manner, chunks_in_order

REFERENCE = Reference(b"", "", 0)
LENGTH = 4800


def plan_of(count: int) -> SpeechPlan:
    return SpeechPlan("m", "en", "native", True, [PlannedChunk(i, f"{i}", 0, 1, 10) for i in range(count)])


class Speaker:
    """Stands in for the client: each chunk takes as many turns of the loop as it is told."""

    def __init__(self, turns: list[int], fails: int | None = None) -> None:
        self.turns, self.fails = turns, fails
        self.running = self.most = 0
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.seeds: list[int] = []

    async def synthesize(self, chunk: PlannedChunk, *, sampling: Sampling, **_: Any) -> NDArray[np.float32]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.seeds.append(sampling.seed)
        try:
            for _turn in range(self.turns[chunk.index]):
                await asyncio.sleep(0)
            if chunk.index == self.fails:
                raise AttemptFailedError("SYNTHESIS_FAILED", "no")
        except asyncio.CancelledError:
            self.cancelled.append(chunk.index)
            raise
        finally:
            self.running -= 1
        self.ended.append(chunk.index)
        return np.full(LENGTH, chunk.index, np.float32)


def spoken(speaker: Speaker, concurrency: int) -> Any:
    plan = plan_of(len(speaker.turns))
    return chunks_in_order(plan, REFERENCE, Sampling(100), speaker, concurrency=concurrency, request_id=None)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 6))
def test_they_come_in_order_and_never_too_many_at_once(turns: list[int], concurrency: int) -> None:
    async def run() -> None:
        speaker = Speaker(turns)
        assert [int(chunk[0]) async for chunk in spoken(speaker, concurrency)] == list(range(len(turns)))
        assert speaker.most <= concurrency
        assert sorted(speaker.seeds) == [100 + index for index in range(len(turns))], "each chunk has its own noise"
        assert not speaker.cancelled

    asyncio.run(run())


async def test_several_are_under_way_at_once() -> None:
    speaker = Speaker([3] * 8)
    assert len([chunk async for chunk in spoken(speaker, 4)]) == 8
    assert speaker.most == 4


async def test_a_failure_cancels_what_is_under_way_and_sends_no_more() -> None:
    speaker = Speaker([1, 9, 5000, 5000, 5000, 1], fails=1)
    chunks = spoken(speaker, 3)
    assert (await anext(chunks))[0] == 0
    with pytest.raises(AttemptFailedError):
        await anext(chunks)
    assert speaker.running == 0
    assert speaker.cancelled == [2, 3]
    assert speaker.seeds == [100, 101, 102, 103]


async def test_a_consumer_that_stops_cancels_what_is_under_way() -> None:
    speaker = Speaker([1, 5000, 5000])
    chunks = Finisher(Manner(SAMPLE_RATE)).blocks(spoken(speaker, 3))
    await anext(chunks)
    await chunks.aclose()
    assert (speaker.running, speaker.cancelled) == (0, [1, 2])


@pytest.mark.parametrize(("rate", "pitch", "volume"), [(24_000, 1.0, 1.0), (8_000, 1.0, 1.0), (48_000, 1.3, 0.5)])
async def test_a_block_for_each_chunk_and_a_tail(rate: int, pitch: float, volume: float) -> None:
    speaker = Speaker([0] * 5)
    finisher = Finisher(Manner(rate, pitch, volume))
    blocks = [block async for block in finisher.blocks(spoken(speaker, 2))]
    assert len(blocks) == 6
    seconds = sum(map(len, blocks)) / rate
    assert finisher.spans_s[-1][1] == pytest.approx(seconds, abs=0.002)
    starts = [start for start, _ in finisher.spans_s]
    assert starts == sorted(starts)
    assert len(starts) == 5
