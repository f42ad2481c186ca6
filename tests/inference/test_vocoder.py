import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import ModelUnavailableError
from inference.mel import log_mel
from inference.vocoder import GriffinLim, Vocos, load_vocos
from tests.inference.conftest import hum


def network(dim: int = 32) -> Any:
    """A small Vocos with random weights, also where Vocos starts at zero."""
    from vocos import Vocos as Network
    from vocos.feature_extractors import MelSpectrogramFeatures
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Network(
        MelSpectrogramFeatures(padding="center"), VocosBackbone(100, dim, dim * 2, 3), ISTFTHead(dim, 1024, 256, padding="center")
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return net.eval()


@functools.cache
def vocos() -> Vocos:
    return Vocos(network())


@functools.cache
def griffin_lim() -> GriffinLim:
    return GriffinLim(iterations=4)


def mel(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, 100, generator=torch.Generator().manual_seed(seed)) - 3


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(2, 80), min_size=1, max_size=6))
def test_vocos_decodes_each_as_if_alone(lengths: list[int]) -> None:
    mels = [mel(n, seed) for seed, n in enumerate(lengths)]
    for sound, one in zip(vocos()._decode(mels), mels, strict=True):
        expected = vocos().model.decode(one.T[None])[0]
        assert sound.shape == expected.shape == ((one.shape[0] - 1) * 256,)
        assert torch.allclose(sound, expected, atol=1e-5)


def test_vocos_keeps_the_order() -> None:
    mels = [mel(60, 1), mel(10, 2), mel(30, 3)]
    assert [len(sound) for sound in vocos().decode(mels)] == [59 * 256, 9 * 256, 29 * 256]


@pytest.mark.parametrize("frames", [2, 3, 5, 6, 40])
def test_griffin_lim_gives_whole_hops(frames: int) -> None:
    (sound,) = griffin_lim().decode([mel(frames)])
    assert sound.shape == ((frames - 1) * 256,)
    assert bool(torch.isfinite(sound).all())


def test_griffin_lim_returns_the_sound_it_was_given() -> None:
    samples = hum(1.0)
    (sound,) = GriffinLim().decode([log_mel(samples)])
    error = (log_mel(sound.numpy())[4:80] - log_mel(samples)[4:80]).abs().mean()
    assert error < 0.6
    assert float(np.sqrt(np.mean(samples**2))) == pytest.approx(float(sound.pow(2).mean().sqrt()), rel=0.2)


def test_griffin_lim_is_deterministic() -> None:
    assert torch.equal(griffin_lim().decode([mel(20)])[0], griffin_lim().decode([mel(30), mel(20)])[1])


def test_griffin_lim_survives_absurd_frames() -> None:
    (sound,) = griffin_lim().decode([torch.full((20, 100), 1e4)])
    assert bool(torch.isfinite(sound).all())


def save(folder: Path, net: Any, bands: int = 100) -> Path:
    folder.mkdir()
    config = {
        "feature_extractor": {
            "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
            "init_args": {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": bands, "padding": "center"},
        },
        "backbone": {
            "class_path": "vocos.models.VocosBackbone",
            "init_args": {"input_channels": bands, "dim": 32, "intermediate_dim": 64, "num_layers": 3},
        },
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": {"dim": 32, "n_fft": 1024, "hop_length": 256, "padding": "center"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_vocos_is_read_from_the_hubs_layout(tmp_path: Path) -> None:
    loaded = load_vocos(save(tmp_path / "v", network()), device="cpu")
    assert torch.allclose(loaded.decode([mel(20)])[0], vocos().decode([mel(20)])[0], atol=1e-5)


def test_a_floor_in_the_configuration_makes_all_silences_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "v", network())
    with (folder / "config.yaml").open("a") as config:
        config.write("floor: -6.0\n")
    loud, quiet = mel(20).clamp(min=-6), mel(20).clamp(min=-6)
    quiet[quiet <= -5] = -11.5
    loud[loud <= -5] = -6.0
    floored, plain = load_vocos(folder, device="cpu"), vocos()
    assert torch.equal(floored.decode([quiet])[0], floored.decode([loud])[0])
    assert torch.allclose(floored.decode([loud])[0], plain.decode([loud])[0], atol=1e-5)
    assert not torch.allclose(plain.decode([quiet])[0], plain.decode([loud])[0], atol=1e-3)


def test_a_vocoder_that_is_not_there_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"config.yaml and pytorch_model.bin"):
        load_vocos(tmp_path, device="cpu")


def test_a_floor_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "v", network())
    with (folder / "config.yaml").open("a") as config:
        config.write("floor: low\n")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load_vocos(folder, device="cpu")


def test_a_vocoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "v", network())
    torch.save(network(dim=16).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load_vocos(folder, device="cpu")
