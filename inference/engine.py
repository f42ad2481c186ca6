"""The batched flow-matching sampler: mel in, mel out, on upstream's diffusion transformer.

The sound of an item depends on the item alone. What couples the items of a padded batch in upstream's ``CFM.sample``, and what
is done here:

- attention: the key mask is on (the shipped configurations leave it off);
- text embedding: its ConvNeXt blocks see across the end of an item and their global response normalisation sums over the padding,
  so each item's text is embedded alone, once, before the first step;
- noise: each item draws from its own generator;
- text cache: not used, so nothing of one call can reach the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from inference import batching, transformer, upstream

MAX_FRAMES = 4096
"""Longest item in frames, reference included (43.7 s). Upstream's text positions end at 8192, and training saw at most 30 s."""
UNGUIDED = 1e-5
"""Below this guidance strength the unconditional pass is left out, as upstream does."""


@dataclass(frozen=True)
class SampleItem:
    """One utterance to sample.

    Attributes:
        reference: log-mel frames of the reference, float ``[reference_frames, bands]``.
        tokens: vocabulary indices of the reference's text followed by the text to speak.
        frames: total length in frames, reference included. It is raised to one frame more than the longer of reference and text,
            as upstream does.
        seed: of this item's noise, 0 to 2**63 - 1.
        steps: number of function evaluations (NFE), at least 1; 5, 6, 7, 10, 12 and 16 use pruned steps (EPSS).
        cfg_strength: classifier-free guidance, at least 0.
        sway_coefficient: sway sampling coefficient in [-1, 2 / (pi - 2)]; negative values spend more steps early. None: no sway.
    """

    reference: torch.Tensor
    tokens: Sequence[int]
    frames: int
    seed: int = 0
    steps: int = 16
    cfg_strength: float = 2.0
    sway_coefficient: float | None = -1.0

    @property
    def total_frames(self) -> int:
        """Length that is really sampled."""
        return max(self.frames, len(self.tokens) + 1, self.reference.shape[0] + 1)

    @property
    def schedule(self) -> tuple[int, float, float | None]:
        """What items of one batch must share."""
        return self.steps, self.cfg_strength, self.sway_coefficient


def time_steps(steps: int, sway_coefficient: float | None) -> torch.Tensor:
    """Times from 0 to 1 at which the flow is evaluated, float32 ``[steps + 1]``, on the CPU, where they are also read.

    Empirically pruned step sampling (arXiv:2505.19931) where upstream names a schedule for ``steps``, else equal steps; then sway
    sampling (arXiv:2410.06885): ``t + s * (cos(pi / 2 * t) - 1 + t)``.
    """
    t = upstream.load().get_epss_timesteps(steps, device="cpu", dtype=torch.float32)
    if sway_coefficient is not None:
        t = t + sway_coefficient * (torch.cos(torch.pi / 2 * t) - 1 + t)
    return t


def noise(seed: int, frames: int, bands: int, *, device: torch.device) -> torch.Tensor:
    """Gaussian noise ``[frames, bands]`` of one item, float32 whatever the type of the weights, so that a seed means the same sound in
    each; equal to upstream's in float32 for the same seed on the same kind of device."""
    generator = torch.Generator(device=device).manual_seed(seed)
    return torch.randn(frames, bands, generator=generator, device=device)


class Sampler:
    """Samples mel frames with one transformer.

    Args:
        network: upstream's ``DiT``, on its device and in its type.
        max_batch_frames: most padded frames in one forward pass (guidance doubles them).
    """

    def __init__(self, network: Any, *, max_batch_frames: int = 16_384) -> None:
        self.transformer = network.eval()
        self.max_batch_frames = max_batch_frames
        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.bands = network.proj_out.out_features

    def sample(self, items: Sequence[SampleItem], *, before_batch: Callable[[list[int]], list[int]] | None = None) -> list[Any]:
        """Sample every item.

        Args:
            items: in any mix of lengths and schedules.
            before_batch: called before each forward batch with the indices of its items; returns those still wanted.

        Returns:
            For each item, in order: float32 ``[total_frames, bands]`` on the sampler's device with the reference's frames first; None
            where ``before_batch`` dropped it; the exception where its batch failed and the item failed again alone.
        """
        results: list[Any] = [None] * len(items)
        for indices in self._batches(items):
            wanted = before_batch(indices) if before_batch is not None else indices
            if not wanted:
                continue
            try:
                mels: Sequence[Any] = self._sample_batch([items[i] for i in wanted])
            except (RuntimeError, ValueError, IndexError) as error:
                mels = [error] if len(wanted) == 1 else [self._alone(items[i]) for i in wanted]
            for index, mel in zip(wanted, mels, strict=True):
                results[index] = mel
        return results

    def _batches(self, items: Sequence[SampleItem]) -> list[list[int]]:
        batches = []
        for members in batching.group(range(len(items)), lambda i: items[i].schedule).values():
            lengths = [items[i].total_frames for i in members]
            batches += [[members[j] for j in batch] for batch in batching.split(lengths, self.max_batch_frames)]
        return batches

    def _alone(self, item: SampleItem) -> Any:
        """One item after its batch failed: out of memory and bad input must not take the neighbours along."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            return self._sample_batch([item])[0]
        except (RuntimeError, ValueError, IndexError) as error:
            return error

    @torch.inference_mode()
    def _sample_batch(self, items: Sequence[SampleItem]) -> list[torch.Tensor]:
        """Euler's method from noise at 0 to mel at 1, for items that share a schedule."""
        steps, cfg_strength, sway_coefficient = items[0].schedule
        guided = cfg_strength >= UNGUIDED
        lengths = [item.total_frames for item in items]
        longest = max(lengths)

        references = [self._put(item.reference.float()) for item in items]
        reference = self._pad([each.to(self.dtype) for each in references], longest)
        texts = self._embed_texts(items, lengths, drop_text=False)
        if guided:
            reference = torch.cat((reference, torch.zeros_like(reference)))
            texts = torch.cat((texts, self._embed_texts(items, lengths, drop_text=True)))
        mask = None
        if min(lengths) < longest:
            mask = torch.arange(longest, device=self.device)[None] < self._put(torch.tensor(lengths))[:, None]
            mask = torch.cat((mask, mask)) if guided else mask

        # The state is kept in float32: many small steps added up in half precision lose what the network found.
        x = self._pad(
            [noise(i.seed, n, self.bands, device=self.device) for i, n in zip(items, lengths, strict=True)],
            longest,
        )
        t = time_steps(steps, sway_coefficient)
        given = transformer.condition(self.transformer, reference, texts, self._put(t[:-1]), mask)
        for step, (now, then) in enumerate(pairwise(t.tolist())):
            flow = transformer.flow(self.transformer, x.to(self.dtype), given, step).float()
            if guided:
                flow, unconditional = flow.chunk(2)
                flow = torch.lerp(unconditional, flow, 1 + cfg_strength)
            x = x.add_(flow, alpha=then - now)

        mels = []
        for row, known, length in zip(x, references, lengths, strict=True):
            mel = row[:length].clone()
            mel[: known.shape[0]] = known
            mels.append(mel)
        return mels

    def _embed_texts(self, items: Sequence[SampleItem], lengths: Sequence[int], *, drop_text: bool) -> torch.Tensor:
        """Text embeddings ``[items, longest, text_dim]``, each computed alone over its own frames and padded with zeros."""
        embed = self.transformer.text_embed
        rows = []
        for item, length in zip(items, lengths, strict=True):
            tokens = self._put(torch.tensor([list(item.tokens)], dtype=torch.long))
            rows.append(embed(tokens, seq_len=length, drop_text=drop_text)[0])
        return self._pad(rows, max(lengths))

    def _put(self, values: torch.Tensor) -> torch.Tensor:
        """To the device without waiting for it: an ordinary copy would first let it finish all that it has been given to do."""
        if self.device.type == "cuda" and values.device.type == "cpu":
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True)

    @staticmethod
    def _pad(rows: Sequence[torch.Tensor], length: int) -> torch.Tensor:
        padded = pad_sequence(list(rows), batch_first=True)
        return torch.nn.functional.pad(padded, (0, 0, 0, length - padded.shape[1]))


def is_valid_schedule(steps: int, cfg_strength: float, sway_coefficient: float | None) -> bool:
    """Whether the times stay in order and the numbers are finite."""
    sway = 0.0 if sway_coefficient is None else sway_coefficient
    return 1 <= steps <= 64 and math.isfinite(cfg_strength) and 0 <= cfg_strength <= 10 and -1 <= sway <= 2 / (math.pi - 2)
