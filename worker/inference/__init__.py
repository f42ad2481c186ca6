"""The client of the inference service. Its wire is described in docs/inference.md.

`client` says what can be asked, `wire` the bodies, `tier` what is asked again, `replicas` who is asked, `breaker` and `budget` when to
leave it.
"""

from worker.inference.client import InferenceClient
from worker.inference.wire import (
    HOP_LENGTH,
    SAMPLE_RATE,
    AlignedWord,
    Alignment,
    PlannedChunk,
    Reference,
    Sampling,
    SpeechPlan,
    TextSpan,
    UnsupportedCharacter,
    UnusableAnswerError,
)

__all__ = [
    "HOP_LENGTH",
    "SAMPLE_RATE",
    "AlignedWord",
    "Alignment",
    "InferenceClient",
    "PlannedChunk",
    "Reference",
    "Sampling",
    "SpeechPlan",
    "TextSpan",
    "UnsupportedCharacter",
    "UnusableAnswerError",
]
