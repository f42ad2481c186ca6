"""What a sound depends on, in one short name."""

from __future__ import annotations

import hashlib
from dataclasses import astuple

import msgspec

from store.models import Job
from worker.inference import Reference, Sampling, SpeechPlan
from worker.speech import Manner

VERSION = 1
"""To be raised whenever the same request comes to sound different by what the code does: planning aside, which the key has in it."""


def cache_key(job: Job, plan: SpeechPlan, reference: Reference, sampling: Sampling, manner: Manner) -> str:
    """The same for two jobs whose sounds are the same, and only then.

    The voice is in it by its reference itself and not by its id, so that a clone that is made anew does not speak with its old sound; the
    model by its name and revision; the text as it came and as it was planned.
    """
    parts = [
        VERSION,
        job.text_hash,
        float(job.speed),
        plan,
        hashlib.sha256(reference.pcm).hexdigest(),
        reference.text,
        *_alike(sampling),
        *_alike(manner),
        job.output_format,
    ]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _alike(options: Sampling | Manner) -> list[float | None]:
    # SQLite gives back a 1 where a 1.0 was stored, though not always.
    return [None if value is None else float(value) for value in astuple(options)]
