"""The loop learns, goes on after a stop as if there had been none, and leaves no half-written state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.training.loop import Progress, Schedule, Trainer
from inference.training.windows import Windows
from tests.inference.training.test_windows import example

TINY = {"dim": 48, "depth": 1, "heads": 2, "dim_head": 16, "ff_mult": 2, "text_dim": 16, "conv_layers": 1, "text_mask_padding": False}


def trainer(state: Path, *, steps: int = 12, **given: object) -> Trainer:
    torch.set_num_threads(1)
    schedule = Schedule(steps=steps, frames=256, lengths=(64,), warm_up=2, learning_rate=3e-3, save_every=4, **given)  # type: ignore[arg-type]
    return Trainer(TINY, vocabulary_size=60, schedule=schedule, state=state, seed=1)


def windows() -> Windows:
    made = Windows(seed=2)
    made.add([example("a", -1, 40), example("a", 1, 30)])
    return made


def test_the_loss_falls(tmp_path: Path) -> None:
    found: list[Progress] = []
    training = trainer(tmp_path / "state.pt", steps=60)
    training.run(windows(), report=found.append)
    assert found[-1].step == 60
    assert found[-1].loss < 0.85 * found[0].loss


def test_a_stopped_training_goes_on_from_its_last_state(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    first = trainer(state)
    first.run(windows(), until=lambda: first.step >= 5)
    again = trainer(state)
    assert again.step == 5
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True))
    moments = [s["exp_avg"] for s in again.optimizer.state.values()]
    assert moments
    assert any(bool(m.any()) for m in moments)
    again.run(windows())
    assert torch.load(state, weights_only=True)["step"] == 12
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_a_kill_while_saving_leaves_the_state_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.pt"
    training = trainer(state)
    training.run(windows(), until=lambda: training.step >= 3)

    def torn(kept: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        training.save()
    assert trainer(state).step == 3


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    training = trainer(tmp_path / "state.pt", steps=30)
    begun = {name: value.clone() for name, value in training.average.items()}
    training.run(windows())
    name = "proj_out.weight"
    now = training.network.state_dict()[name]
    average = training.average[name]
    assert not torch.equal(average, begun[name])
    assert torch.dist(average, now) < torch.dist(begun[name], now)


def test_a_fine_tune_starts_at_the_weights_it_is_given(tmp_path: Path) -> None:
    first = trainer(tmp_path / "a.pt")
    first.run(windows())
    started = Trainer(TINY, vocabulary_size=60, schedule=Schedule(steps=1), state=tmp_path / "b.pt", start=first.average)
    assert torch.equal(started.network.state_dict()["proj_out.weight"], first.average["proj_out.weight"])


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path: Path) -> None:
    broken = Windows()
    broken.add([example("a", 1, 64)])
    broken.by_speaker["a"][0].mel[:] = np.nan
    with pytest.raises(FloatingPointError):
        trainer(tmp_path / "state.pt").run(broken)
