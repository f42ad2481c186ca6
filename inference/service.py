"""The HTTP surface of the inference tier, on BentoML. ``docs/inference.md`` describes it; ``synthesis`` does the work."""

# BentoML reads the types of its endpoints at runtime, so that this module does without postponed annotations.
import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, Union

# Read when bentoml sends its first event; only the word True counts.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml
import structlog
from pydantic import model_validator

import tracing
from inference import device, dispatch, http, logs, metrics, threads, warmup
from inference.admission import Admission
from inference.errors import ModelUnavailableError
from inference.tuned import model_name
from inference.tuning import Tunings
from inference.tuning_http import TuningPages
from inference.wire import (
    AlignRequest,
    AlignResult,
    EmbedRequest,
    EmbedResult,
    Failure,
    PlanRequest,
    PlanResult,
    ReferenceRequest,
    ReferenceResult,
    SynthesisItem,
    SynthesisRequest,
    SynthesisResult,
    TranscribeRequest,
    TranscribeResult,
)
from settings import Settings

if TYPE_CHECKING:
    from inference.listening import Listener
    from inference.synthesis import Synthesizer

# Before the first import of torch, which is why nothing above brings it along.
threads.configure_openmp()
dispatch.install()
settings = Settings()
log = structlog.get_logger()

LISTENING_THREADS = 2
"""Requests that are transcribed, aligned or made references at once; the others wait."""


def _batch_size() -> int:
    if settings.max_batch_size:
        return max(2, settings.max_batch_size)  # of one the dispatcher makes nothing
    with warmup.uncollected():
        from inference.loading import batch_size, choose_device
    return batch_size(choose_device(settings.device), threads.physical_cores())


class ArrivingRequest(SynthesisRequest):
    """Its items are prepared from the moment that they have been read: the dispatcher hands them over one batch after another."""

    @model_validator(mode="after")
    def _begin(self) -> Self:
        built = _serving[0]._synthesizer if _serving else None
        if built is not None:
            built.begin(self.items)
        return self


@bentoml.service(
    name="voxify_inference",
    workers=1,
    # One thread computes the batch; the others keep /plan, /embed and /models from waiting behind it.
    threads=4,
    traffic={"timeout": settings.inference_timeout_s},
    logging={"access": {"enabled": False}},
    metrics={"enabled": True},
)
class Inference:
    """Text to chunks, chunks to sound, sound to speaker embeddings."""

    def __init__(self) -> None:
        logs.configure(settings.log_level, settings.log_format)
        headers = settings.otlp_headers.get_secret_value()
        tracing.start(settings.otlp_endpoint, "voxify-inference", headers=headers, ratio=settings.trace_ratio)
        self._synthesizer: Synthesizer | None = None
        self._built = threading.Lock()
        self._listener: Listener | None = None
        # A minute of listening must not take the threads that plan and synthesise.
        self._listening = ThreadPoolExecutor(LISTENING_THREADS, thread_name_prefix="listening")
        self._ready = False
        self._starting: asyncio.Task[None] | None = None
        self._unloading: asyncio.Task[None] | None = None
        _serving.append(self)

    @bentoml.on_startup
    async def start(self) -> None:
        """Load and warm up beside the running server, so that /livez answers during a long download."""
        self._starting = asyncio.create_task(self._start())
        self._starting.add_done_callback(_report)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        self._ready = False
        _serving.clear()
        await asyncio.to_thread(_tunings.stop)
        for task in (self._starting, self._unloading):
            if task is not None:
                task.cancel()
        self._listening.shutdown(wait=False, cancel_futures=True)
        if self._synthesizer is not None:
            self._synthesizer.close()
        await asyncio.to_thread(tracing.stop)

    async def _start(self) -> None:
        try:
            synthesizer = await asyncio.to_thread(self._get)
            await asyncio.to_thread(synthesizer.pool.start)
        except ModelUnavailableError as error:
            log.exception("not_ready", reason=error.message)
            return
        await warmup.warm_up(self, synthesizer.warm_up_item())
        self._ready = True
        if settings.model_idle_s:
            self._unloading = asyncio.create_task(self._unload_idle(synthesizer))
        log.info("ready", model=synthesizer.registry.default, device=synthesizer.device)

    async def _unload_idle(self, synthesizer: "Synthesizer") -> None:
        """Look as often as an idle model may stay too long by a quarter."""
        while True:
            await asyncio.sleep(settings.model_idle_s / 4)
            await asyncio.to_thread(synthesizer.pool.unload_idle, settings.model_idle_s)

    def _get(self) -> "Synthesizer":
        """The synthesizer, made on first use: it imports torch."""
        with self._built:
            if self._synthesizer is None:
                with warmup.uncollected():
                    from inference import upstream
                    from inference.synthesis import build

                    upstream.load()
                self._synthesizer = build(settings)
            return self._synthesizer

    def _listen(self) -> "Listener":
        """The listener, made on first use. Its networks are loaded when they are first asked for."""
        synthesizer = self._get()
        with self._built:
            if self._listener is None:
                from inference.listening import Listener

                self._listener = Listener(synthesizer.registry, device=synthesizer.device)
            return self._listener

    async def _hear(self, work: Callable[["Listener"], Any]) -> Any:
        """Run ``work`` in a thread of those that listen, with the log context of the request."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._listening, lambda: context.run(lambda: work(self._listen())))

    async def __is_ready__(self) -> bool:
        return self._ready

    @bentoml.api(
        batchable=True,
        max_batch_size=_batch_size(),
        max_latency_ms=settings.max_batch_wait_ms,
        input_spec=ArrivingRequest,
    )
    def synthesize(self, items: list[SynthesisItem]) -> list[Union[SynthesisResult, Failure]]:  # noqa: UP007 - BentoML resolves it
        """Sound of chunks, or an error for each that failed."""
        # The context is that of the first request ever served: the ids of this batch are those of its items.
        structlog.contextvars.clear_contextvars()
        began, clock, processor = tracing.now_ns(), time.monotonic(), time.process_time()
        results = self._get().synthesize(items)
        ended = time.monotonic()
        spent = {"seconds": ended - clock, "processor_seconds": time.process_time() - processor}
        log.info("batch", items=len(items), **{name: round(seconds, 4) for name, seconds in spent.items()})
        metrics.batch(items, results, began=clock, ended=ended)
        members = [item.traceparent for item in items]
        for member in filter(None, members):
            # One in the trace of each request, so that whoever reads that trace sees the batch.
            others = [other for other in members if other != member]
            tracing.record("batch", began, attributes={"voxify.items": len(items)}, parent=member, links=others)
        return results

    # BentoML cannot describe a union in its OpenAPI document: it names the success, and a Failure goes over the wire as it is.
    @bentoml.api(output_spec=PlanResult)
    def plan(self, request: PlanRequest, /) -> Union[PlanResult, Failure]:  # noqa: UP007
        """Chunks of a text with their predicted length."""
        return self._get().plan(request)

    @bentoml.api(output_spec=EmbedResult)
    def embed(self, request: EmbedRequest, /) -> Union[EmbedResult, Failure]:  # noqa: UP007
        """Speaker embedding of a recording."""
        return self._get().embed(request)

    @bentoml.api(output_spec=TranscribeResult)
    async def transcribe(self, request: TranscribeRequest, /) -> Union[TranscribeResult, Failure]:  # noqa: UP007
        """What is said in a recording."""
        return await self._hear(lambda listener: listener.transcribe(request))

    @bentoml.api(output_spec=AlignResult)
    async def align(self, request: AlignRequest, /) -> Union[AlignResult, Failure]:  # noqa: UP007
        """When each word of a text is said in a sound."""
        return await self._hear(lambda listener: listener.align(request))

    @bentoml.api(output_spec=ReferenceResult)
    async def reference(self, request: ReferenceRequest, /) -> Union[ReferenceResult, Failure]:  # noqa: UP007
        """A recording and its text, made fit to be a reference."""
        return await self._hear(lambda listener: listener.reference(request))


def _report(task: asyncio.Task[None]) -> None:
    """Say why the start failed: nobody awaits it, and an exception would vanish with the task."""
    if not task.cancelled() and task.exception() is not None:
        log.error("not_ready", reason="the start failed", exc_info=task.exception())


_serving: list["Inference"] = []
"""The instance of this process: a mounted application has no other way to it."""


def _models() -> object:
    built = _serving[0]._synthesizer if _serving else None
    return built.models() if built is not None else None


def _device() -> object:
    built = _serving[0]._synthesizer if _serving else None
    return device.describe(built.device, str(built.pool.dtype).removeprefix("torch.")) if built is not None else None


def _trainable() -> Any:
    built = _serving[0]._synthesizer if _serving and _serving[0]._ready else None
    return (built.registry, built.device) if built is not None else None


def _forget(training_id: str) -> None:
    built = _serving[0]._synthesizer if _serving else None
    if built is not None:
        built.pool.unload(model_name(training_id))


# What is let in has to be done within the timeout, and the pace of the last answers is a guess at that of the next.
_PATIENCE_S = settings.inference_timeout_s / 4

_tunings = Tunings(settings.models_dir, steps=settings.training_steps, max_steps=settings.training_max_steps, forget=_forget)
_service: Any = Inference  # the decorator returns a bentoml.Service, which its annotations do not say
_service.mount_asgi_app(http.pages(_models, _device, TuningPages(_tunings, _trainable).routes()))
_service.add_asgi_middleware(http.RequestMiddleware, admission=Admission(settings.max_in_flight, patience_s=_PATIENCE_S))
