"""What the rooms of the API work with: made once when the process starts, handed to the routes by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from litestar.channels import ChannelsPlugin
from litestar.datastructures import State
from litestar.di import Provide

from api.auth.tokens import signing_secret
from api.bells import Bell, bell_of
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
from api.mail.transports import MailTransport
from api.samples.pictures import SamplePictures
from api.samples.service import SampleService
from api.samples.training import TrainingService
from api.webhooks.service import WebhookService
from api.workshop import Workshop
from audio.decode import Limits
from audio.decode_pool import Decoders
from settings import Settings
from store.stores import Stores
from worker.inference import InferenceClient
from worker.lanes import slots_of
from worker.metrics import WorkMetrics
from worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Rooms:
    """The services, and the work behind them."""

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
    shop: Workshop
    inference: InferenceClient
    worker: Worker
    bell: Bell
    grace_s: float

    @classmethod
    def build(
        cls,
        settings: Settings,
        stores: Stores,
        channels: ChannelsPlugin,
        quotas: Quotas,
        inference_transport: httpx.AsyncBaseTransport | None,
        decoders: Decoders,
        metrics: WorkMetrics,
        mail_transport: MailTransport | None = None,
    ) -> Rooms:
        limits = Limits(max_bytes=settings.max_upload_bytes, min_seconds=settings.min_sample_s, max_seconds=settings.max_sample_s)
        bounds = {"user_concurrency": settings.user_concurrency, "speech_concurrency": settings.speech_concurrency}
        streams = ProgressStreams(stores, channels, Outlook(stores.database, slots=settings.worker_slots, **bounds))
        shop = Workshop.build(
            settings,
            stores,
            decoders,
            notify=streams.notify,
            metrics=metrics,
            inference_transport=inference_transport,
            mail_transport=mail_transport,
        )
        inference, runner, outlook = shop.inference, shop.runner, streams.outlook
        capabilities = Capabilities(inference)
        worker = Worker(
            runner,
            shop.sweeper,
            lanes=slots_of(settings.worker_slots, settings.webhook_slots),
            poll_s=settings.queue_poll_s,
            sweep_s=settings.sweep_s,
            orphan_sweep_s=settings.orphan_sweep_s,
            claims=shop.claims,
        )
        bell = bell_of(settings, worker)
        clones = CloneService(stores, quotas, bell.ring, require_consent=settings.require_consent)
        samples = SampleService(stores, quotas, limits, decoders, bell.ring, similarity_threshold=settings.similarity_threshold)
        jobs = JobService(stores, quotas, outlook, max_text_length=settings.max_text_length, ring=bell.ring, notify=streams.notify)
        return cls(
            samples=samples,
            trainings=TrainingService(
                stores, shop.tunings, bell.ring, min_speech_s=settings.training_min_speech_s, max_trainings=settings.max_trainings
            ),
            pictures=SamplePictures(stores.objects, decoders, samples.slots),
            files=FileService(
                stores,
                FileLinks(signing_secret(settings), ttl_s=settings.file_link_ttl_s, previous=settings.previous_jwt_secrets),
                streams.notify,
                presigned=settings.presigned_downloads,
            ),
            clones=clones,
            voice_search=VoiceSearch(stores, inference, limits, decoders, samples.slots, threshold=settings.similarity_threshold),
            speech=DirectSpeech(clones, quotas, runner, shop.synthesis, settings.max_text_length, clone_wait_s=settings.clone_wait_s),
            jobs=jobs,
            handover=Handover(stores, quotas, lease_s=settings.service_lease_s, ring=bell.ring, notify=streams.notify),
            timestamps=TimestampService(jobs, inference),
            streams=streams,
            library=LibraryService(stores, capabilities, max_text_length=settings.max_text_length),
            previews=PreviewService(stores, capabilities, bell.ring),
            voice_info=VoiceInfoService(settings, capabilities),
            webhooks=WebhookService(stores.database, shop.sender.addresses, key=shop.webhook_keys[0], max_webhooks=settings.max_webhooks),
            shop=shop,
            inference=inference,
            worker=worker,
            bell=bell,
            grace_s=settings.shutdown_grace_s,
        )

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed while the platform runs: all that :data:`api.admin.live.CHANGEABLE` names."""
        self.jobs.max_text_length = self.speech.max_text_length = self.library.max_text_length = settings.max_text_length
        self.samples.similarity_threshold = self.voice_search.threshold = settings.similarity_threshold
        self.files.links.ttl_s = settings.file_link_ttl_s
        self.clones.require_consent = settings.require_consent
        self.voice_info.settings = settings
        outlook = self.streams.outlook
        outlook.user_concurrency, outlook.speech_concurrency = settings.user_concurrency, settings.speech_concurrency
        self.shop.apply(settings)

    async def start(self) -> None:
        await self.streams.start()
        self.bell.start()

    async def close(self) -> None:
        """Stop the work; what is not done goes back to the queue."""
        self.streams.end()
        await self.speech.stop()
        await self.bell.stop(self.grace_s)
        await self.streams.stop()
        await self.shop.close()

    async def check_queue(self) -> None:
        """Raises when the slots of this process have died. A broker that is away is no reason to send people away: see :mod:`api.bells`."""
        if not self.bell.alive:
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
