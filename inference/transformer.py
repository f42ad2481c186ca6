"""The forward pass of upstream's diffusion transformer, for sampling: the same numbers as ``DiT.forward`` with less work.

All rows of a batch share one time, and most of what a step needs does not change from step to step. So the modulation of the layers
(adaLN, arXiv:2212.09748) is computed once for all times and folded into the layer norms as their weight and bias, the projection of
reference and text is computed once, and the rotation of the positions (RoPE, arXiv:2104.09864) is one complex product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

NORM_EPS = 1e-6
ROPE_BASE = 10_000


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over the steps of one batch.

    Attributes:
        projected: share of reference and text in the input projection, ``[rows, frames, dim]``.
        rotation: unit complex numbers ``[frames, 1, dim_head / 2]``.
        mask: True at the frames of each row that are not padding, ``[rows, frames]``; None where there is no padding.
        modulations: per layer, ``[steps, 6, dim]``: shift, scale and gate of the attention, then of the feed-forward part.
        final: scale and shift of the last norm, ``[steps, 2, dim]``.
    """

    projected: torch.Tensor
    rotation: torch.Tensor
    mask: torch.Tensor | None
    modulations: list[torch.Tensor]
    final: torch.Tensor


def rotation(frames: int, dim_head: int, *, device: torch.device) -> torch.Tensor:
    """Rotary positions, complex64 ``[frames, 1, dim_head / 2]``.

    Computed in float32 whatever the type of the weights: angles in half precision, which is what upstream's sampler has after its
    checkpoint is cast, are off by up to 0.44 radians at frame 2800.
    """
    frequencies = ROPE_BASE ** -(torch.arange(0, dim_head, 2, device=device, dtype=torch.float32) / dim_head)
    angles = torch.outer(torch.arange(frames, device=device, dtype=torch.float32), frequencies)
    return torch.polar(torch.ones_like(angles), angles)[:, None]


def rotate(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring pairs of the last axis: ``[rows, frames, heads, dim_head]`` by ``rotation``."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * by).flatten(-2).to(x.dtype)


def condition(net: Any, reference: torch.Tensor, texts: torch.Tensor, times: torch.Tensor, mask: torch.Tensor | None) -> Conditioning:
    """Compute what stays.

    Args:
        net: upstream's ``DiT``.
        reference: mel frames of the references, ``[rows, frames, bands]``; zeros where nothing is known.
        texts: embedded texts, ``[rows, frames, text_dim]``.
        times: of all steps, ``[steps]``.
        mask: as in ``Conditioning``.
    """
    projection = net.input_embed.proj
    emb = functional.silu(net.time_embed(times.to(projection.weight.dtype)))
    attention = net.transformer_blocks[0].attn
    fixed = torch.cat((reference, texts), dim=-1)
    return Conditioning(
        projected=functional.linear(fixed, projection.weight[:, reference.shape[-1] :], projection.bias),
        rotation=rotation(reference.shape[1], attention.inner_dim // attention.heads, device=reference.device),
        mask=mask,
        modulations=[block.attn_norm.linear(emb).unflatten(-1, (6, -1)) for block in net.transformer_blocks],
        final=net.norm_out.linear(emb).unflatten(-1, (2, -1)),
    )


def flow(net: Any, x: torch.Tensor, given: Conditioning, step: int) -> torch.Tensor:
    """Velocity of the flow, ``[rows, frames, bands]``, at one step.

    Args:
        x: state, ``[items, frames, bands]``. ``given`` has a multiple of ``items`` as rows: with guidance the conditional ones first,
            then the unconditional ones, which share the state.
    """
    copies = given.projected.shape[0] // x.shape[0]
    x = functional.linear(x, net.input_embed.proj.weight[:, : x.shape[-1]])
    x = given.projected + x.repeat(copies, 1, 1)
    x = x.add_(net.input_embed.conv_pos_embed(x, mask=given.mask))
    residual = x.clone() if net.long_skip_connection is not None else None
    keys = given.mask[:, None, None, :] if given.mask is not None else None
    for block, modulations in zip(net.transformer_blocks, given.modulations, strict=True):
        shift, scale, gate, ff_shift, ff_scale, ff_gate = modulations[step]
        attention, (widen, _, narrow) = block.attn, block.ff.ff
        heads = _attend(attention, _modulated_norm(x, scale, shift), given.rotation, keys)
        # Each head's weights sum to one, so that the bias of the values goes through the attention unchanged.
        out = attention.to_out[0]
        _add_gated(x, heads, out.weight, functional.linear(attention.to_v.bias, out.weight, out.bias), gate)
        _add_gated(x, widen(_modulated_norm(x, ff_scale, ff_shift)), narrow.weight, narrow.bias, ff_gate)
    if residual is not None:
        x = net.long_skip_connection(torch.cat((x, residual), dim=-1))
    scale, shift = given.final[step]
    return net.proj_out(_modulated_norm(x, scale, shift))


def _modulated_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """``norm(x) * (1 + scale) + shift`` in one pass."""
    return functional.layer_norm(x, x.shape[-1:], 1 + scale, shift, NORM_EPS)


def _add_gated(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gate: torch.Tensor) -> None:
    """``x += gate * linear(y, weight, bias)`` in place: the gate goes into the weight, and the product is summed up where it belongs."""
    x += gate * bias
    x.view(-1, x.shape[-1]).addmm_(y.reshape(-1, y.shape[-1]), (weight * gate[:, None]).T)


def _attend(attention: Any, x: torch.Tensor, by: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
    """Self-attention before its output layer, with values that lack their bias. Frames that are not among ``keys`` are never looked at,
    and what they compute themselves is never used."""
    query = _heads(attention, attention.to_q, attention.q_norm, x, by)
    key = _heads(attention, attention.to_k, attention.k_norm, x, by)
    value = functional.linear(x, attention.to_v.weight).unflatten(-1, (attention.heads, -1))
    heads = functional.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=keys)
    return heads.transpose(1, 2).flatten(2)


def _heads(attention: Any, layer: Any, norm: Any, x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Queries or keys at their positions, ``[rows, frames, heads, dim_head]``."""
    rotated = attention.processor.pe_attn_head
    heads = layer(x).unflatten(-1, (attention.heads, -1))
    if norm is not None:
        heads = norm(heads)
    if rotated is None:
        return rotate(heads, by)
    return torch.cat((rotate(heads[:, :, :rotated], by), heads[:, :, rotated:]), dim=2)
