"""The story of the tier: bodies of the wire in, values of the wire out. Knows models and sound, and nothing of HTTP."""

from __future__ import annotations

import math
import string
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from inference import batching, metrics, preparation, text, threads, wire
from inference.engine import SampleItem
from inference.errors import (
    DeadlineExceededError,
    InferenceError,
    InvalidItemError,
    LanguageUnavailableError,
    ModelUnavailableError,
    SynthesisFailedError,
)
from inference.loading import LoadedModel, choose_device, choose_dtype, load_vocabulary
from inference.mel import HOP_LENGTH, SAMPLE_RATE, Reference
from inference.pool import ModelPool
from inference.preparation import Prepared
from inference.reference_cache import ReferenceCache
from inference.registry import Registry
from settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Ready:
    """A prepared item, its place in the batch, and its model in memory."""

    index: int
    model: LoadedModel
    prepared: Prepared

    @property
    def sample(self) -> SampleItem:
        return self.prepared.sample

    @property
    def reference(self) -> Reference:
        return self.prepared.reference


def failure(error: InferenceError | text.TextError) -> wire.Failure:
    """The value of the wire for an error."""
    return wire.Failure(error=wire.ErrorValue(code=error.code, message=error.message, details=dict(error.details)))


class Synthesizer:
    """Plans, synthesises and describes with the models of a registry.

    ``synthesize`` may run in one thread at a time; everything else is free to run beside it.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: that models compute in: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        memory_mb: as for `ModelPool`.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        memory_mb: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry, self.device, self._clock = registry, device, clock
        self.pool = ModelPool(registry, device=device, dtype=choose_dtype(device, dtype), memory_mb=memory_mb)
        self.references = ReferenceCache()
        self._host = ThreadPoolExecutor(1, thread_name_prefix="preparing")

    def close(self) -> None:
        """Prepare nothing more."""
        self._host.shutdown(wait=False, cancel_futures=True)

    def warm_up_item(self) -> dict[str, Any]:
        """Body of a short item that the default model can speak."""
        spec = self.registry.usable(self.registry.default)
        vocabulary = load_vocabulary(self.registry, spec)
        letter = next(letter for letter in string.ascii_letters if letter in vocabulary)
        seconds = np.arange(SAMPLE_RATE // 2, dtype=np.float32) / SAMPLE_RATE
        hum = wire.encode_pcm(np.float32(0.3) * np.sin(np.float32(2 * np.pi * 120) * seconds))
        words = {"text": letter * 4, "reference_text": letter * 4, "model": spec.name}
        return words | {"reference_audio": hum, "frames": 32, "nfe_step": 5}

    def plan(self, request: wire.PlanRequest) -> wire.PlanResult | wire.Failure:
        """``POST /plan``: text to chunks, without weights."""
        try:
            return self._plan(request)
        except (InferenceError, text.TextError) as error:
            return failure(error)

    def _plan(self, request: wire.PlanRequest) -> wire.PlanResult:
        if not 0.5 <= request.speed <= 3:
            raise InvalidItemError("speed must be between 0.5 and 3.", {"field": "speed"})
        if not (math.isfinite(request.reference_seconds) and 0 < request.reference_seconds < 3600):
            raise InvalidItemError("reference_seconds must be positive.", {"field": "reference_seconds"})
        resolution = self.registry.resolve(request.language, request.model)
        vocabulary = load_vocabulary(self.registry, resolution.model)
        if request.on_unsupported == "error":
            unknown = vocabulary.unsupported(text.normalise(request.reference_text, request.language).text, request.language)
            if unknown:
                characters = [{"character": u.character, "position": u.position} for u in unknown]
                error = text.UnsupportedCharactersError(unknown)
                error.details = {"field": "reference_text", "characters": characters}
                raise error
        plan = text.plan(
            request.text,
            language=request.language,
            vocabulary=vocabulary,
            reference_text=request.reference_text,
            reference_frames=int(request.reference_seconds * SAMPLE_RATE) // HOP_LENGTH,
            speed=request.speed,
            first_chunk_short=request.first_chunk_short,
            on_unsupported=request.on_unsupported,
            max_frames=resolution.model.max_frames or text.MAX_FRAMES,
            max_reference_frames=resolution.model.max_reference_frames,
        )
        return wire.PlanResult(
            model=resolution.model.name,
            revision=self.registry.revision(resolution.model),
            language=resolution.language,
            support=resolution.support,
            speech=resolution.model.speech,
            chunks=[wire.ChunkValue(index=c.index, text=c.text, start=c.start, end=c.end, frames=c.frames) for c in plan.chunks],
            unsupported_characters=[wire.UnsupportedValue(character=u.character, position=u.position) for u in plan.unsupported],
        )

    def synthesize(self, items: Sequence[wire.SynthesisItem]) -> list[wire.SynthesisResult | wire.Failure]:
        """``POST /synthesize``: one value for each item, in order. An item that fails, fails alone."""
        results: list[wire.SynthesisResult | wire.Failure | None] = [None] * len(items)
        ready = []
        for index, item in enumerate(items):
            try:
                self._check_deadline(item)
                ready.append(self._prepare(index, item))
            except (InferenceError, text.TextError) as error:
                results[index] = failure(error)
            except Exception as error:  # noqa: BLE001 - whatever one item brings about, its neighbours must not pay for it
                results[index] = self._unforeseen(item, error)
        for group in batching.group(ready, lambda r: r.model.spec.name).values():
            try:
                self._speak(items, group, results)
            except Exception as error:  # noqa: BLE001 - a batch holds the items of many requests and of other models
                for r in group:
                    results[r.index] = results[r.index] or self._unforeseen(items[r.index], error)
        return [result if result is not None else failure(SynthesisFailedError("The item was not computed.")) for result in results]

    @staticmethod
    def _unforeseen(item: wire.SynthesisItem, error: Exception) -> wire.Failure:
        # The message of an unforeseen error may repeat the text; its type and place do not.
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("item_failed", request_id=item.request_id, error=type(error).__name__, file=place.filename, line=place.lineno)
        return failure(SynthesisFailedError("The sound could not be computed."))

    def _check_deadline(self, item: wire.SynthesisItem) -> None:
        if item.expired(self._clock()):
            raise DeadlineExceededError("The item waited longer than its timeout.", {"timeout_s": item.timeout_s})

    def begin(self, items: Sequence[wire.SynthesisItem]) -> None:
        """Prepare items in a thread of their own, while they wait for their batch and the one before is computed."""
        for item in items:
            item.preparation = self._host.submit(self._prepare_ahead, item)

    def _prepare_ahead(self, item: wire.SynthesisItem) -> Prepared:
        # No weights are loaded for one that only waits: they would push out those that are at work.
        preparation.check(item)
        spec = self.registry.resolve(item.language, item.model).model
        return preparation.prepare(item, spec, load_vocabulary(self.registry, spec), self.references)

    def _prepare(self, index: int, item: wire.SynthesisItem) -> Ready:
        begun, item.preparation = item.preparation, None
        preparation.check(item)
        model = self.pool.for_language(item.language, item.model)
        # One whose turn has not come is done here at once, and one that failed once more: so errors have one place.
        if begun is not None and not begun.cancel() and begun.exception() is None and begun.result().spec == model.spec:
            return Ready(index, model, begun.result())
        return Ready(index, model, preparation.prepare(item, model.spec, model.vocabulary, self.references))

    def _speak(self, items: Sequence[wire.SynthesisItem], group: Sequence[Ready], results: list[Any]) -> None:
        def unexpired(indices: list[int]) -> list[int]:
            wanted = []
            for i in indices:
                try:
                    self._check_deadline(items[group[i].index])
                    wanted.append(i)
                except DeadlineExceededError as error:
                    results[group[i].index] = failure(error)
            metrics.forward([group[i].sample.total_frames for i in wanted])
            return wanted

        model = group[0].model
        mels = model.sampler.sample([r.sample for r in group], before_batch=unexpired)
        spoken = []
        for ready, mel in zip(group, mels, strict=True):
            if isinstance(mel, Exception):
                self._failed(items[ready.index], results, ready, mel)
            elif mel is not None:
                spoken.append((ready, mel[ready.reference.frames :]))
        for (ready, mel), sound in zip(spoken, self._vocode(model, [mel for _, mel in spoken]), strict=True):
            if isinstance(sound, Exception):
                self._failed(items[ready.index], results, ready, sound)
                continue
            results[ready.index] = wire.SynthesisResult(
                audio=wire.encode_pcm(sound * ready.reference.gain), frames=mel.shape[0], model=model.spec.name, speech=model.spec.speech
            )

    @staticmethod
    def _vocode(model: LoadedModel, mels: list[Any]) -> list[Any]:
        """Sound of each, as numpy; the exception where one failed also alone."""
        try:
            sounds: list[Any] = list(model.vocoder.decode(mels))
        except RuntimeError:
            sounds = []
            for mel in mels:
                try:
                    sounds += model.vocoder.decode([mel])
                except RuntimeError as error:
                    sounds.append(error)
        arrays = [sound if isinstance(sound, Exception) else sound.numpy() for sound in sounds]
        return [a if isinstance(a, Exception) or bool((abs(a) < math.inf).all()) else ValueError("not finite") for a in arrays]

    @staticmethod
    def _failed(item: wire.SynthesisItem, results: list[Any], ready: Ready, error: Exception) -> None:
        log.error("synthesis_failed", request_id=item.request_id, error=type(error).__name__, exc_info=error)
        results[ready.index] = failure(SynthesisFailedError("The sound could not be computed."))

    def embed(self, request: wire.EmbedRequest) -> wire.EmbedResult | wire.Failure:
        """``POST /embed``."""
        from inference import speaker

        try:
            vector = speaker.embed(wire.decode_pcm(request.audio, "audio"), SAMPLE_RATE)
        except InferenceError as error:
            return failure(error)
        return wire.EmbedResult(embedding=[float(value) for value in vector])

    def models(self) -> wire.ModelsResult:
        """``GET /models``."""
        models = []
        for name, spec in self.registry.specs.items():
            reason = self.registry.refusal(name)
            models.append(
                wire.ModelValue(
                    name=name,
                    languages=list(spec.languages),
                    license=spec.license,
                    commercial_use=spec.commercial_use,
                    available=reason is None,
                    reason=reason,
                    speech=spec.speech,
                )
            )
        languages = []
        for code in self.registry.languages:
            try:
                found = self.registry.resolve(code)
            except (ModelUnavailableError, LanguageUnavailableError) as error:
                languages.append(wire.LanguageValue(code=code, level="unavailable", model=None, reason=error.message))
            else:
                languages.append(wire.LanguageValue(code=code, level=found.support, model=found.model.name, reason=found.reason))
        return wire.ModelsResult(default=self.registry.default, models=models, languages=languages)


def build(settings: Settings) -> Synthesizer:
    """The synthesizer that the settings ask for. Nothing is loaded yet."""
    device = choose_device(settings.device)
    log.info("threads", threads=threads.limit())
    registry = Registry(settings.models_dir, model=settings.model, commercial_only=settings.commercial_only, cuda=device.startswith("cuda"))
    return Synthesizer(registry, device=device, dtype=settings.dtype, memory_mb=settings.model_memory_mb)
