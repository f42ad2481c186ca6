import numpy as np
import pytest

from audio.decode import decode
from inference.errors import InvalidItemError
from inference.speaker import EMBEDDING_SIZE, embed
from store.presets import FOLDER, embeddings, shipped
from tests.inference.conftest import hum


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
