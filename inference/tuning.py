"""Trainings under way: each a process of its own with low priority, begun, looked at, gone on with and removed by its id."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import BaseModel

from inference.mel import SAMPLE_RATE
from inference.tuned import ROOM, Speeds, Workspace, effort, environment_of_child, is_id

PROBE_TEXT = "The quick brown fox jumps over the lazy dog. It was seen, and it did not stop. The boat goes by, and the old man watches it."
PROBE_S = 9.0
PROBE_STEPS = 4
PROBE = "probe_"
STOP_S = 10.0
LOOK_S = 0.05

Status = Literal["running", "waiting", "stopped", "done", "failed", "unknown"]

log = structlog.get_logger()


class TrainingState(BaseModel):
    """How a training stands.

    ``waiting``: another one is under way. ``stopped``: its process has ended before it was done; asked for again it goes on. ``unknown``:
    there is none of this id. ``progress`` in percent; ``seconds_left`` null while nothing has been measured.
    """

    ok: Literal[True] = True
    id: str
    status: Status
    message: str = ""
    progress: float = 0.0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Child(Protocol):
    """What is needed of a process, as `subprocess.Popen` has it."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def process(folder: Path) -> Child:
    """The process that trains in a folder."""
    command = [sys.executable, "-m", "inference.training.finetune", str(folder)]
    return subprocess.Popen(command, env=environment_of_child(), stdin=subprocess.DEVNULL)  # noqa: S603 - every word of it is ours


class Tunings:
    """The trainings of one models' folder. One is under way at a time. Safe to use from several threads.

    Args:
        forget: told the id of a training whose voice has gone.
        spawn: begins the process of a training.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        steps: int,
        max_steps: int,
        forget: Callable[[str], None] = lambda _: None,
        spawn: Callable[[Path], Child] | None = None,
    ) -> None:
        self.models_dir = models_dir
        self.root = models_dir / ROOM
        self.steps, self.max_steps = steps, max_steps
        self.forget = forget
        self.speeds = Speeds(models_dir)
        self._begin_process = spawn or process
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()

    def start(
        self,
        training_id: str,
        recordings: Sequence[tuple[NDArray[np.float32], str]],
        *,
        model: str,
        device: str,
        language: str,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        align: bool = True,
        steps: int | None = None,
    ) -> TrainingState:
        """Begin the training, or go on with the one of this id; what has ended stays as it is.

        Args:
            recordings: 24 kHz mono sound and exactly what is said in it.
            epochs, batch_size: see `inference.tuned.effort`.
            learning_rate: None: by the size of the model.
            align: whether recordings are cut into pieces by the times of their words.
        """
        workspace = self._workspace(training_id)
        with self._lock:
            if not workspace.there:
                seconds = sum(len(sound) for sound, _ in recordings) / SAMPLE_RATE
                planned, frames = effort(
                    seconds, device, epochs=epochs, batch_size=batch_size, steps=steps or self.steps, max_steps=self.max_steps
                )
                request = {"model": model, "language": language, "steps": planned, "frames": frames, "align": align}
                workspace.make(request | {"learning_rate": learning_rate, "seed": 0}, list(recordings))
            workspace.ask()
            if self._ended(workspace) is None and not self._alive(training_id):
                # A measurement of speed takes seconds and is worth less than what somebody waits for.
                for other in [name for name in self._children if name.startswith(PROBE) and not training_id.startswith(PROBE)]:
                    self._kill(other)
                if not any(self._alive(other) for other in list(self._children)):
                    self._spawn(workspace)
        return self.look(training_id)

    def look(self, training_id: str) -> TrainingState:
        """How the training stands. Whoever looks wants it to go on: one that nobody looks at stops after a while."""
        workspace = self._workspace(training_id)
        if not workspace.there:
            return TrainingState(id=training_id, status="unknown")
        workspace.ask()
        ended = self._ended(workspace)
        if ended is not None:
            return ended
        with self._lock:
            alive = self._alive(training_id)
            others = any(self._alive(other) for other in list(self._children) if other != training_id)
        if not alive and (ended := self._ended(workspace)) is not None:
            return ended  # between the two looks
        status: Status = "running" if alive else "waiting" if others else "stopped"
        said = {key: value for key, value in (workspace.read("progress") or {}).items() if key != "at"}
        return TrainingState(id=training_id, status=status, **said)

    def remove(self, training_id: str) -> None:
        """Stop the training and leave nothing of it, its voice included."""
        workspace = self._workspace(training_id)
        with self._lock:
            self._kill(training_id)
            shutil.rmtree(workspace.folder, ignore_errors=True)
        self.forget(training_id)

    def ids(self) -> list[str]:
        """All trainings that there is anything of."""
        found = sorted(self.root.glob("*/")) if self.root.is_dir() else []
        return [folder.name for folder in found if is_id(folder.name) and not folder.name.startswith(PROBE)]

    def estimate(
        self, seconds: float, *, model: str, device: str, language: str, epochs: int | None, batch_size: int | None, wait_s: float
    ) -> tuple[int, float | None]:
        """Steps of a training on so many seconds of speech, and how long it will take in seconds.

        What the last training of the model took on this machine says so; before the first one, a few steps on made-up sound are measured
        in a process of their own, for which `wait_s` are waited: None where that was not enough.
        """
        steps, frames = effort(seconds, device, epochs=epochs, batch_size=batch_size, steps=self.steps, max_steps=self.max_steps)
        until = time.monotonic() + wait_s
        probe = f"{PROBE}{zlib.crc32(f'{model} {device} {frames}'.encode()):x}"
        begun = False
        while (speed := self.speeds.of(model, device)) is None and time.monotonic() < until:
            if not begun:
                begun = True
                self.start(probe, [_made_up()], model=model, device=device, language=language, batch_size=batch_size, steps=PROBE_STEPS)
            state = self.look(probe)
            if state.status == "done":
                speed = self.speeds.of(model, device)
                break
            if state.status != "running":
                log.warning("training not measured", model=model, status=state.status, reason=(state.error or {}).get("code"))
                break
            time.sleep(LOOK_S)
        if self._workspace(probe).there and self.look(probe).status != "running":
            self.remove(probe)
        return steps, None if speed is None else round(speed.seconds(steps, frames), 1)

    def stop(self) -> None:
        """Tell all processes to save what they have and end."""
        with self._lock:
            for child in self._children.values():
                child.terminate()
            for child in self._children.values():
                try:
                    child.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    child.kill()
            self._children.clear()

    def _workspace(self, training_id: str) -> Workspace:
        if not is_id(training_id):
            raise ValueError("not the id of a training")
        return Workspace(self.root / training_id)

    @staticmethod
    def _ended(workspace: Workspace) -> TrainingState | None:
        result, failure = workspace.read("result"), workspace.read("failure")
        if result is not None:
            steps = int(result["steps"])
            return TrainingState(
                id=workspace.id, status="done", message="Done", progress=100.0, step=steps, steps=steps, seconds_left=0, result=result
            )
        return TrainingState(id=workspace.id, status="failed", error=failure) if failure is not None else None

    def _alive(self, training_id: str) -> bool:
        child = self._children.get(training_id)
        if child is None:
            return False
        code = child.poll()
        if code is None:
            return True
        del self._children[training_id]
        log.info("training process ended", training=training_id, code=code)
        return False

    def _spawn(self, workspace: Workspace) -> None:
        workspace.write("progress", (workspace.read("progress") or {"message": "Starting"}) | {"at": time.time()})
        self._children[workspace.id] = self._begin_process(workspace.folder.absolute())
        log.info("training process started", training=workspace.id)

    def _kill(self, training_id: str) -> None:
        child = self._children.pop(training_id, None)
        if child is not None:
            child.kill()
            child.wait()


def _made_up() -> tuple[NDArray[np.float32], str]:
    """Bursts of noise in the rhythm of the sentences of `PROBE_TEXT`: their sense does not matter to how long a step takes."""
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, round(PROBE_S * SAMPLE_RATE)).astype(np.float32)
    for pause in (0.35, 0.68):
        at = round(pause * len(sound))
        sound[at : at + SAMPLE_RATE // 2] *= np.float32(1e-3)
    return sound, PROBE_TEXT
