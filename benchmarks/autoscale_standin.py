"""The inference service with a network that only takes time: ``python -m benchmarks.autoscale_standin``, for `benchmarks.autoscale_live`.

Everything but the network is the real thing: HTTP, admission, BentoML's batches, one of which is under way at a time. In place of the
network it sleeps for as long as `autoscale_model` says that such a batch takes on a device of its own, and answers with a hum.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.autoscale_model import fitted
from inference import wire
from inference.mel import HOP_LENGTH, SAMPLE_RATE
from inference.serve import serve
from inference.synthesis import Synthesizer
from settings import Settings

MODEL = "stand-in"


def main() -> int:
    service = fitted()

    def synthesize(self: Synthesizer, items: Sequence[wire.SynthesisItem]) -> list[wire.SynthesisResult | wire.Failure]:  # noqa: ARG001
        samples = [max(1, item.frames - 1) * HOP_LENGTH for item in items]
        time.sleep(service.of([count / SAMPLE_RATE for count in samples]))
        # The client takes silence for a fault.
        hum = [wire.encode_pcm((0.1 * np.sin(np.arange(count) / 20)).astype(np.float32)) for count in samples]
        return [
            wire.SynthesisResult(audio=sound, frames=item.frames, model=MODEL, speech=False) for item, sound in zip(items, hum, strict=True)
        ]

    Synthesizer.synthesize = synthesize  # type: ignore[method-assign]
    return serve(Settings())


if __name__ == "__main__":
    sys.exit(main())
