"""Training of the timing: lengths of phonemes from what the teachers took for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from inference.phoneme_timing import CONTEXT, windows
from inference.phonemes import SYMBOLS
from inference.training.corpus import Example

EMBEDDING, HIDDEN = 24, 96


class TimingNetwork(torch.nn.Module):
    """The network of `inference.phoneme_timing.Timing`: windows ``[phonemes, 2 * CONTEXT + 1]`` to log frames ``[phonemes]``."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(len(SYMBOLS) + 1, EMBEDDING) * 0.3)
        self.hidden = torch.nn.ModuleList([torch.nn.Linear((2 * CONTEXT + 1) * EMBEDDING, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN)])
        self.out = torch.nn.Linear(HIDDEN, 1)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        x = self.embedding[seen].flatten(1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        out: torch.Tensor = self.out(x)[:, 0]
        return out


def columns(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Windows, log frames, and the number of the utterance of each phoneme."""
    seen = np.concatenate([windows(e.phones.tolist(), len(SYMBOLS)) for e in examples])
    frames = np.concatenate([e.durations for e in examples]).astype(np.float32)
    owner = np.repeat(np.arange(len(examples)), [len(e.phones) for e in examples])
    return torch.from_numpy(seen), torch.from_numpy(np.maximum(frames, 0.7)).log(), torch.from_numpy(owner)


def train(examples: Sequence[Example], *, epochs: int = 12, seed: int = 0) -> TimingNetwork:
    """Fit the lengths of every utterance up to its tempo: the mean error of an utterance is the tempo it was spoken at."""
    torch.manual_seed(seed)
    network = TimingNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    order = np.random.default_rng(seed)
    group = 64
    steps = epochs * (len(examples) // group)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in range(epochs):
        shuffled = order.permutation(len(examples))
        for start in range(0, len(examples) - group + 1, group):
            seen, wanted, owner = columns([examples[i] for i in shuffled[start : start + group]])
            predicted = network(seen)
            error = wanted - predicted
            tempo = torch.zeros(group).index_add(0, owner, error) / torch.bincount(owner, minlength=group)
            # Its own tempo is no error of the network; that the tempos have the mean 0 keeps its lengths those of the corpus.
            loss = torch.nn.functional.smooth_l1_loss(error, tempo[owner], beta=0.3) + tempo.mean().square()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    _calibrate(network, examples)
    return network


@torch.no_grad()
def _calibrate(network: TimingNetwork, examples: Sequence[Example]) -> None:
    """The mean of logarithms is shorter than the mean: make the whole as long as it was."""
    seen, wanted, _ = columns(examples)
    network.out.bias += (wanted.exp().sum() / network(seen).exp().sum()).log()


@torch.no_grad()
def error(network: TimingNetwork, examples: Sequence[Example]) -> float:
    """Mean of how far the length of a held-out utterance is off, as a share of it, once its tempo is known from the other half of it."""
    misses = []
    for example in examples:
        predicted = network(torch.from_numpy(np.ascontiguousarray(windows(example.phones.tolist(), len(SYMBOLS))))).exp().numpy()
        half = len(predicted) // 2
        pace = example.durations[:half].sum() / predicted[:half].sum()
        misses.append(abs(predicted[half:].sum() * pace / example.durations[half:].sum() - 1))
    return float(np.mean(misses))


def save(network: TimingNetwork, file: Path) -> None:
    save_file({name: value.detach().contiguous() for name, value in network.state_dict().items()}, file)
