"""The training loop: conditional flow matching on windows, with a moving average of the weights, that goes on after a kill.

The loss is that of upstream's ``CFM.forward`` (arXiv:2410.06885): ``x_t = (1 - t) noise + t mel``, and the network learns the flow
``mel - noise`` where it is not given the mel. For guidance the reference is left out of some items, and reference and text of others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from inference import upstream
from inference.training.windows import Batch


class Batches(Protocol):
    """What a trainer learns from: `inference.training.windows.Windows`, or whole utterances."""

    def batch(self, items: int, frames: int) -> Batch:
        """About ``items * frames`` frames, drawn anew each time."""


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        steps: in all; the learning rate falls along a cosine from ``learning_rate`` to a fiftieth of it at the last one.
        frames: in one step, about.
        lengths: of the windows in frames; one is drawn for each step.
        drop_reference, drop_all: share of steps' items without reference, and without reference and text.
        decay: of the moving average of the weights, a step.
        save_every: steps between checkpoints.
    """

    steps: int
    learning_rate: float = 1e-3
    warm_up: int = 200
    frames: int = 2600
    lengths: tuple[int, ...] = (256, 384, 640)
    drop_reference: float = 0.2
    drop_all: float = 0.1
    decay: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.01
    save_every: int = 250


@dataclass(frozen=True)
class Progress:
    """What a step brought: ``loss`` is a mean over the last hundred or so."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds_a_step: float


def flow_loss(network: Any, batch: Batch, *, drop_reference: bool, drop_text: bool, generator: torch.Generator) -> torch.Tensor:
    """Mean squared error of the flow over the frames to be learnt."""
    device = next(network.parameters()).device
    mel, tokens = torch.from_numpy(batch.mel).to(device), torch.from_numpy(batch.tokens).to(device)
    generated = torch.from_numpy(batch.generated).to(device)[..., None]
    noise = torch.randn(mel.shape, generator=generator).to(device)
    t = torch.rand(len(mel), generator=generator).to(device)
    mixed = (1 - t[:, None, None]) * noise + t[:, None, None] * mel
    flow = network(
        x=mixed,
        cond=torch.where(generated, torch.zeros_like(mel), mel),
        text=tokens,
        time=t,
        mask=None if batch.mask is None else torch.from_numpy(batch.mask).to(device),
        drop_audio_cond=drop_reference,
        drop_text=drop_text,
    )
    error = (flow.float() - (mel - noise)).square()
    return (error * generated).sum() / (generated.sum() * mel.shape[-1])


class Trainer:
    """Trains a transformer, from where its last checkpoint left it.

    Args:
        architecture: of upstream's ``DiT``.
        state: the file that holds weights, optimiser and step; written whole or not at all.
        start: weights to begin with where there is no state: those of the voice that is fine-tuned.
    """

    def __init__(
        self,
        architecture: dict[str, Any],
        *,
        vocabulary_size: int,
        schedule: Schedule,
        state: Path,
        start: dict[str, torch.Tensor] | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.schedule, self.state = schedule, state
        # Dropout costs a CPU an eighth of a step, and a corpus that is larger than the network needs none.
        self.network = upstream.make_transformer({**architecture, "dropout": 0.0}, vocabulary_size=vocabulary_size).to(device)
        if start is not None:
            self.network.load_state_dict(start)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
        )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step, self.loss, self.device = 0, math.nan, device
        self.generator = torch.Generator().manual_seed(seed)
        if state.exists():
            self._resume()

    def _resume(self) -> None:
        kept = torch.load(self.state, map_location=self.device, weights_only=True)
        self.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.average, self.step, self.loss = kept["average"], kept["step"], kept["loss"]
        # Another stretch of chance than the one that was spent.
        self.generator.manual_seed(self.step)

    def save(self) -> None:
        """Write the state beside its file and move it there."""
        partial = self.state.with_suffix(".partial")
        kept = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}
        torch.save(kept | {"step": self.step, "loss": self.loss, "schedule": asdict(self.schedule)}, partial)
        partial.replace(self.state)

    def learning_rate(self, step: int) -> float:
        along = min(1.0, step / self.schedule.steps)
        warm = min(1.0, (step + 1) / self.schedule.warm_up)
        return self.schedule.learning_rate * warm * max(0.02, 0.5 * (1 + math.cos(math.pi * along)))

    def run(
        self, windows: Batches, *, until: Callable[[], bool] = lambda: False, report: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """Train to the last step, or until told to stop (asked after each step); the state is saved at the end."""
        self.network.train()
        began = time.monotonic()
        first = self.step
        while self.step < self.schedule.steps and not until():
            self._step(windows)
            report(
                Progress(
                    self.step,
                    self.schedule.steps,
                    self.loss,
                    self.optimizer.param_groups[0]["lr"],
                    (time.monotonic() - began) / (self.step - first),
                )
            )
            if self.step % self.schedule.save_every == 0:
                self.save()
        self.save()

    def _step(self, windows: Batches) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        draw = torch.rand(2, generator=self.generator).tolist()
        length = self.schedule.lengths[int(draw[0] * len(self.schedule.lengths))]
        batch = windows.batch(max(1, round(self.schedule.frames / length)), length)
        drop_text = draw[1] < self.schedule.drop_all
        drop_reference = draw[1] < self.schedule.drop_all + self.schedule.drop_reference
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            loss = flow_loss(self.network, batch, drop_reference=drop_reference, drop_text=drop_text, generator=self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        self.optimizer.step()
        self.step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"The loss of step {self.step} is not finite")
        self.loss = value if math.isnan(self.loss) else 0.99 * self.loss + 0.01 * value
        decay = min(self.schedule.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value_ in self.network.state_dict().items():
                if value_.dtype.is_floating_point:
                    self.average[name].lerp_(value_.to(self.average[name].dtype), 1 - decay)
