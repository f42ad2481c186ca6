import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import soxr

from audio.decode import decode
from inference.errors import InvalidItemError
from inference.speaker import embed
from inference.speaker_encoder import EMBEDDING_SIZE, ENCODER_RATE, partials
from inference.speaker_voiced import level, voiced
from store.presets import FOLDER, embeddings, shipped
from tests.inference.conftest import hum


@lru_cache(maxsize=1)
def resemblyzer() -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The encoder and the preprocessing of the package itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder, preprocess_wav
    return VoiceEncoder(device="cpu", verbose=False), preprocess_wav


def preset(voice_id: str, seconds: float = 60.0) -> np.ndarray:
    """A shipped recording at the encoder's rate, or its beginning."""
    recorded = decode((FOLDER / shipped().by_id[voice_id].recording).read_bytes())
    return soxr.resample(recorded.mono, recorded.sample_rate, ENCODER_RATE)[: int(seconds * ENCODER_RATE)].astype(np.float32)


def noise(seconds: float, rms: float) -> np.ndarray:
    return (rms * np.random.default_rng(0).standard_normal(int(seconds * ENCODER_RATE))).astype(np.float32)


def with_pauses(sound: np.ndarray) -> np.ndarray:
    return np.concatenate([noise(1.5, 1e-4), sound[: 2 * ENCODER_RATE], noise(1.2, 1e-4), sound[2 * ENCODER_RATE :], noise(0.7, 1e-4)])


HEARD: dict[str, Callable[[], np.ndarray]] = {
    **{voice_id: lambda voice_id=voice_id: preset(voice_id) for voice_id in sorted(embeddings())},
    "quiet": lambda: preset(min(embeddings())) * np.float32(0.01),
    "noisy": lambda: preset(sorted(embeddings())[1], 4.0) + noise(4.0, 0.03),
    "with pauses": lambda: with_pauses(preset(sorted(embeddings())[2], 5.0)),
    "half a second": lambda: preset(sorted(embeddings())[3], 0.5),
    "a little more than one part": lambda: preset(sorted(embeddings())[3], 1.7),
    "noise": lambda: noise(2.5, 0.1),
    "hum": lambda: hum(3.0, rate=ENCODER_RATE),
    "click": lambda: np.eye(1, 2 * ENCODER_RATE, ENCODER_RATE, dtype=np.float32)[0],
}


@pytest.mark.parametrize("name", HEARD)
def test_an_embedding_is_that_of_resemblyzers_own_path(name: str) -> None:
    sound = HEARD[name]()
    encoder, preprocess = resemblyzer()
    theirs = preprocess(sound)
    assert np.allclose(voiced(level(sound)), theirs, atol=1e-6), "the same parts at the same level"
    vector = encoder.embed_utterance(theirs if len(theirs) >= 0.4 * ENCODER_RATE else sound)
    assert np.allclose(embed(sound, ENCODER_RATE), vector, atol=2e-6)


def test_a_recording_is_parted_as_resemblyzer_parts_it() -> None:
    encoder, _ = resemblyzer()
    for samples in [*range(6_400, 8_000, 37), *range(25_000, 60_000, 317), 25_599, 25_600, 31_519, 31_520]:
        _, slices = encoder.compute_partial_slices(samples, rate=1.3, min_coverage=0.75)
        assert partials(samples) == [each.start for each in slices], samples


def test_what_is_beyond_full_scale_is_heard_as_clipped() -> None:
    """Resampling overshoots where a recording is at its limits; what wraps around there is another sound to the detector."""
    square = soxr.resample(np.sign(hum(2.0)), 24_000, ENCODER_RATE).astype(np.float32)
    assert np.abs(square).max() > 1.05
    assert len(voiced(square)) == len(voiced(np.clip(square, -1, 1)))


def test_nothing_at_all_stays_nothing() -> None:
    assert not level(np.zeros(ENCODER_RATE, np.float32)).any()


def test_an_embedding_has_unit_length_at_any_rate() -> None:
    for rate in (8_000, 24_000, 48_000):
        vector = embed(hum(2.0, rate=rate), rate)
        assert vector.shape == (EMBEDDING_SIZE,)
        assert vector.dtype == np.float32
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_the_same_voice_is_nearer_than_another() -> None:
    voice, louder, other = embed(hum(2.0, 110), 24_000), embed(hum(2.5, 110, level=0.5), 24_000), embed(hum(2.0, 320), 24_000)
    assert float(voice @ louder) > float(voice @ other)


@pytest.mark.parametrize("voice_id", sorted(embeddings()))
def test_the_embeddings_that_lie_beside_the_presets_are_those_of_their_recordings(voice_id: str) -> None:
    recorded = decode((FOLDER / shipped().by_id[voice_id].recording).read_bytes())
    beside = embeddings()[voice_id]
    assert (beside.shape, beside.dtype) == ((EMBEDDING_SIZE,), np.float32)
    assert float(embed(recorded.mono, recorded.sample_rate) @ beside) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "samples",
    [hum(0.1), np.zeros(48_000, np.float32), np.full(48_000, np.nan, np.float32), np.zeros(0, np.float32)],
    ids=["short", "silent", "nan", "empty"],
)
def test_no_voice_is_an_error(samples: np.ndarray) -> None:
    with pytest.raises(InvalidItemError):
        embed(samples, 24_000)
