"""What a batch makes the device do: how many forward passes of which shape, and never to wait for anything to be read back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inference import batching, engine
from inference.engine import SampleItem, Sampler, time_steps
from tests.inference.conftest import transformer
from tests.inference.test_engine import item

EPSS = {
    7: [0, 2, 4, 6, 8, 16, 24, 32],
    16: [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32],
    32: list(range(33)),
}


class Watched(torch.nn.Module):
    """Notes the shape of what goes through."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.shapes: list[tuple[int, int]] = []

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        self.shapes.append((x.shape[0], x.shape[1]))
        return self.inner(x, *arguments, **named)


def watched(max_batch_frames: int = 16_384) -> tuple[Sampler, Watched]:
    network = transformer(text_mask_padding=True)
    network.input_embed.conv_pos_embed = Watched(network.input_embed.conv_pos_embed)
    return Sampler(network, max_batch_frames=max_batch_frames), network.input_embed.conv_pos_embed


def test_passes_keep_the_budget_and_go_from_short_to_long() -> None:
    lengths = [140, 60, 130, 65, 62, 135, 64]
    sampler, passes = watched(max_batch_frames=300)
    sampler.sample([item(30, 20, frames, seed=frames, steps=1, cfg_strength=0.0) for frames in lengths])
    assert passes.shapes == [(4, 65), (2, 135), (1, 140)]


def test_the_padding_of_a_pass_is_bounded() -> None:
    sampler, passes = watched()
    sampler.sample([item(30, 20, frames, steps=1, cfg_strength=0.0) for frames in (60, 60, 140)])
    assert passes.shapes == [(2, 60), (1, 140)]
    assert batching.padded_frames([60, 60, 140]) * (1 - batching.MAX_PADDING) > 60 + 60 + 140


@pytest.mark.parametrize("steps", [5, 7])
def test_guidance_is_one_pass_of_twice_the_rows(steps: int) -> None:
    sampler, passes = watched()
    sampler.sample([item(frames=90, seed=seed, steps=steps) for seed in range(3)])
    assert passes.shapes == [(6, 90)] * steps


def test_items_without_guidance_are_computed_once() -> None:
    sampler, passes = watched()
    sampler.sample([item(frames=90, seed=seed, steps=5, cfg_strength=0.0) for seed in range(3)])
    assert passes.shapes == [(3, 90)] * 5


@pytest.mark.parametrize("steps", [2, 12])
def test_a_text_is_embedded_once_however_many_steps(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, _ = watched()
    embedded: list[bool] = []
    embed = sampler.transformer.text_embed.forward

    def counting(tokens: torch.Tensor, seq_len: int, drop_text: bool) -> torch.Tensor:
        embedded.append(drop_text)
        result: torch.Tensor = embed(tokens, seq_len, drop_text=drop_text)
        return result

    monkeypatch.setattr(sampler.transformer.text_embed, "forward", counting)
    sampler.sample([item(frames=90, seed=seed, steps=steps) for seed in range(2)])
    assert sorted(embedded) == [False, False, True, True]


@pytest.mark.parametrize("steps", EPSS)
def test_the_presets_are_the_pruned_steps(steps: int) -> None:
    assert torch.equal(time_steps(steps, None), torch.tensor(EPSS[steps]) / 32)


def test_nothing_is_read_back_between_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the meta device have no values: whatever needs one, and would make the host wait for the device, fails there."""
    monkeypatch.setattr(engine, "noise", lambda _, frames, bands, device: torch.empty(frames, bands, device=device))
    sampler = Sampler(transformer(text_mask_padding=True).to("meta"))
    items = [SampleItem(item(30).reference, item(30).tokens, frames, steps=7) for frames in (90, 100)]
    mels = sampler._sample_batch(items)
    assert [mel.shape for mel in mels] == [(90, 100), (100, 100)]
    assert all(mel.is_meta for mel in mels)


def test_what_goes_to_the_device_waits_for_nothing() -> None:
    """A blocking copy waits until the device has done all that it was given."""

    class Copies(torch.overrides.TorchFunctionMode):
        """Of values from the host, which are those that a tensor of the device is made of."""

        blocking, seen = 0, 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = kwargs or {}
            made = func(*args, **named)
            from_host = func in (torch.tensor, torch.as_tensor) or (func is torch.Tensor.to and not args[0].is_meta)
            if from_host and made.is_meta:
                self.seen += 1
                self.blocking += not named.get("non_blocking")
            return made

    sampler = Sampler(transformer(text_mask_padding=True).to("meta"))
    with pytest.MonkeyPatch.context() as patch, Copies() as copies:
        patch.setattr(engine, "noise", lambda _, frames, bands, device: torch.empty(frames, bands, device=device))
        sampler._sample_batch([item(frames=90), item(frames=100)])
    assert copies.seen >= 5
    assert copies.blocking == 0
