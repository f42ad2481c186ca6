"""Which items share a forward pass: pure functions on lengths, without torch.

A batch is padded to its longest item, so that its cost is its number of items times its longest length. Sorting by length keeps
the padding small, and the budget bounds the memory of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

MAX_PADDING = 0.25
"""Largest share of a batch that may be padding. Above it, a pass of its own is cheaper than carrying the padding along."""


def group(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, in the order in which keys and items were first seen."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def padded_frames(lengths: Sequence[int]) -> int:
    """Frames that a batch of these lengths costs, padding included."""
    return len(lengths) * max(lengths, default=0)


def split(lengths: Sequence[int], max_frames: int, *, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Split items into batches of similar length.

    Args:
        lengths: length of each item in frames, each at least 1.
        max_frames: most padded frames in one batch, at least 1. An item that is longer than this alone gets a batch of its own.
        max_padding: largest share of padding in a batch, 0 (only equal lengths) to 1 (no limit).

    Returns:
        Batches of indices into ``lengths``. Every index occurs once; batches and items in a batch run from short to long.

    Raises:
        ValueError: a limit or a length is out of its range.
    """
    if max_frames < 1:
        raise ValueError("max_frames must be at least 1")
    if not 0 <= max_padding <= 1:
        raise ValueError("max_padding must be between 0 and 1")
    if any(length < 1 for length in lengths):
        raise ValueError("lengths must be at least 1")

    batches: list[list[int]] = []
    filled = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[index]
        current = batches[-1] if batches else None
        if current is not None:
            cost = (len(current) + 1) * length
            if cost <= max_frames and cost - (filled + length) <= max_padding * cost:
                current.append(index)
                filled += length
                continue
        batches.append([index])
        filled = length
    return batches
