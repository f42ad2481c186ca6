"""What the rooms of the API work with: made once when the process starts, handed to the routes by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from litestar.channels import ChannelsPlugin
from litestar.datastructures import State
from litestar.di import Provide

from api.auth.tokens import signing_secret
from api.clones.service import CloneService
from api.clones.similar import VoiceSearch
from api.clones.synthesis import DirectSpeech
from api.files.links import FileLinks
from api.files.service import FileService
from api.jobs.events import ProgressStreams
from api.jobs.handover import Handover
from api.jobs.outlook import Outlook
from api.jobs.service import JobService
from api.jobs.timestamps import TimestampService
from api.library.capabilities import Capabilities
from api.library.info import VoiceInfoService
from api.library.previews import PreviewService
from api.library.service import LibraryService
from api.limits.quotas import Quotas
from api.samples.pictures import SamplePictures
from api.samples.service import SampleService
from api.samples.training import TrainingService
from api.webhooks.service import WebhookService
from audio.decode import Limits
from settings import Settings
from store.models.job import CLONE_BUILD, CLONE_QUALITY, PREVIEW, SAMPLE_PROCESSING, SYNTHESIS, TRAINING, TRAINING_REMOVAL, WEBHOOK_DELIVERY
from store.stores import Stores
from worker.addresses import Addresses
from worker.handlers.clone import CloneHandler
from worker.handlers.clone_quality import CloneQualityHandler
from worker.handlers.sample import SampleHandler
from worker.handlers.synthesis import SynthesisHandler
from worker.handlers.training import TrainingHandler, TrainingRemovalHandler
from worker.handlers.webhook import WebhookHandler
from worker.inference import InferenceClient
from worker.run import JobRunner
from worker.sweeper import Sweeper
from worker.training import TrainingClient
from worker.webhook_sender import WebhookSender
from worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Rooms:
    """The services, and the embedded worker behind them."""

    samples: SampleService
    trainings: TrainingService
    pictures: SamplePictures
    files: FileService
    clones: CloneService
    voice_search: VoiceSearch
    speech: DirectSpeech
    jobs: JobService
    handover: Handover
    timestamps: TimestampService
    streams: ProgressStreams
    library: LibraryService
    previews: PreviewService
    voice_info: VoiceInfoService
    webhooks: WebhookService
    sender: WebhookSender
    inference: InferenceClient
    worker: Worker
    grace_s: float

    @classmethod
    def build(
        cls,
        settings: Settings,
        stores: Stores,
        channels: ChannelsPlugin,
        quotas: Quotas,
        inference_transport: httpx.AsyncBaseTransport | None = None,
    ) -> Rooms:
        limits = Limits(max_bytes=settings.max_upload_bytes, min_seconds=settings.min_sample_s, max_seconds=settings.max_sample_s)
        inference = InferenceClient(settings.inference, timeout_s=settings.inference_timeout_s, transport=inference_transport)
        capabilities = Capabilities(inference)
        tunings = TrainingClient(inference)
        outlook = Outlook(stores.database, slots=settings.worker_slots)
        streams = ProgressStreams(stores, channels, outlook)
        synthesis = SynthesisHandler(
            stores,
            inference,
            chunk_concurrency=settings.chunk_concurrency,
            cache=settings.speech_cache,
            loudness_lufs=settings.loudness_lufs,
        )
        sender = WebhookSender(Addresses(allow_private=settings.webhook_allow_private), timeout_s=settings.webhook_timeout_s)
        webhook_key = (settings.webhook_key.get_secret_value() or signing_secret(settings)).encode()
        runner = JobRunner(
            stores,
            {
                SYNTHESIS: synthesis,
                PREVIEW: synthesis,
                SAMPLE_PROCESSING: SampleHandler(stores, inference, limits),
                CLONE_BUILD: CloneHandler(stores, inference),
                CLONE_QUALITY: CloneQualityHandler(stores, inference),
                TRAINING: TrainingHandler(stores, tunings),
                TRAINING_REMOVAL: TrainingRemovalHandler(stores, tunings),
                WEBHOOK_DELIVERY: WebhookHandler(
                    stores, sender, key=webhook_key, max_attempts=settings.webhook_max_attempts, retry_s=settings.webhook_retry_s
                ),
            },
            lease_s=settings.lease_s,
            max_attempts=settings.job_max_attempts,
            notify=streams.notify,
            storage_bytes=settings.storage_bytes,
        )
        worker = Worker(
            runner,
            Sweeper(runner, orphan_grace_s=settings.orphan_grace_s, delivery_keep_s=settings.webhook_keep_s),
            slots=settings.worker_slots,
            poll_s=settings.queue_poll_s,
            sweep_s=settings.sweep_s,
            orphan_sweep_s=settings.orphan_sweep_s,
            webhook_slots=settings.webhook_slots,
        )
        clones = CloneService(stores, quotas, worker.ring, require_consent=settings.require_consent)
        samples = SampleService(stores, quotas, limits, worker.ring, similarity_threshold=settings.similarity_threshold)
        jobs = JobService(stores, quotas, outlook, max_text_length=settings.max_text_length, ring=worker.ring, notify=streams.notify)
        return cls(
            samples=samples,
            trainings=TrainingService(
                stores, tunings, worker.ring, min_speech_s=settings.training_min_speech_s, max_trainings=settings.max_trainings
            ),
            pictures=SamplePictures(stores.objects, samples.slots),
            files=FileService(
                stores,
                FileLinks(signing_secret(settings), ttl_s=settings.file_link_ttl_s),
                streams.notify,
                presigned=settings.presigned_downloads,
            ),
            clones=clones,
            voice_search=VoiceSearch(stores, inference, limits, samples.slots, threshold=settings.similarity_threshold),
            speech=DirectSpeech(clones, quotas, runner, synthesis, settings.max_text_length, clone_wait_s=settings.clone_wait_s),
            jobs=jobs,
            handover=Handover(stores, quotas, lease_s=settings.service_lease_s, ring=worker.ring, notify=streams.notify),
            timestamps=TimestampService(jobs, inference),
            streams=streams,
            library=LibraryService(stores, capabilities, max_text_length=settings.max_text_length),
            previews=PreviewService(stores, capabilities, worker.ring),
            voice_info=VoiceInfoService(settings, capabilities),
            webhooks=WebhookService(stores.database, sender.addresses, key=webhook_key, max_webhooks=settings.max_webhooks),
            sender=sender,
            inference=inference,
            worker=worker,
            grace_s=settings.shutdown_grace_s,
        )

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed while the platform runs: all that :data:`api.admin.live.CHANGEABLE` names."""
        self.jobs.max_text_length = self.speech.max_text_length = self.library.max_text_length = settings.max_text_length
        self.samples.similarity_threshold = self.voice_search.threshold = settings.similarity_threshold
        self.files.links.ttl_s = settings.file_link_ttl_s
        self.clones.require_consent = settings.require_consent
        self.speech.handler.cache = settings.speech_cache
        self.voice_info.settings = settings
        self.worker.runner.storage_bytes = settings.storage_bytes

    async def start(self) -> None:
        await self.streams.start()
        self.worker.start()

    async def close(self) -> None:
        """Stop the work; what is not done goes back to the queue."""
        self.streams.end()
        await self.speech.stop()
        await self.worker.stop(self.grace_s)
        await self.streams.stop()
        await self.inference.close()
        await self.sender.close()

    async def check_queue(self) -> None:
        """Raises when the embedded worker has died."""
        if not self.worker.alive:
            raise RuntimeError("the embedded worker is not running")

    async def check_inference(self) -> None:
        """Raises when the inference service is not ready."""
        if not await self.inference.ready():
            raise RuntimeError("the inference service is not ready")


def dependencies() -> dict[str, Provide]:
    """Each service under the name that routes ask for it by."""
    names = (
        "samples",
        "trainings",
        "pictures",
        "files",
        "clones",
        "voice_search",
        "speech",
        "jobs",
        "handover",
        "timestamps",
        "streams",
        "library",
        "previews",
        "voice_info",
        "webhooks",
    )
    return {name: Provide(_from_rooms(name), sync_to_thread=False) for name in names}


def _from_rooms(name: str) -> Any:
    def provide(state: State) -> Any:
        return getattr(state.rooms, name)

    return provide
