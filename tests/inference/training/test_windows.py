"""Windows: whole, of one speaker, with the reference's sounds hidden."""

from __future__ import annotations

import numpy as np

from inference.phonemes import INDEX, REFERENCE
from inference.training.corpus import Example
from inference.training.windows import Windows


def example(speaker: str, value: int, frames: int) -> Example:
    mel = np.full((frames, 100), value, dtype=np.float16)
    return Example(speaker, mel, np.full(frames, 10 + value, dtype=np.int16), np.array([10 + value]), np.array([frames]))


def windows(seed: int = 0) -> Windows:
    made = Windows(seed=seed)
    made.add([example("a", 1, 40), example("a", 2, 70), example("b", 3, 50)])
    return made


def test_every_window_is_full_and_of_one_speaker() -> None:
    batch = windows().batch(30, 128)
    assert batch.mel.shape == (30, 128, 100)
    for mel in batch.mel:
        assert set(np.unique(mel)) <= {1, 2} or set(np.unique(mel)) == {3}


def test_tokens_belong_to_their_frames_and_those_of_the_reference_are_hidden() -> None:
    batch = windows().batch(30, 128)
    assert (batch.tokens[~batch.generated] == INDEX[REFERENCE]).all()
    assert (batch.tokens[batch.generated] == batch.mel[..., 0][batch.generated] + 10).all()


def test_something_is_always_learnt_and_mostly_there_is_a_reference_before_it() -> None:
    batch = windows().batch(200, 128)
    assert batch.generated.any(axis=1).all()
    assert 0.6 < np.mean(~batch.generated[:, 0] & batch.generated[:, -1]) < 0.9


def test_the_same_seed_draws_the_same() -> None:
    assert np.array_equal(windows(4).batch(8, 96).tokens, windows(4).batch(8, 96).tokens)
    assert not np.array_equal(windows(4).batch(8, 96).tokens, windows(5).batch(8, 96).tokens)
