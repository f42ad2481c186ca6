"""Voices that sound like a recording, or like a voice that is kept already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from api.body import RequestModel, without_null
from api.clones.synthesis import answer_of
from api.errors import ConflictError, PayloadTooLargeError, found
from api.fields import Upload
from audio.decode import Limits
from audio.decode_pool import Decoders
from audio.resample import resample
from audio.trim import trim
from store.models import Clone, Sample
from store.presets import embeddings, shipped
from store.repositories.clones import CloneRepository
from store.repositories.samples import SampleRepository
from store.stores import Stores
from store.vectors import unpack
from worker.errors import WorkError
from worker.inference import SAMPLE_RATE, InferenceClient
from worker.threads import in_thread

SPARE = 10  # what is kept is its own nearest neighbour, and the index may know voices that are gone

Threshold = Annotated[float, Field(ge=-1, le=1, description="cosine from which on a voice is similar; the operator's unless given")]
Most = Annotated[int, Field(ge=1, le=100)]


class SimilarTo(RequestModel):
    """`id` is that of a sample or a clone of yours, or of a preset."""

    id: Annotated[str, Field(max_length=64)]
    limit: Most = 10
    threshold: Threshold | None = None


class SimilarToFile(RequestModel):
    """The parts of the multipart form. The file is listened to and not kept."""

    model_config = ConfigDict(arbitrary_types_allowed=True, json_schema_extra=without_null())

    file: Upload
    limit: Most = 10
    threshold: Threshold | None = None


class SimilarVoice(msgspec.Struct, frozen=True, kw_only=True):
    """`similarity` is the cosine of the two voices, -1 to 1. A `preset` is everybody's; samples and clones are yours."""

    type: Literal["sample", "clone", "preset"]
    id: str
    name: str
    similarity: float


class SimilarVoices(msgspec.Struct, frozen=True, kw_only=True):
    """Samples and clones of yours and presets, each once, the most similar first, none below `threshold`."""

    voices: list[SimilarVoice]
    threshold: float
    limit: int


class VoiceSearch:
    """`slots` bounds how many recordings are decoded at once."""

    def __init__(
        self,
        stores: Stores,
        inference: InferenceClient,
        limits: Limits,
        decoders: Decoders,
        slots: asyncio.Semaphore,
        *,
        threshold: float,
    ) -> None:
        self.stores = stores
        self.inference = inference
        self.limits = limits
        self.decoders = decoders
        self.slots = slots
        self.threshold = threshold

    async def like(self, user_id: str, wanted: SimilarTo) -> SimilarVoices:
        """The voices like that of a sample, a clone or a preset, itself left out.

        Raises:
            NotFoundError: this person has none of that id.
            ConflictError: it has not been listened to yet, or never could be.
        """
        if shipped().get(wanted.id) is not None:
            voice_id = shipped().voice_id(wanted.id)
            return await self._nearest(user_id, embeddings()[voice_id], wanted, but=voice_id)
        async with self.stores.database.read() as session:
            samples, clones = SampleRepository(session), CloneRepository(session)
            if wanted.id.startswith("vc_"):
                found(await clones.owned(user_id, wanted.id), "clone")
                embedding = await clones.embedding(user_id, wanted.id)
            else:
                found(await samples.owned(user_id, wanted.id), "sample")
                embedding = await samples.embedding(user_id, wanted.id)
        if embedding is None:
            raise ConflictError("This voice has not been listened to; it must be ready first", code="VOICE_NOT_READY")
        return await self._nearest(user_id, unpack(embedding), wanted, but=wanted.id)

    async def like_file(self, user_id: str, form: SimilarToFile, request_id: str) -> SimilarVoices:
        """The voices like that in a recording, of which nothing is kept.

        Raises:
            PayloadTooLargeError, AudioError: as for a sample.
            UnavailableError: the inference service is not there.
        """
        content = await form.file.read(self.limits.max_bytes + 1)
        if len(content) > self.limits.max_bytes:
            raise PayloadTooLargeError(f"A recording may have at most {self.limits.max_bytes // 1024**2} MB")
        async with self.slots:
            voice = await in_thread(self._voice, content)
        try:
            embedding = await self.inference.embed(voice, request_id=request_id)
        except WorkError as failure:
            raise answer_of(failure) from failure
        return await self._nearest(user_id, np.asarray(embedding, np.float32), form)

    def _voice(self, content: bytes) -> NDArray[np.float32]:
        """What is listened to of a recording: the same as of a sample."""
        decoded = self.decoders.decode(content, self.limits)
        return trim(resample(decoded.mono, decoded.sample_rate, SAMPLE_RATE), SAMPLE_RATE)

    async def _nearest(
        self, user_id: str, embedding: NDArray[np.float32], wanted: SimilarTo | SimilarToFile, but: str | None = None
    ) -> SimilarVoices:
        threshold = self.threshold if wanted.threshold is None else wanted.threshold
        near = await self.stores.vectors.similar(user_id, embedding, wanted.limit + SPARE)
        alike = {each.id: each.similarity for each in near if each.id != but and each.similarity >= threshold}
        presets = {voice_id: float(voice @ embedding) for voice_id, voice in embeddings().items() if voice_id != but}
        async with self.stores.database.read() as session:
            # The rows say which there still are, whose, and what they are called.
            rows: Sequence[Sample | Clone] = [
                *await SampleRepository(session).owned_many(user_id, list(alike)),
                *await CloneRepository(session).owned_many(user_id, list(alike)),
            ]
        voices = [
            SimilarVoice(type="clone" if isinstance(row, Clone) else "sample", id=row.id, name=row.name, similarity=round(alike[row.id], 4))
            for row in rows
        ] + [
            SimilarVoice(type="preset", id=voice_id, name=shipped().by_id[voice_id].name, similarity=round(similarity, 4))
            for voice_id, similarity in presets.items()
            if similarity >= threshold
        ]
        voices.sort(key=lambda voice: -voice.similarity)
        return SimilarVoices(voices=voices[: wanted.limit], threshold=threshold, limit=wanted.limit)
