"""``python -m inference.training.finetune FOLDER``: fine-tune a model on one person's recordings, going on where it was stopped.

The folder is a :class:`inference.tuned.Workspace` that the inference service has made. The network learns with a small learning rate on all
but the last of the speech; loss and likeness are measured on the rest before and after, and a voice that came out worse is not kept.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from inference import checkpoints, logs, threads
from inference.errors import InferenceError, InvalidItemError
from inference.listening import Listener
from inference.loading import choose_device, load_vocabulary, seeded_transformer
from inference.mel import SAMPLE_RATE
from inference.phoneme_timing import TIMING_FILE
from inference.registry import ModelSpec, Registry, spec_from_folder
from inference.synthesis import Synthesizer
from inference.text import MAX_FRAMES, TextError
from inference.training.finetune_data import Piece, Utterances, hold_out, pieces
from inference.training.finetune_measure import Judge, Measures
from inference.training.loop import Progress, Schedule, Trainer
from inference.training.windows import Windows
from inference.tuned import Speed, Speeds, Workspace
from settings import Settings

STOPPED, BUSY = 3, 4
"""Exit codes: told to stop, to be gone on with; another process has the folder."""
NICENESS = 10
SIMILARITY_NOISE = 0.02
"""How far the likeness of a few sentences wanders by itself."""
SMALL = 100_000_000
"""Parameters under which a network bears, and needs, ten times the learning rate that upstream fine-tunes its base with."""
LENGTHS = (256, 384, 640)
AROUND_SHARE = 0.5  # of what is not steps, comes before them

Report = Callable[..., None]


class DivergedError(InferenceError):
    """The loss is no longer a number."""

    code = "TRAINING_DIVERGED"


class StoppedError(Exception):
    """Somebody said to stop; the state is saved."""


def main(arguments: list[str] | None = None) -> int:
    workspace = Workspace(Path((arguments or sys.argv[1:])[0]).absolute())
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    threads.limit()
    with _alone(workspace) as alone:
        if not alone:
            return BUSY
        try:
            FineTune(workspace, settings).run()
        except StoppedError:
            return STOPPED
        except (InferenceError, TextError) as error:
            workspace.write("failure", {"code": error.code, "message": error.message, "details": dict(error.details)})
            workspace.tidy()
    return 0


@contextmanager
def _alone(workspace: Workspace) -> Iterator[bool]:
    """Whether nobody else is at it: a service that was killed may have left a process that still finishes its step."""
    with workspace.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class FineTune:
    """One fine-tune, from its recordings to its result."""

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self.workspace = workspace
        request = workspace.read("request")
        if request is None:
            raise InvalidItemError("There is nothing to train in this folder.")
        self.request = request
        self.device = choose_device(settings.device)
        self.registry = Registry(settings.models_dir, model=settings.model, commercial_only=settings.commercial_only)
        self.base = self.registry.usable(request["model"])
        self.vocabulary = load_vocabulary(self.registry, self.base)
        self.speeds = Speeds(settings.models_dir)
        self.idle_s = settings.training_idle_s
        self.parent = os.getppid()
        self._told = threading.Event()
        self._began = float((workspace.read("progress") or {}).get("at", time.time()))

    def run(self) -> None:
        """Raises StoppedError, InferenceError or TextError."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._told.set())
        resumed = self.workspace.state.exists()
        self._tell("Preparing the recordings", 0.0)
        learnt, held, left_out_s = self._speech()
        judge = Judge(learnt, held, language=self.request["language"], vocabulary=self.vocabulary)
        before = self._before(judge)
        trainer = self._trainer()
        first, clock = trainer.step, time.monotonic()
        self._train(trainer, learnt, clock)
        trained_s = time.monotonic() - clock
        self._tell("Listening to the voice", 99.0, step=trainer.step, loss=trainer.loss)
        candidate = self.workspace.folder / "candidate"
        write_model(candidate, registry=self.registry, base=self.base, weights=trainer.average, step=trainer.step)
        steps = trainer.step
        del trainer
        gc.collect()
        after = self._measured(judge, candidate)
        offered, reason = judged(before, after)
        if offered:
            shutil.rmtree(self.workspace.voice, ignore_errors=True)
            candidate.rename(self.workspace.voice)
        result = {
            "offered": offered,
            "reason": reason,
            "model": self.base.name,
            "steps": steps,
            "loss": {"before": before.loss, "after": after.loss},
            "speaker_similarity": {"before": before.speaker_similarity, "after": after.speaker_similarity},
            "trained_seconds": round(sum(piece.seconds for piece in learnt), 2),
            "held_out_seconds": round(sum(piece.seconds for piece in held), 2),
            "left_out_seconds": round(left_out_s, 2),
        }
        if not resumed and steps > first:
            around_s = time.time() - self._began - trained_s
            self.speeds.keep(self.base.name, self.device, Speed(self._step_s / self.request["frames"], around_s))
        self.workspace.write("result", result)
        self.workspace.tidy()

    def _speech(self) -> tuple[list[Piece], list[Piece], float]:
        language = self.request["language"]
        aligner = Listener(self.registry, device=self.device).aligner(language)
        found: list[Piece] = []
        seconds = 0.0
        for sound, text in self.workspace.recordings():
            seconds += len(sound) / SAMPLE_RATE
            found += pieces(
                sound,
                text,
                language=language,
                vocabulary=self.vocabulary,
                longest_frames=self.base.max_frames or MAX_FRAMES,
                aligner=aligner,
                cut=self.request["align"],
            )
            self._check()
        if len(found) < 2:
            raise InvalidItemError(
                "The recordings cannot be cut into pieces to learn from and to be judged by; add another one, or one with pauses.",
                {"field": "samples"},
            )
        learnt, held = hold_out(found)
        return learnt, held, seconds - sum(piece.seconds for piece in found)

    def _before(self, judge: Judge) -> Measures:
        kept = self.workspace.read("before")
        if kept is not None:
            return Measures(**kept)
        self._tell("Listening to the model as it is", 1.0)
        synthesizer = Synthesizer(self.registry, device=self.device, dtype="float32")
        measures = judge.measure(synthesizer, self.base.name)
        self.workspace.write("before", asdict(measures))
        self._check()
        return measures

    def _measured(self, judge: Judge, folder: Path) -> Measures:
        # Known to this process alone, under a name that no model of the hub has.
        self.registry.specs["candidate"] = replace(spec_from_folder(folder, {}), name="candidate")
        return judge.measure(Synthesizer(self.registry, device=self.device, dtype="float32"), "candidate")

    def _trainer(self) -> Trainer:
        start = None if self.workspace.state.exists() else self._weights()
        steps = int(self.request["steps"])
        if self.request["learning_rate"] is None and start is not None:
            parameters = sum(value.numel() for value in start.values())
            # Kept, so that what is gone on with goes on as it began.
            self.request["learning_rate"] = 1e-4 if parameters < SMALL else 1e-5
            self.workspace.write("request", self.request)
        longest = self.base.max_frames or MAX_FRAMES
        schedule = Schedule(
            steps=steps,
            learning_rate=float(self.request["learning_rate"]),
            warm_up=max(1, min(50, steps // 10)),
            frames=int(self.request["frames"]),
            lengths=tuple(length for length in LENGTHS if length <= longest) or (longest,),
            save_every=max(1, min(50, steps // 4)),
        )
        return Trainer(
            dict(self.base.architecture),
            vocabulary_size=len(self.vocabulary),
            schedule=schedule,
            state=self.workspace.state,
            start=start,
            device=self.device,
            seed=int(self.request["seed"]),
        )

    def _weights(self) -> dict[str, torch.Tensor]:
        """Those of the model to begin with, as float32."""
        if self.base.seeded:
            return dict(seeded_transformer(dict(self.base.architecture), len(self.vocabulary)).state_dict())
        files = checkpoints.locate(self.registry.folder(self.base), self.base.checkpoint, self.base.vocabulary)
        weights = checkpoints.read_weights(files)
        return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}

    def _train(self, trainer: Trainer, learnt: list[Piece], clock: float) -> None:
        seed = int(self.request["seed"]) + trainer.step
        data: Windows | Utterances
        if self.base.spelling == "phonemes":
            data = Windows(seed=seed)
            data.add(piece.example() for piece in learnt)
        else:
            data = Utterances(learnt, seed=seed)
        known = self.speeds.of(self.base.name, self.device)
        around_s = known.around_s if known else (time.time() - self._began) / AROUND_SHARE
        first = trainer.step
        self._step_s = 0.0
        ends: list[float] = [clock]

        def report(progress: Progress) -> None:
            ends.append(time.monotonic())
            # The first step also prepares the kernels, and a neighbour may hold up any: the median is of the machine.
            lengths = sorted(b - a for a, b in itertools.pairwise(ends[1:])) or [ends[1] - ends[0]]
            self._step_s = lengths[len(lengths) // 2] if len(lengths) < 8 else (ends[-1] - ends[1]) / (len(ends) - 2)
            left = (progress.steps - progress.step) * self._step_s + around_s * (1 - AROUND_SHARE)
            done = around_s * AROUND_SHARE + progress.step * self._step_s
            self._tell(
                f"Step {progress.step} of {progress.steps}",
                min(99.0, 100 * done / (done + left)),
                step=progress.step,
                loss=progress.loss,
                seconds_left=left,
            )

        try:
            trainer.run(data, until=self._stopping, report=report)
        except FloatingPointError as error:
            raise DivergedError("The training has diverged; try again with a smaller learning rate.") from error
        if trainer.step < trainer.schedule.steps:
            raise StoppedError
        self._step_s = self._step_s if trainer.step > first else 0.0

    def _stopping(self) -> bool:
        """Told to, or nobody waits for it any more, or the service that began it has gone."""
        return self._told.is_set() or os.getppid() != self.parent or self.workspace.asked_s_ago() > self.idle_s

    def _check(self) -> None:
        if self._stopping():
            raise StoppedError

    def _tell(self, message: str, percent: float, *, step: int = 0, loss: float = math.nan, seconds_left: float | None = None) -> None:
        self.workspace.write(
            "progress",
            {
                "at": self._began,
                "message": message,
                "progress": round(percent, 2),
                "step": step,
                "steps": int(self.request["steps"]),
                "loss": None if math.isnan(loss) else round(loss, 5),
                "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            },
        )


def judged(before: Measures, after: Measures) -> tuple[bool, str | None]:
    """Whether a voice is no worse than the model it began with, and if it is, in what."""
    worse = []
    if not after.loss <= before.loss:
        worse.append("it predicts speech that it has not heard less well")
    if after.speaker_similarity < before.speaker_similarity - SIMILARITY_NOISE:
        worse.append("it sounds less like the recordings")
    return not worse, f"The trained voice is worse than the model as it was: {' and '.join(worse)}." if worse else None


def write_model(folder: Path, *, registry: Registry, base: ModelSpec, weights: dict[str, torch.Tensor], step: int) -> None:
    """A model folder of its own: half-precision weights, and what the base has beside them. It keeps the base's terms."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    save_file({name: value.cpu().contiguous() for name, value in half.items()}, folder / f"model_{step}.safetensors")
    origin = registry.folder(base)
    if base.seeded:
        from inference.upstream import base_vocabulary_file

        vocabulary = base_vocabulary_file()
    else:
        vocabulary = checkpoints.locate(origin, base.checkpoint, base.vocabulary).vocabulary
    (folder / "vocab.txt").write_bytes(vocabulary.read_bytes())
    if (origin / TIMING_FILE).is_file():
        (folder / TIMING_FILE).write_bytes((origin / TIMING_FILE).read_bytes())
    for file in sorted((origin / "vocoder").glob("*")) if (origin / "vocoder").is_dir() else ():
        (folder / "vocoder").mkdir(exist_ok=True)
        (folder / "vocoder" / file.name).write_bytes(file.read_bytes())
    values: dict[str, Any] = {
        **{"license": base.license, "commercial_use": base.commercial_use, "languages": list(base.languages), "speech": base.speech},
        **{"vocoder": base.vocoder, "spelling": base.spelling},
        **{name: value for name in ("max_frames", "max_reference_frames") if (value := getattr(base, name)) is not None},
    }
    # Strings, numbers, truths and lists of strings are the same in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines += ["", "[architecture]", *(f"{name} = {json.dumps(value)}" for name, value in base.architecture.items() if value is not None)]
    (folder / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.nice(NICENESS)
    sys.exit(main())
