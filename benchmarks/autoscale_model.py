"""How long an inference replica computes for a batch: fitted to what `benchmarks.inference` has measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MEASURED = RESULTS / "inference-amd-epyc-small-16-bfloat16.json"
MEASURED_CHUNK_S = 4.0
"""Mean length of the chunks of that benchmark, of about 3, 6, 1 and 6 seconds (`benchmarks.workload`)."""


@dataclass(frozen=True)
class ServiceTime:
    """Seconds of device for a batch: `a_batch_s + a_second_s * seconds of sound in it`.

    Attributes:
        a_batch_s: what a batch costs whatever is in it.
        a_second_s: seconds of device for a second of sound; its inverse is the throughput of a full replica.
        source: where the numbers come from.
    """

    a_batch_s: float
    a_second_s: float
    source: str

    def of(self, sound_s: Sequence[float]) -> float:
        """Seconds of device for a batch of chunks of these lengths in seconds."""
        return self.a_batch_s + self.a_second_s * sum(sound_s)

    def faster(self, factor: float) -> ServiceTime:
        """A device that is so many times as fast: an assumption, and named as such."""
        if factor == 1:
            return self
        return ServiceTime(self.a_batch_s / factor, self.a_second_s / factor, f"{self.source}, assumed to be {factor:g} times as fast")


def fitted(path: Path = MEASURED) -> ServiceTime:
    """The two coefficients from two points of a result of `benchmarks.inference`: one client, and the most that were measured.

    With one client each chunk is a batch; with n, each batch holds n chunks.

    Raises:
        ValueError: the result lacks one of them, or more clients were no faster than one.
    """
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["concurrency"]: row["audio_s_per_s"] for row in measured["rows"] if row["contender"] == "voxify"}
    clients = max(rows, default=0)
    if 1 not in rows or clients <= 1:
        raise ValueError(f"{path.name} holds no measurement with one client and with more")
    alone = MEASURED_CHUNK_S / rows[1]
    together = clients * MEASURED_CHUNK_S / rows[clients]
    a_second = (together - alone) / (MEASURED_CHUNK_S * (clients - 1))
    a_batch = alone - a_second * MEASURED_CHUNK_S
    if a_batch < 0 or a_second <= 0:
        raise ValueError(f"{path.name}: more clients were slower than one")
    source = f"{path.name}: {measured['architecture']} in {measured['type']} on {measured['device']}, {measured['steps']} steps"
    return ServiceTime(a_batch, a_second, source)
