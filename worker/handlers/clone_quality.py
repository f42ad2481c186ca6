"""How well a voice is cloned, measured on what it says: a sentence that is none of its reference, in a few takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from audio.pcm import pcm16_to_float
from store.clock import utcnow
from store.models import Clone, Job
from store.repositories.clones import CloneRepository
from store.stores import Stores
from worker.errors import AttemptFailedError, JobFailedError
from worker.handlers.base import Outcome, Report
from worker.handlers.synthesis import SILENCE_RMS
from worker.inference import SAMPLE_RATE, InferenceClient, Sampling
from worker.sentences import trial_sentence
from worker.speech import Finisher, Manner, chunks_in_order
from worker.voices import load_voice

SEEDS = (1, 2, 3)
PENDING = {"code": "QUALITY_PENDING", "message": "The voice is being measured"}

Vector = NDArray[np.float32]


class CloneQualityHandler:
    """The voice is ready meanwhile, and stays so whatever comes of this."""

    def __init__(self, stores: Stores, inference: InferenceClient) -> None:
        self.stores = stores
        self.inference = inference

    async def run(self, job: Job, report: Report) -> Outcome:
        async with self.stores.database.read() as session:
            clone = await CloneRepository(session).get(job.subject_id or "")
        if clone is None:
            raise JobFailedError("CLONE_NOT_FOUND", "The clone is gone")
        voice = await load_voice(self.stores, clone.user_id, clone.id)
        sentence = trial_sentence(clone.language, voice.reference.text)
        plan = await self.inference.plan(
            sentence,
            language=clone.language,
            reference=voice.reference,
            speed=clone.parameters.get("speed", 1.0),
            model=voice.model,
            request_id=job.request_id,
        )
        own = await self.inference.embed(pcm16_to_float(voice.reference.pcm), request_id=job.request_id)
        takes: list[Vector] = []
        for seed in SEEDS:
            sampling = Sampling(seed, clone.parameters.get("nfe_step"), clone.parameters.get("cfg_strength"))
            chunks = chunks_in_order(plan, voice.reference, sampling, self.inference, concurrency=1, request_id=job.request_id)
            sound = np.concatenate([block async for block in Finisher(Manner(SAMPLE_RATE)).blocks(chunks)])
            if float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) < SILENCE_RMS:
                raise AttemptFailedError("SYNTHESIS_FAILED", "The speech service sent silence")
            takes.append(np.asarray(await self.inference.embed(sound, request_id=job.request_id), np.float32))
            await report(100 * len(takes) / (len(SEEDS) + 1), f"Spoke {len(takes)} of {len(SEEDS)} takes")
        sample_quality = (clone.quality_metrics or {}).get("sample_quality")
        metrics = {
            **not_measured(sample_quality),
            **measured(np.asarray(own, np.float32), takes, sample_quality),
            "model": plan.model,
            "is_speech": plan.speech,
            "test_text": sentence,
        }

        async def also(session: AsyncSession) -> None:
            await session.execute(update(Clone).where(Clone.id == clone.id).values(quality_metrics=metrics))

        return Outcome(also=also)

    async def on_failure(self, session: AsyncSession, job: Job, code: str, message: str) -> None:
        """What was measured before stays; why there is nothing newer is said with it."""
        clone = await CloneRepository(session).get(job.subject_id or "")
        if clone is not None:
            clone.quality_metrics = {**(clone.quality_metrics or not_measured(None)), "reason": {"code": code, "message": message}}


def not_measured(sample_quality: float | None) -> dict[str, Any]:
    """The metrics of a voice that has not spoken yet.

    sample_quality: 0 to 1, of the recordings that it is made of.
    """
    return {
        "quality_score": None,
        "sample_quality": None if sample_quality is None else round(sample_quality, 4),
        "speaker_similarity": None,
        "stability": None,
        "similarities": [],
        "seeds": [],
        "model": None,
        "is_speech": None,
        "test_text": None,
        "measured_at": None,
        "reason": PENDING,
    }


def measured(own: Vector, takes: Sequence[Vector], sample_quality: float | None) -> dict[str, Any]:
    """What the takes of one sentence say of a voice.

    Args:
        own: the speaker embedding of the reference, unit length.
        takes: those of what was spoken from it, one for each seed, at least two.
        sample_quality: 0 to 1; None where it is not known.

    Returns:
        ``speaker_similarity``: the mean cosine of a take and the reference, -1 to 1; ``similarities``: each of them.
        ``stability``: the mean cosine of two takes, over all pairs, -1 to 1: how little the voice depends on the seed.
        ``quality_score``: the geometric mean of these two, negative ones counted as 0, and of the sample quality; 0 to 1.
    """
    similarities = [_cosine(own, take) for take in takes]
    similarity = float(np.mean(similarities))
    stability = float(np.mean([_cosine(one, other) for one, other in combinations(takes, 2)]))
    factors = [max(0.0, similarity), max(0.0, stability), *([] if sample_quality is None else [sample_quality])]
    return {
        "quality_score": round(float(np.prod(factors)) ** (1 / len(factors)), 4),
        "speaker_similarity": round(similarity, 4),
        "stability": round(stability, 4),
        "similarities": [round(each, 4) for each in similarities],
        "seeds": list(SEEDS),
        "measured_at": utcnow().isoformat(),
        "reason": None,
    }


def _cosine(one: Vector, other: Vector) -> float:
    return float(np.clip(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)), -1, 1))
