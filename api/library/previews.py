"""Previews of voices: a fixed sentence, spoken once by a job like any other and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from sqlalchemy.exc import IntegrityError

from api.errors import NotFoundError, UnavailableError
from api.jobs.making import synthesis_job
from api.library.capabilities import Capabilities, support
from api.library.voices import one_voice, preview_of
from store.clock import utcnow
from store.models import Clone, Job, VoicePreview
from store.models.job import COMPLETED, FINAL, PREVIEW
from store.objects import ObjectNotFoundError
from store.presets import Preset, shipped
from store.repositories.clones import CloneRepository
from store.repositories.library import PreviewRepository
from store.stores import Stores
from worker.inference import SAMPLE_RATE

RETRY_FAILED_S = 60.0  # how long the failure of a preview is answered before another is tried
SEED = 0  # the same voice says its sentence the same way


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview that is there, or in the making. `text` is in `language`."""

    job: Job
    text: str
    language: str

    @property
    def ready(self) -> bool:
        return self.job.status == COMPLETED


class PreviewService:
    def __init__(self, stores: Stores, capabilities: Capabilities, ring: Callable[[], None]) -> None:
        self.stores = stores
        self.capabilities = capabilities
        self.ring = ring

    async def get(self, user_id: str, voice_model_id: str, request_id: str) -> Preview:
        """The preview of a voice. It is begun when there is none, or none of the voice as it is now; nobody waits for it here.

        Raises:
            NotFoundError, ConflictError: there is no such voice, or it cannot speak yet.
            UnavailableError: it could not be made a moment ago.
        """
        models = await self.capabilities.models()
        async with self.stores.database.read() as session:
            asked = await one_voice(CloneRepository(session), user_id, voice_model_id)
            # The person's own name for a preset makes no preview of its own.
            voice = shipped().get(shipped().voice_id(asked.id)) or asked
            found = await PreviewRepository(session).of(voice.id)
        text, language = preview_of(voice.language)
        wanted = VoicePreview(
            voice_id=voice.id,
            clone_id=voice.id if isinstance(voice, Clone) else None,
            fingerprint=fingerprint(voice, text),
            model=support(models, language).model,
        )
        if found is not None and await self._good(*found, wanted):
            return Preview(found[1], text, language)
        job = await self._begin(user_id, voice, wanted, text, language, instead_of=found[1] if found else None, request_id=request_id)
        return Preview(job, text, language)

    async def _good(self, preview: VoicePreview, job: Job, wanted: VoicePreview) -> bool:
        """Whether the preview is that of the voice as it is now, made or in the making. Raises UnavailableError when it has just failed."""
        if preview.fingerprint != wanted.fingerprint:
            return False
        # Another model has come to speak the language. What is not known, then or now, is no reason.
        if preview.model is not None and wanted.model is not None and preview.model != wanted.model:
            return False
        if job.status not in FINAL:
            return True
        if job.status == COMPLETED:
            return job.output_path is not None and await self._stored(job.output_path)
        wait = timedelta(seconds=RETRY_FAILED_S) - (utcnow() - (job.completed_at or job.created_at))
        if wait <= timedelta():
            return False
        raise UnavailableError(
            f"The preview could not be made: {job.error_message or job.status}", code="PREVIEW_FAILED", retry_after=wait.total_seconds()
        )

    async def _stored(self, key: str) -> bool:
        try:
            await self.stores.objects.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    async def _begin(
        self,
        user_id: str,
        voice: Preset | Clone,
        wanted: VoicePreview,
        text: str,
        language: str,
        *,
        instead_of: Job | None,
        request_id: str,
    ) -> Job:
        """The job that makes the preview: a new one, or that of whoever was first of two who asked at once."""
        job = synthesis_job(
            user_id,
            voice,
            text=text,
            language=language,
            speed=None,
            pitch=1.0,
            volume=1.0,
            output_format="wav",
            sample_rate=SAMPLE_RATE,
            config={"seed": SEED},
            request_id=request_id,
        )
        # With the clone as its subject it goes when the clone goes.
        job.kind, job.subject_id = PREVIEW, voice.id
        try:
            async with self.stores.database.write() as session:
                first = await PreviewRepository(session).begin(wanted, job, instead_of=instead_of.id if instead_of else None)
        except IntegrityError:
            # The clone, or the person, went at the same time.
            raise NotFoundError("voice model") from None
        if not first:
            return await self._theirs(voice.id)
        if instead_of is not None:
            await self.stores.objects.delete_or_leave(instead_of.output_path)
        self.ring()
        return job

    async def _theirs(self, voice_id: str) -> Job:
        async with self.stores.database.read() as session:
            found = await PreviewRepository(session).of(voice_id)
        if found is None:
            raise NotFoundError("voice model")
        return found[1]


def fingerprint(voice: Preset | Clone, text: str) -> str:
    """What a preview is made of, so that another reference, language, manner or sentence makes another one."""
    if isinstance(voice, Preset):
        spoken_from: tuple[str | None, ...] = (voice.recording, voice.text)
    else:
        spoken_from = (voice.reference_path, voice.reference_text, *([voice.training_job_id] if voice.training_job_id else []))
    made_of = [*spoken_from, voice.language, sorted(voice.parameters.items()), text]
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()
