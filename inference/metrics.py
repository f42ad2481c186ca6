"""What the service counts about its work, beside what BentoML counts about requests. Answered at `/metrics` by BentoML.

In the default registry, which BentoML gathers over its processes. Labels are codes of this tier alone: no language, text or voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from inference import batching
from inference.mel import HOP_LENGTH, SAMPLE_RATE

if TYPE_CHECKING:
    from inference import wire

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

batch_items = Histogram("voxify_inference_batch_items", "Chunks that were computed together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
batch_seconds = Histogram("voxify_inference_batch_seconds", "From the start of a batch to its sound", buckets=_SECONDS)
wait_seconds = Histogram("voxify_inference_wait_seconds", "From the arrival of a chunk to the start of its batch", buckets=_SECONDS)
padding_ratio = Histogram(
    "voxify_inference_padding_ratio", "Share of a forward pass that was padding", buckets=(0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)
)
real_time_factor = Histogram(
    "voxify_inference_real_time_factor",
    "Seconds that a batch took for a second of its sound",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
sound_seconds = Counter("voxify_inference_sound_seconds", "Seconds of sound made")
items = Counter("voxify_inference_items", "Chunks answered, `ok` or with the code of their failure", ["end"])
in_flight = Gauge("voxify_inference_in_flight", "Requests for sound that wait or run", multiprocess_mode="livesum")
refused = Counter("voxify_inference_refused", "Requests for sound that were refused because too many waited")

items.labels("ok")


def forward(lengths: Sequence[int]) -> None:
    """One forward pass of items of these lengths in frames is about to run."""
    padded = batching.padded_frames(lengths)
    if padded:
        padding_ratio.observe(1 - sum(lengths) / padded)


def batch(
    asked: Sequence[wire.SynthesisItem], results: Sequence[wire.SynthesisResult | wire.Failure], *, began: float, ended: float
) -> None:
    """A batch is done; `began` and `ended` are times of the monotonic clock in seconds."""
    batch_items.observe(len(asked))
    batch_seconds.observe(ended - began)
    for item in asked:
        wait_seconds.observe(max(0.0, began - item.arrived))
    sound = 0.0
    for result in results:
        items.labels("ok" if result.ok else result.error.code).inc()
        if result.ok:
            sound += (result.frames - 1) * HOP_LENGTH / SAMPLE_RATE
    sound_seconds.inc(sound)
    if sound:
        real_time_factor.observe((ended - began) / sound)
