from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from inference import reference_cache, wire
from inference.engine import MAX_FRAMES
from inference.errors import InvalidItemError
from inference.mel import HOP_LENGTH, prepare_reference
from inference.reference_cache import ReferenceCache
from tests.inference.conftest import hum


def sound(frequency: float = 150.0) -> str:
    return wire.encode_pcm(hum(0.2, frequency))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever mel frames are computed."""
    calls: list[int] = []

    def counting(samples: np.ndarray) -> Any:
        calls.append(len(samples))
        return prepare_reference(samples)

    monkeypatch.setattr(reference_cache, "prepare_reference", counting)
    return calls


def test_the_same_sound_is_computed_once(prepared: list[int]) -> None:
    cache = ReferenceCache()
    first, again = cache.get(sound()), cache.get(sound())
    assert len(prepared) == 1
    assert first is again
    assert torch.equal(first.mel, prepare_reference(wire.decode_pcm(sound(), "")).mel)


def test_another_sound_is_another_reference(prepared: list[int]) -> None:
    cache = ReferenceCache()
    assert not torch.equal(cache.get(sound(150)).mel, cache.get(sound(151)).mel)
    assert len(prepared) == 2


def test_the_least_recently_used_goes_first(prepared: list[int]) -> None:
    cache = ReferenceCache(size=2)
    for frequency in (100, 110, 100, 120):  # 110 goes
        cache.get(sound(frequency))
    assert len(cache) == 2
    cache.get(sound(100))
    assert len(prepared) == 3
    cache.get(sound(110))
    assert len(prepared) == 4


def test_errors_are_not_kept() -> None:
    cache = ReferenceCache()
    for _ in range(2):
        with pytest.raises(InvalidItemError):
            cache.get(wire.encode_pcm(np.zeros(5000, np.float32)))
    assert len(cache) == 0


def test_an_endless_reference_is_refused_before_it_is_decoded(prepared: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(wire, "decode_pcm", lambda *a: decoded.append("decoded"))
    with pytest.raises(InvalidItemError) as caught:
        ReferenceCache().get("A" * (4 * ((MAX_FRAMES + 2) * HOP_LENGTH * 2 // 3)))
    assert caught.value.details == {"field": "reference_audio"}
    assert not decoded


def test_many_threads_share_it() -> None:
    cache = ReferenceCache(size=3)
    sounds = [sound(100 + 10 * i) for i in range(6)]
    expected = [prepare_reference(wire.decode_pcm(one, "")).mel for one in sounds]
    together = threading.Barrier(4)

    def work(_: int) -> bool:
        together.wait(10)
        return all(torch.equal(cache.get(one).mel, mel) for _ in range(3) for one, mel in zip(sounds, expected, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert len(cache) == 3
