import numpy as np
import pytest
import torch

from inference import upstream
from inference.errors import InvalidItemError
from inference.mel import HOP_LENGTH, TARGET_RMS, log_mel, prepare_reference
from tests.inference.conftest import hum


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_frames_are_upstreams() -> None:
    samples = hum(1.0)
    expected = upstream.load().MelSpec(mel_spec_type="vocos")(torch.from_numpy(samples)[None])[0].T
    assert torch.equal(log_mel(samples), expected)
    assert expected.shape == (1 + len(samples) // HOP_LENGTH, 100)


def test_a_quiet_reference_is_scaled_up_and_what_it_makes_down() -> None:
    quiet = hum(1.0) * np.float32(0.01)
    reference = prepare_reference(quiet)
    assert reference.gain == pytest.approx(rms(quiet) / TARGET_RMS, rel=1e-5)
    assert torch.allclose(reference.mel, log_mel((quiet / np.float32(reference.gain)).astype(np.float32)), atol=1e-4)


def test_a_loud_reference_stays() -> None:
    loud = hum(1.0, level=0.9)
    assert rms(loud) > TARGET_RMS
    reference = prepare_reference(loud)
    assert reference.gain == 1.0
    assert torch.equal(reference.mel, log_mel(loud))
    assert reference.frames == len(loud) // HOP_LENGTH


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(24_000, np.float32),
        np.zeros(0, np.float32),
        hum(0.01),
        np.full(24_000, np.nan, np.float32),
        np.full(24_000, np.inf, np.float32),
    ],
    ids=["silent", "empty", "short", "nan", "inf"],
)
def test_references_that_say_nothing_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(InvalidItemError) as caught:
        prepare_reference(samples)
    assert caught.value.details == {"field": "reference_audio"}
