"""A prototype beside the engine: a sampler whose running batch items join and leave between two steps of Euler's method.

Each item has its own time, schedule and guidance strength. What an item needs at every step (its reference and text in the input
projection, the modulations of its schedule) is computed once, when it joins. As in the engine, an item's sound depends on the item alone.
`benchmarks.scheduler` measures it beside the engine's batches, and docs/inference.md says what came of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from inference import batching, transformer
from inference.engine import UNGUIDED, SampleItem, Sampler, noise, time_steps


@dataclass(frozen=True)
class Schedule:
    """Times of the steps, and what the network makes of them.

    Attributes:
        times: from 0 to 1, one more than there are steps.
        modulations: per layer, ``[steps, 6, dim]``, as in `transformer.Conditioning`.
        stacked: the same for all layers, ``[steps, layers, 6, dim]``.
        final: scale and shift of the last norm, ``[steps, 2, dim]``.
    """

    times: list[float]
    modulations: list[torch.Tensor]
    stacked: torch.Tensor
    final: torch.Tensor


@dataclass(eq=False)
class Running:
    """An item between two steps.

    Attributes:
        state: ``[frames, bands]``, float32; stale while the item is in a pass, which holds the states of its members padded.
        projected: share of reference and text in the input projection, ``[1 or 2, frames, dim]``: conditional, then unconditional.
        step: how many steps are done.
    """

    key: Hashable
    item: SampleItem
    schedule: Schedule
    state: torch.Tensor
    projected: torch.Tensor
    step: int = 0

    @property
    def frames(self) -> int:
        return self.state.shape[0]


@dataclass
class Pass:
    """Items that share forward passes as long as nobody joins or leaves; padded to the longest."""

    members: list[Running]
    state: torch.Tensor
    projected: torch.Tensor
    mask: torch.Tensor | None
    rotation: torch.Tensor
    strengths: torch.Tensor
    copies: int


@dataclass
class StepSampler:
    """Samples with the transformer of an engine's sampler, a step at a time.

    Args:
        sampler: lends its network, device, type and text embedding.
        max_padding: largest share of padding in a pass, as for `batching.split`.
    """

    sampler: Sampler
    max_padding: float = batching.MAX_PADDING
    frames: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)
    _running: list[Running] = field(default_factory=list, init=False)
    _passes: list[Pass] = field(default_factory=list, init=False)
    _schedules: dict[tuple[int, float | None], Schedule] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._running)

    @torch.inference_mode()
    def join(self, key: Hashable, item: SampleItem) -> None:
        """Take an item in; its first step is the next one. What was embedded for it stays until it leaves."""
        engine, net, length = self.sampler, self.sampler.transformer, item.total_frames
        guided = item.cfg_strength >= UNGUIDED
        reference = engine._pad([item.reference.to(engine.device, engine.dtype)], length)
        texts = engine._embed_texts([item], [length], drop_text=False)
        if guided:
            reference = torch.cat((reference, torch.zeros_like(reference)))
            texts = torch.cat((texts, engine._embed_texts([item], [length], drop_text=True)))
        weight, bias = net.input_embed.proj.weight, net.input_embed.proj.bias
        projected = functional.linear(torch.cat((reference, texts), dim=-1), weight[:, engine.bands :], bias)
        state = noise(item.seed, length, engine.bands, device=engine.device)
        self._scatter()
        self._running.append(Running(key, item, self._schedule(item), state, projected))

    def leave(self, key: Hashable) -> None:
        """Let an item go before its end; nothing where it is not running."""
        self._scatter()
        self._running = [each for each in self._running if each.key != key]

    @torch.inference_mode()
    def step(self) -> list[tuple[Hashable, torch.Tensor]]:
        """One step of every item. Returns key and mel frames, as `Sampler.sample` does, of those that have reached 1; they have left."""
        if not self._passes:
            self._gather()
        for each in self._passes:
            self._advance(each)
        done = [each for each in self._running if each.step == len(each.schedule.times) - 1]
        if not done:
            return []
        self._scatter()
        self._running = [each for each in self._running if each not in done]
        return [(each.key, self._finished(each)) for each in done]

    def _schedule(self, item: SampleItem) -> Schedule:
        key = item.steps, item.sway_coefficient
        if key not in self._schedules:
            net = self.sampler.transformer
            times = time_steps(*key)
            emb = functional.silu(net.time_embed(times[:-1].to(self.sampler.device, self.sampler.dtype)))
            modulations = [block.attn_norm.linear(emb).unflatten(-1, (6, -1)) for block in net.transformer_blocks]
            final = net.norm_out.linear(emb).unflatten(-1, (2, -1))
            self._schedules[key] = Schedule(times.tolist(), modulations, torch.stack(modulations, dim=1), final)
        return self._schedules[key]

    def _gather(self) -> None:
        """Put the running items into passes."""
        for members in batching.group(self._running, lambda each: each.projected.shape[0]).values():
            split = batching.split([each.frames for each in members], self.sampler.max_batch_frames, max_padding=self.max_padding)
            self._passes += [self._padded([members[i] for i in indices]) for indices in split]

    def _padded(self, members: list[Running]) -> Pass:
        engine, lengths = self.sampler, [each.frames for each in members]
        copies, longest = members[0].projected.shape[0], max(lengths)
        mask = None
        if min(lengths) < longest:
            mask = torch.arange(longest, device=engine.device)[None] < torch.tensor(lengths, device=engine.device)[:, None]
            mask = mask.repeat(copies, 1)
        attention = engine.transformer.transformer_blocks[0].attn
        return Pass(
            members=members,
            state=pad_sequence([each.state for each in members], batch_first=True),
            projected=torch.cat([pad_sequence([each.projected[i] for each in members], batch_first=True) for i in range(copies)]),
            mask=mask,
            rotation=transformer.rotation(longest, attention.inner_dim // attention.heads, device=engine.device),
            strengths=torch.tensor([1 + each.item.cfg_strength for each in members], device=engine.device)[:, None, None],
            copies=copies,
        )

    def _scatter(self) -> None:
        """Give the members of the passes their states back."""
        for each in self._passes:
            for member, row in zip(each.members, each.state, strict=True):
                member.state = row[: member.frames].clone()
        self._passes = []

    def _advance(self, through: Pass) -> None:
        members, engine = through.members, self.sampler
        self.frames += sum(each.frames for each in members)
        self.padded += batching.padded_frames([each.frames for each in members])
        first = members[0]
        if all(each.schedule is first.schedule and each.step == first.step for each in members):
            # One time for all rows: the engine's own pass, which folds the modulations into the weights.
            given = transformer.Conditioning(
                through.projected, through.rotation, through.mask, first.schedule.modulations, first.schedule.final
            )
            flow = transformer.flow(engine.transformer, through.state.to(engine.dtype), given, first.step).float()
        else:
            flow = mixed_flow(engine.transformer, through.state.to(engine.dtype), through).float()
        if through.copies == 2:
            flow, unconditional = flow.chunk(2)
            flow = torch.lerp(unconditional, flow, through.strengths)
        spans = [each.schedule.times[each.step + 1] - each.schedule.times[each.step] for each in members]
        through.state = through.state.addcmul_(flow, torch.tensor(spans, device=engine.device)[:, None, None])
        for each in members:
            each.step += 1

    def _finished(self, done: Running) -> torch.Tensor:
        done.state[: done.item.reference.shape[0]] = done.item.reference.to(self.sampler.device, torch.float32)
        return done.state


def mixed_flow(net: Any, x: torch.Tensor, through: Pass) -> torch.Tensor:
    """`transformer.flow` with a time of its own for each item: the modulations act on the rows, where they cannot go into the weights."""
    members: Sequence[Running] = through.members
    stacked = torch.stack([each.schedule.stacked[each.step] for each in members]).repeat(through.copies, 1, 1, 1)
    final = torch.stack([each.schedule.final[each.step] for each in members]).repeat(through.copies, 1, 1)
    x = functional.linear(x, net.input_embed.proj.weight[:, : x.shape[-1]])
    x = through.projected + x.repeat(through.copies, 1, 1)
    x = x.add_(net.input_embed.conv_pos_embed(x, mask=through.mask))
    residual = x.clone() if net.long_skip_connection is not None else None
    keys = through.mask[:, None, None, :] if through.mask is not None else None
    for layer, block in enumerate(net.transformer_blocks):
        shift, scale, gate, ff_shift, ff_scale, ff_gate = stacked[:, layer, :, None].unbind(1)
        attention, (widen, _, narrow) = block.attn, block.ff.ff
        heads = transformer._attend(attention, _modulated(x, scale, shift), through.rotation, keys)
        out = attention.to_out[0]
        x = x.addcmul_(gate, functional.linear(heads, out.weight, functional.linear(attention.to_v.bias, out.weight, out.bias)))
        x = x.addcmul_(ff_gate, narrow(widen(_modulated(x, ff_scale, ff_shift))))
    if residual is not None:
        x = net.long_skip_connection(torch.cat((x, residual), dim=-1))
    scale, shift = final[:, :, None].unbind(1)
    return net.proj_out(_modulated(x, scale, shift))


def _modulated(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale) + shift`` with a scale and a shift for each row, ``[rows, 1, dim]``."""
    return torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:], eps=transformer.NORM_EPS), 1 + scale)
