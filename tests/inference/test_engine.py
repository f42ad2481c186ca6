"""The sampler against itself in other company, and against upstream's."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine import MAX_FRAMES, SampleItem, Sampler, is_valid_schedule, noise, time_steps
from inference.transformer import rotate, rotation
from tests.inference.conftest import VOCABULARY_SIZE, transformer

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "v1": {"text_mask_padding": True},
    "v0": {"text_mask_padding": False, "pe_attn_head": 1},
    "average_upsampling": {"text_mask_padding": True, "text_embedding_average_upsampling": True},
    "long_skip": {"long_skip_connection": True, "qk_norm": "rms_norm"},
}


@functools.cache
def sampler(name: str = "v1") -> Sampler:
    return Sampler(transformer(**ARCHITECTURES[name]))


def item(reference: int = 30, tokens: int = 20, frames: int = 90, **values: Any) -> SampleItem:
    generator = torch.Generator().manual_seed(reference * 1000 + frames)
    return SampleItem(
        reference=torch.randn(reference, 100, generator=generator) * 2 - 4,
        tokens=torch.randint(0, VOCABULARY_SIZE, (tokens,), generator=generator).tolist(),
        frames=frames,
        **({"steps": 5} | values),
    )


def together(engine: Sampler, items: list[SampleItem]) -> list[torch.Tensor]:
    """All in one padded pass, whatever the budget would say."""
    return engine._sample_batch(items)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_item_sounds_the_same_alone_and_in_a_batch(architecture: str) -> None:
    engine = sampler(architecture)
    items = [item(30, 20, 90, seed=1), item(50, 60, 170, seed=2), item(20, 100, 60, seed=3)]
    alone = [engine.sample([one])[0] for one in items]
    for one, other in zip(together(engine, items), alone, strict=True):
        assert distance(one, other) < 1e-3


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(5, 60), st.integers(1, 90), st.integers(20, 140), st.integers(0, 2**63 - 1), st.sampled_from([0.0, 2.0])),
        min_size=1,
        max_size=16,
    )
)
def test_any_mix_sounds_as_each_alone(drawn: list[tuple[int, int, int, int, float]]) -> None:
    engine = sampler()
    items = [item(r, n, f, seed=s, cfg_strength=c, steps=2) for r, n, f, s, c in drawn]
    mixed = engine.sample(items)
    for one, mel in zip(items, mixed, strict=True):
        assert distance(mel, engine.sample([one])[0]) < 1e-3


@functools.cache
def half(dtype: torch.dtype) -> Sampler:
    network = transformer(**ARCHITECTURES["v1"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.4)  # to the spread of a fresh network: wilder weights blow up the rounding itself, to 0.023 in bfloat16
    return Sampler(network.to(dtype))


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from([torch.bfloat16, torch.float16]),
    st.lists(st.tuples(st.integers(5, 60), st.integers(1, 90), st.integers(20, 140), st.integers(0, 2**31)), min_size=2, max_size=16),
)
def test_half_precision_keeps_an_item_to_itself(dtype: torch.dtype, drawn: list[tuple[int, int, int, int]]) -> None:
    """Rounding differs with the shape of a pass; two hundredths, relative, is what it may come to."""
    engine = half(dtype)
    items = [item(r, n, f, seed=s, steps=2) for r, n, f, s in drawn]
    for one, mel in zip(items, together(engine, items), strict=True):
        alone = engine.sample([one])[0]
        assert mel.isfinite().all()
        assert float((mel - alone).norm() / alone.norm()) < 2e-2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("steps", "cfg", "sway"), [(7, 2.0, -1.0), (4, 0.0, None)])
def test_alone_equals_upstream(architecture: str, steps: int, cfg: float, sway: float | None) -> None:
    from f5_tts.model.cfm import CFM

    engine = sampler(architecture)
    upstream = CFM(transformer=engine.transformer, mel_spec_kwargs={"mel_spec_type": "vocos"})
    for one in (item(30, 20, 90, seed=7, steps=steps, cfg_strength=cfg, sway_coefficient=sway), item(20, 130, 60, seed=8, steps=steps)):
        expected, _ = upstream.sample(
            one.reference[None],
            torch.tensor([list(one.tokens)]),
            one.frames,
            steps=one.steps,
            cfg_strength=one.cfg_strength,
            sway_sampling_coef=one.sway_coefficient,
            seed=one.seed,
        )
        assert distance(engine.sample([one])[0], expected[0]) < 1e-3


def test_upstream_itself_lets_a_batch_change_an_item() -> None:
    """Why this sampler exists: the response normalisation of the text sums over the padding even with the mask on."""
    from f5_tts.model.cfm import CFM

    engine = sampler()
    upstream = CFM(transformer=engine.transformer, mel_spec_kwargs={"mel_spec_type": "vocos"})
    short, long = item(30, 20, 90, seed=1), item(30, 20, 170, seed=1)
    tokens = torch.tensor([list(short.tokens), list(long.tokens)])
    mels, _ = upstream.sample(
        torch.stack([short.reference, long.reference]),
        tokens,
        torch.tensor([90, 170]),
        steps=5,
        cfg_strength=2.0,
        seed=1,
        sway_sampling_coef=-1.0,
    )
    assert distance(mels[0, :90], engine.sample([short])[0]) > 1e-3


def test_the_seed_decides() -> None:
    engine = sampler()
    assert torch.equal(engine.sample([item(seed=4)])[0], engine.sample([item(seed=4)])[0])
    assert distance(engine.sample([item(seed=4)])[0], engine.sample([item(seed=5)])[0]) > 0.1


def test_sampling_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    sampler().sample([item()])
    assert torch.equal(torch.rand(4), expected)


def test_text_and_reference_and_guidance_are_heard() -> None:
    engine = sampler()
    base = engine.sample([item()])[0][30:]
    others = [
        SampleItem(item().reference, [*list(item().tokens)[:-1], (item().tokens[-1] + 1) % VOCABULARY_SIZE], 90, steps=5),
        SampleItem(item().reference + 0.5, item().tokens, 90, steps=5),
        SampleItem(item().reference, item().tokens, 90, steps=5, cfg_strength=1.0),
        SampleItem(item().reference, item().tokens, 90, steps=5, sway_coefficient=None),
        SampleItem(item().reference, item().tokens, 90, steps=6),
    ]
    for other in others:
        assert distance(engine.sample([other])[0][30:], base) > 1e-3


def test_the_reference_comes_back_unchanged() -> None:
    one = item(30)
    assert torch.equal(sampler().sample([one])[0][:30], one.reference)


def test_the_length_leaves_room_for_text_and_reference() -> None:
    assert item(30, 20, 90).total_frames == 90
    assert item(30, 120, 90).total_frames == 121
    assert item(100, 20, 90).total_frames == 101


class Failing(torch.nn.Module):
    """Fails for batches that hold more items, or longer ones, than it likes, as memory does."""

    def __init__(self, inner: torch.nn.Module, most: int, longest: int) -> None:
        super().__init__()
        self.inner, self.most, self.longest = inner, most, longest

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        if x.shape[0] > self.most or x.shape[1] > self.longest:
            raise RuntimeError("out of memory")
        return self.inner(x, *arguments, **named)


def failing_sampler(most: int, longest: int) -> Sampler:
    network = transformer()
    network.input_embed.conv_pos_embed = Failing(network.input_embed.conv_pos_embed, most, longest)
    return Sampler(network)


def test_items_of_a_failed_batch_are_tried_alone() -> None:
    engine = failing_sampler(most=2, longest=10_000)  # guidance doubles one item to two
    items = [item(seed=1), item(seed=2)]
    for mel, one in zip(engine.sample(items), items, strict=True):
        assert distance(mel, sampler().sample([one])[0]) < 1e-3


def test_one_that_fails_alone_leaves_the_others() -> None:
    engine = failing_sampler(most=100, longest=100)
    good, bad, also_good = engine.sample([item(frames=90), item(frames=110), item(frames=95)])
    assert isinstance(bad, RuntimeError)
    assert distance(good, sampler().sample([item(frames=90)])[0]) < 1e-3
    assert also_good.shape == (95, 100)


def test_a_token_out_of_the_vocabulary_fails_alone() -> None:
    bad = SampleItem(item().reference, [VOCABULARY_SIZE + 5], 90, steps=5)
    mels = sampler().sample([item(), bad])
    assert isinstance(mels[1], IndexError)
    assert distance(mels[0], sampler().sample([item()])[0]) < 1e-3


@pytest.mark.parametrize("longest", [100, 10])
def test_no_text_stays_behind(longest: int) -> None:
    """Upstream keeps the text of the last call where an exception prevents the clean-up."""
    engine = failing_sampler(most=100, longest=longest)
    engine.sample([item(frames=90)])
    assert engine.transformer.text_cond is None
    assert engine.transformer.text_uncond is None


def test_dropped_items_are_not_computed() -> None:
    engine = failing_sampler(most=0, longest=0)
    assert engine.sample([item(), item()], before_batch=lambda _: []) == [None, None]


def test_before_batch_sees_every_item_once() -> None:
    seen: list[int] = []

    def keep_even(indices: list[int]) -> list[int]:
        seen.extend(indices)
        return [i for i in indices if i % 2 == 0]

    mels = sampler().sample([item(frames=f, steps=s) for f, s in ((50, 1), (51, 1), (140, 2), (50, 2))], before_batch=keep_even)
    assert sorted(seen) == [0, 1, 2, 3]
    assert [mel is None for mel in mels] == [False, True, False, True]


def test_no_items() -> None:
    assert sampler().sample([]) == []


@pytest.mark.parametrize("steps", [1, 5, 6, 7, 10, 12, 16, 32])
@pytest.mark.parametrize("sway", [None, -1.0, 0.5, 1.75])
def test_times_run_from_0_to_1(steps: int, sway: float | None) -> None:
    times = time_steps(steps, sway)
    assert len(times) == steps + 1
    assert times[0] == 0
    assert times[-1] == pytest.approx(1, abs=1e-6)
    assert bool((times.diff() > 0).all())


def test_noise_equals_the_global_generator_of_the_same_seed() -> None:
    torch.manual_seed(11)
    expected = torch.randn(33, 100)
    assert torch.equal(noise(11, 33, 100, device=torch.device("cpu")), expected)


@pytest.mark.parametrize(
    ("steps", "cfg", "sway", "valid"),
    [
        (16, 2.0, -1.0, True),
        (1, 0.0, None, True),
        (0, 2.0, -1.0, False),
        (65, 2.0, -1.0, False),
        (16, -0.1, -1.0, False),
        (16, float("nan"), -1.0, False),
        (16, float("inf"), -1.0, False),
        (16, 2.0, -1.01, False),
        (16, 2.0, 1.8, False),
        (16, 2.0, float("nan"), False),
    ],
)
def test_schedules_out_of_range(steps: int, cfg: float, sway: float | None, valid: bool) -> None:
    assert is_valid_schedule(steps, cfg, sway) is valid


def test_the_longest_item_is_within_the_text_positions() -> None:
    assert sampler().transformer.text_embed.precompute_max_pos >= MAX_FRAMES


def test_positions_turn_as_upstreams_do() -> None:
    network = sampler().transformer
    heads = torch.randn(1, 3000, 2, 16)
    by = rotation(3000, 16, device=torch.device("cpu"))
    freqs, _ = network.rotary_embed.forward_from_seq_len(3000)
    from x_transformers.x_transformers import apply_rotary_pos_emb

    expected = apply_rotary_pos_emb(heads.transpose(1, 2), freqs, 1.0).transpose(1, 2)
    assert distance(rotate(heads, by), expected) < 2e-3
    # Half precision of the state, not of the positions.
    assert distance(rotate(heads.half(), by).float(), expected) < 1e-2
