"""``python -m inference.training``: make the bundled voice, step by step, below ``training/`` in the data folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inference.training import voice
from settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one step, or all of them in order."""
    parser = argparse.ArgumentParser(prog="python -m inference.training", description=voice.__doc__)
    parser.add_argument("step", choices=("corpus", "timing", "voice", "vocoder", "bundle", "evaluate", "all"))
    parser.add_argument("--utterances", type=int, default=20_000, help="of the corpus")
    parser.add_argument("--steps", type=int, default=8000, help="of the voice, in all")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop the voice's training after this, to go on another time")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 384, 640], help="of the windows, in frames")
    parser.add_argument("--size", choices=tuple(voice.SIZES), default="small", help="of the network; `larger` is meant for a GPU")
    parser.add_argument("--frames", type=int, default=2600, help="in one step of the voice; 60000 on a GPU")
    parser.add_argument("--vocoder-steps", type=int, default=8000)
    parser.add_argument("--vocoder-items", type=int, default=8, help="windows in one step of the vocoder; 64 on a GPU")
    parser.add_argument("--device", default="cpu", help="`cpu` or `cuda`")
    parser.add_argument("--folder", type=Path, default=voice.FOLDER, help="where the voice is written, and which one is evaluated")
    parser.add_argument("--sentences", type=int, default=200, help="of the evaluation")
    parser.add_argument("--nfe-step", type=int, default=16)
    parser.add_argument("--cfg-strength", type=float, default=2.0)
    given = parser.parse_args(arguments)
    work = Settings().data_dir / "training"
    work.mkdir(parents=True, exist_ok=True)
    steps = {
        "corpus": lambda: voice.make_corpus(work, given.utterances),
        "timing": lambda: voice.train_timing(work),
        "voice": lambda: voice.train(
            work,
            size=given.size,
            steps=given.steps,
            minutes=given.minutes,
            device=given.device,
            lengths=tuple(given.lengths),
            frames=given.frames,
        ),
        "vocoder": lambda: voice.train_vocoder(work, steps=given.vocoder_steps, device=given.device, items=given.vocoder_items),
        "bundle": lambda: voice.write_bundle(work, given.folder, size=given.size),
        "evaluate": lambda: voice.measure(work, given.folder, count=given.sentences, steps=given.nfe_step, cfg_strength=given.cfg_strength),
    }
    for name, step in steps.items():
        if given.step in (name, "all"):
            step()
    return 0


if __name__ == "__main__":
    sys.exit(main())
