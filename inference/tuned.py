"""Where fine-tuned voices lie, and how the service and the process that trains one speak with each other: by files, each whole or absent.

``models_dir/training/<id>/`` holds one training. While it lasts: what was asked for, the recordings, the state of the network, how far it
is. Once it has ended: its result and, if that is no worse than the model it began with, ``voice/``, a model in the hub's layout. No torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelUnavailableError

ROOM = "training"
PREFIX = "tuned-"
"""Begins the name of every fine-tuned model. The rest is the id of its training, which its owner alone is told."""

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
FRAMES_A_STEP = {"cpu": (2600, 4096), "cuda": (10_000, 38_400)}
"""Frames of speech in one step of training, unless it is said and at most."""
FRAMES_AN_ITEM = 375
"""What an item of a batch stands for: four seconds."""


def is_id(training_id: str) -> bool:
    """Whether this may be the id of a training, and so the name of a folder."""
    return _ID.fullmatch(training_id) is not None


def model_name(training_id: str) -> str:
    """The name under which the voice of a training speaks."""
    return PREFIX + training_id


def voice_folder(models_dir: Path, name: str) -> Path:
    """The folder of a fine-tuned model. ModelUnavailableError where there is none of this name."""
    training_id = name.removeprefix(PREFIX)
    folder = models_dir / ROOM / training_id / "voice"
    if not name.startswith(PREFIX) or not is_id(training_id) or not folder.is_dir():
        raise ModelUnavailableError("The fine-tuned voice is not here; it may have been deleted.")
    return folder


def effort(seconds: float, device: str, *, epochs: int | None, batch_size: int | None, steps: int, max_steps: int) -> tuple[int, int]:
    """Steps of a training on so much speech, and frames in each.

    Args:
        seconds: of speech in all.
        epochs: how often all of it is to be heard, at most ``max_steps`` long; None: ``steps``, however much it is.
        batch_size: items of four seconds in a step, as far as the device carries them; None: what suits the device.
    """
    usual, most = FRAMES_A_STEP["cuda" if device.startswith("cuda") else "cpu"]
    frames = usual if batch_size is None else min(most, batch_size * FRAMES_AN_ITEM)
    if epochs is not None:
        steps = max(1, round(epochs * seconds * 93.75 / frames))
    return min(steps, max_steps), frames


@dataclass(frozen=True)
class Workspace:
    """The folder of one training."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def state(self) -> Path:
        return self.folder / "state.pt"

    @property
    def voice(self) -> Path:
        return self.folder / "voice"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def there(self) -> bool:
        return (self.folder / "request.json").is_file()

    def make(self, request: dict[str, Any], recordings: list[tuple[NDArray[np.float32], str]]) -> None:
        """Keep what is asked for and the recordings (24 kHz, with their texts). The folder appears with all of it in it."""
        partial = self.folder.with_name(f"{self.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        sounds = {f"sound{i}": np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16) for i, (sound, _) in enumerate(recordings)}
        np.savez(partial / "sounds.npz", allow_pickle=False, **sounds)
        write_json(partial / "texts.json", [text for _, text in recordings])
        write_json(partial / "request.json", request)
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def recordings(self) -> list[tuple[NDArray[np.float32], str]]:
        with np.load(self.folder / "sounds.npz") as sounds:
            texts: list[str] = json.loads((self.folder / "texts.json").read_text(encoding="utf-8"))
            return [(sounds[f"sound{i}"].astype(np.float32) / 32767, text) for i, text in enumerate(texts)]

    def read(self, name: str) -> dict[str, Any] | None:
        """``request``, ``progress``, ``before``, ``result`` or ``failure``; None while it is not there."""
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def write(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.folder / f"{name}.json", value)

    def ask(self) -> None:
        """Say that somebody still wants it."""
        (self.folder / "asked").touch()

    def asked_s_ago(self) -> float:
        """Seconds since somebody asked for it; endless where it is gone."""
        try:
            return time.time() - (self.folder / "asked").stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def tidy(self) -> None:
        """Leave the result alone: recordings, texts and the state of the network are needed no more."""
        for file in ("sounds.npz", "texts.json", "state.pt", "state.partial", "before.json"):
            (self.folder / file).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "candidate", ignore_errors=True)


def write_json(file: Path, value: Any) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(file)


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains a model: seconds a frame of a step, and seconds for all that comes before and after the steps."""

    frame_s: float
    around_s: float

    def seconds(self, steps: int, frames: int) -> float:
        return self.around_s + steps * frames * self.frame_s


class Speeds:
    """The speeds that were measured on this machine, by model and device."""

    def __init__(self, models_dir: Path) -> None:
        self._file = models_dir / ROOM / "speeds.json"

    def of(self, model: str, device: str) -> Speed | None:
        found = self._read().get(f"{model} {device}")
        return Speed(**found) if found else None

    def keep(self, model: str, device: str, speed: Speed) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, self._read() | {f"{model} {device}": {"frame_s": speed.frame_s, "around_s": speed.around_s}})

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found


def environment_of_child() -> dict[str, str]:
    """The environment of a child process that imports what this one does, wherever it runs."""
    inherited = dict(os.environ)
    paths = [str(Path(__file__).parents[1]), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths)}
