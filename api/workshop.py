"""All that does jobs, put together as the settings say: for the API's own slots, for `voxify worker` and for `voxify beat`."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from api.auth.tokens import signing_secret
from api.mail.handler import MailHandler
from api.mail.transports import MailTransport, transport
from audio.decode import Limits
from audio.decode_pool import Decoders
from settings import Settings
from store.models.job import (
    CLONE_BUILD,
    CLONE_QUALITY,
    MAIL,
    PREVIEW,
    SAMPLE_PROCESSING,
    SYNTHESIS,
    TRAINING,
    TRAINING_REMOVAL,
    WEBHOOK_DELIVERY,
)
from store.stores import Stores
from worker.addresses import Addresses
from worker.claims import Claims
from worker.handlers.clone import CloneHandler
from worker.handlers.clone_quality import CloneQualityHandler
from worker.handlers.sample import SampleHandler
from worker.handlers.synthesis import SynthesisHandler
from worker.handlers.training import TrainingHandler, TrainingRemovalHandler
from worker.handlers.webhook import WebhookHandler
from worker.inference import InferenceClient
from worker.lanes import SPEECH
from worker.metrics import WorkMetrics
from worker.run import JobRunner, Notify
from worker.sweeper import Sweeper
from worker.training import TrainingClient
from worker.webhook_sender import WebhookSender


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job needs to be claimed, done and cleaned up after. Made in the event loop that works with it."""

    inference: InferenceClient
    tunings: TrainingClient
    synthesis: SynthesisHandler
    sender: WebhookSender
    webhook_keys: tuple[bytes, ...]
    runner: JobRunner
    claims: Claims
    sweeper: Sweeper

    @classmethod
    def build(
        cls,
        settings: Settings,
        stores: Stores,
        decoders: Decoders,
        *,
        notify: Notify,
        metrics: WorkMetrics,
        inference_transport: httpx.AsyncBaseTransport | None = None,
        mail_transport: MailTransport | None = None,
    ) -> Workshop:
        """`notify` is told of every change of a job. The transports are what the settings say unless given."""
        limits = Limits(max_bytes=settings.max_upload_bytes, min_seconds=settings.min_sample_s, max_seconds=settings.max_sample_s)
        inference = InferenceClient(
            settings.inference,
            timeout_s=settings.inference_timeout_s,
            connections=settings.inference_connections,
            transport=inference_transport,
        )
        tunings = TrainingClient(inference)
        synthesis = SynthesisHandler(
            stores,
            inference,
            chunk_concurrency=settings.chunk_concurrency,
            cache=settings.speech_cache,
            loudness_lufs=settings.loudness_lufs,
            metrics=metrics,
        )
        sender = WebhookSender(Addresses(allow_private=settings.webhook_allow_private), timeout_s=settings.webhook_timeout_s)
        webhook_keys = webhook_keys_of(settings)
        runner = JobRunner(
            stores,
            {
                SYNTHESIS: synthesis,
                PREVIEW: synthesis,
                SAMPLE_PROCESSING: SampleHandler(stores, inference, limits, decoders),
                CLONE_BUILD: CloneHandler(stores, inference),
                CLONE_QUALITY: CloneQualityHandler(stores, inference),
                TRAINING: TrainingHandler(stores, tunings),
                TRAINING_REMOVAL: TrainingRemovalHandler(stores, tunings),
                WEBHOOK_DELIVERY: WebhookHandler(
                    stores,
                    sender,
                    key=webhook_keys[0],
                    previous=webhook_keys[1:],
                    max_attempts=settings.webhook_max_attempts,
                    retry_s=settings.webhook_retry_s,
                ),
                MAIL: MailHandler(stores.database, settings, mail_transport or transport(settings)),
            },
            lease_s=settings.lease_s,
            max_attempts=settings.job_max_attempts,
            notify=notify,
            storage_bytes=settings.storage_bytes,
            metrics=metrics,
        )
        return cls(
            inference=inference,
            tunings=tunings,
            synthesis=synthesis,
            sender=sender,
            webhook_keys=webhook_keys,
            runner=runner,
            claims=Claims(runner, user_concurrency=settings.user_concurrency, lane_concurrency={SPEECH: settings.speech_concurrency}),
            sweeper=Sweeper(
                runner,
                orphan_grace_s=settings.orphan_grace_s,
                delivery_keep_s=settings.webhook_keep_s,
                job_keep_days=settings.job_keep_days,
                longest_lease_s=max(settings.lease_s, settings.service_lease_s),
            ),
        )

    def apply(self, settings: Settings) -> None:
        """Take over settings that have changed while the platform runs."""
        self.synthesis.cache = settings.speech_cache
        self.runner.storage_bytes = settings.storage_bytes
        self.claims.user_concurrency = settings.user_concurrency
        self.claims.lane_concurrency = {SPEECH: settings.speech_concurrency}
        self.sweeper.job_keep_days = settings.job_keep_days

    async def close(self) -> None:
        await self.inference.close()
        await self.sender.close()


def webhook_keys_of(settings: Settings) -> tuple[bytes, ...]:
    """What makes the secrets of new webhooks, and after it what may have made those of the webhooks that are there.

    Raises:
        SecretMissingError: there is no secret at all.
    """
    own, jwt_secret = settings.webhook_key.get_secret_value(), settings.jwt_secret.get_secret_value()
    # A platform that has a key of its own only now has webhooks that the JWT secret made.
    earlier = (*settings.previous_webhook_keys, jwt_secret, *settings.previous_jwt_secrets)
    return tuple(key.encode() for key in dict.fromkeys((own or signing_secret(settings), *earlier)) if key)
