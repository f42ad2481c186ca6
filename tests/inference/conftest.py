"""What the tests of the inference tier share: small networks with weights that let every leak be seen, and one running service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.servers import inference_server

VOCABULARY_SIZE = 50


def transformer(**architecture: Any) -> Any:
    """A tiny DiT whose every weight is random: upstream starts many at zero, which hides what leaks."""
    import torch

    from inference import upstream

    torch.set_num_threads(1)
    sizes = {"dim": 48, "depth": 2, "heads": 2, "dim_head": 16, "ff_mult": 2, "text_dim": 32, "conv_layers": 2, "dropout": 0.0}
    network = upstream.make_transformer(sizes | architecture, vocabulary_size=VOCABULARY_SIZE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return network.eval()


def hum(seconds: float = 1.0, frequency: float = 150.0, level: float = 0.2, rate: int = 24_000) -> np.ndarray:
    """A voice-like sound: harmonics with a slow beat, float32."""
    t = np.arange(int(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * frequency * k * t) / k for k in range(1, 6)) * (1.2 + np.sin(2 * np.pi * 3 * t))
    return (level * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running inference service with the smoke voice."""
    with inference_server(tmp_path_factory.mktemp("inference"), VOXIFY_MODEL="smoke") as url:
        yield url
