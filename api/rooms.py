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
from api.clones.synthesis import DirectSpeech
from api.files.links import FileLinks
from api.files.service import FileService
from api.jobs.events import ProgressStreams
from api.jobs.service import JobService
from api.samples.pictures import SamplePictures
from api.samples.service import SampleService
from audio.decode import Limits
from settings import Settings
from store.models.job import CLONE_BUILD, SAMPLE_PROCESSING, SYNTHESIS
from store.stores import Stores
from worker.handlers.clone import CloneHandler
from worker.handlers.sample import SampleHandler
from worker.handlers.synthesis import SynthesisHandler
from worker.inference import InferenceClient
from worker.run import JobRunner
from worker.sweeper import Sweeper
from worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Rooms:
    """The services, and the embedded worker behind them."""

    samples: SampleService
    pictures: SamplePictures
    files: FileService
    clones: CloneService
    speech: DirectSpeech
    jobs: JobService
    streams: ProgressStreams
    inference: InferenceClient
    worker: Worker
    grace_s: float

    @classmethod
    def build(
        cls, settings: Settings, stores: Stores, channels: ChannelsPlugin, inference_transport: httpx.AsyncBaseTransport | None = None
    ) -> Rooms:
        limits = Limits(max_bytes=settings.max_upload_bytes, min_seconds=settings.min_sample_s, max_seconds=settings.max_sample_s)
        inference = InferenceClient(settings.inference, timeout_s=settings.inference_timeout_s, transport=inference_transport)
        streams = ProgressStreams(stores, channels)
        synthesis = SynthesisHandler(stores, inference, chunk_concurrency=settings.chunk_concurrency)
        runner = JobRunner(
            stores,
            {
                SYNTHESIS: synthesis,
                SAMPLE_PROCESSING: SampleHandler(stores, inference, limits),
                CLONE_BUILD: CloneHandler(stores, inference),
            },
            lease_s=settings.lease_s,
            max_attempts=settings.job_max_attempts,
            notify=streams.notify,
        )
        worker = Worker(
            runner,
            Sweeper(runner, orphan_grace_s=settings.orphan_grace_s),
            slots=settings.worker_slots,
            poll_s=settings.queue_poll_s,
            sweep_s=settings.sweep_s,
            orphan_sweep_s=settings.orphan_sweep_s,
        )
        clones = CloneService(stores, worker.ring)
        samples = SampleService(stores, limits, worker.ring, similarity_threshold=settings.similarity_threshold)
        return cls(
            samples=samples,
            pictures=SamplePictures(stores.objects, samples.slots),
            files=FileService(stores, FileLinks(signing_secret(settings), ttl_s=settings.file_link_ttl_s), streams.notify),
            clones=clones,
            speech=DirectSpeech(clones, runner, synthesis, settings.max_text_length),
            jobs=JobService(stores, max_text_length=settings.max_text_length, ring=worker.ring, notify=streams.notify),
            streams=streams,
            inference=inference,
            worker=worker,
            grace_s=settings.shutdown_grace_s,
        )

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
    names = ("samples", "pictures", "files", "clones", "speech", "jobs", "streams")
    return {name: Provide(_from_rooms(name), sync_to_thread=False) for name in names}


def _from_rooms(name: str) -> Any:
    def provide(state: State) -> Any:
        return getattr(state.rooms, name)

    return provide
