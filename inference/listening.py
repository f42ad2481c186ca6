"""The story of the endpoints that listen: bodies of the wire in, values of the wire out."""

from __future__ import annotations

import threading

import structlog

from inference import recognisers, wire
from inference.align import Chunk, align
from inference.align_ctc import CtcAligner
from inference.errors import InferenceError, ModelUnavailableError
from inference.loading import load_vocabulary
from inference.mel import SAMPLE_RATE
from inference.reference import prepare
from inference.registry import Registry, primary
from inference.synthesis import failure
from inference.text import TextError
from inference.transcribe import Transcriber

ALIGNER = "aligner"

log = structlog.get_logger()


class Listener:
    """Transcribes, aligns and prepares references with what lies in the models' folder. Safe to use from several threads.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, registry: Registry, *, device: str = "cpu") -> None:
        self.registry, self.device = registry, device
        self.transcriber = Transcriber(registry.models_dir, device=device, commercial_only=registry.commercial_only)
        self._aligners: dict[str, CtcAligner | None] = {}
        self._lock = threading.Lock()

    def aligner(self, language: str) -> CtcAligner | None:
        """The network that aligns a language, loaded on first use: one for it alone before the general one; None where neither is here."""
        with self._lock:
            for name in self._names(language):
                if name not in self._aligners:
                    self._aligners[name] = self._load(name)
                if self._aligners[name] is not None:
                    return self._aligners[name]
            return None

    def _names(self, language: str) -> list[str]:
        rows = recognisers.known()
        own = [name for name, row in rows.items() if name.startswith(f"{ALIGNER}-") and primary(language) in row.languages]
        return [
            name
            for name in [*own, ALIGNER]
            if recognisers.refusal(name, self.registry.models_dir, commercial_only=self.registry.commercial_only) is None
        ]

    def _load(self, name: str) -> CtcAligner | None:
        try:
            loaded = CtcAligner(self.registry.models_dir / name, device=self.device)
        except ModelUnavailableError as error:
            # Remembered: an estimate answers instead, and reading the files again would not mend them.
            log.exception("recogniser_failed", model=name, reason=error.message)
            return None
        log.info("recogniser_loaded", model=name, device=self.device)
        return loaded

    def transcribe(self, request: wire.TranscribeRequest) -> wire.TranscribeResult | wire.Failure:
        """``POST /transcribe``."""
        try:
            samples = wire.decode_pcm(request.audio, "audio")
            heard = self.transcriber.transcribe(samples, SAMPLE_RATE, request.language)
        except InferenceError as error:
            return failure(error)
        return wire.TranscribeResult(text=heard.text, language=heard.language, model=heard.model)

    def align(self, request: wire.AlignRequest) -> wire.AlignResult | wire.Failure:
        """``POST /align``."""
        chunks = [Chunk(c.start, c.end, c.start_s, c.end_s) for c in request.chunks] if request.chunks else None
        try:
            samples = wire.decode_pcm(request.audio, "audio")
            aligner = self.aligner(request.language)
            found = align(samples, SAMPLE_RATE, request.text, language=request.language, chunks=chunks, aligner=aligner)
        except (InferenceError, TextError) as error:
            return failure(error)
        words = [
            wire.WordValue(word=request.text[w.start : w.end], start=w.start, end=w.end, start_s=w.start_s, end_s=w.end_s, score=w.score)
            for w in found.words
        ]
        return wire.AlignResult(method=found.method, words=words)

    def reference(self, request: wire.ReferenceRequest) -> wire.ReferenceResult | wire.Failure:
        """``POST /reference``."""
        try:
            samples = wire.decode_pcm(request.audio, "audio")
            vocabulary = load_vocabulary(self.registry, self.registry.resolve(request.language).model)
            long = request.text is not None and len(samples) > request.limit_s * SAMPLE_RATE
            prepared = prepare(
                samples,
                request.text,
                language=request.language,
                limit_s=request.limit_s,
                vocabulary=vocabulary,
                transcribe=self.transcriber.transcribe if self.transcriber.refusal() is None else None,
                aligner=self.aligner(request.language) if long else None,
            )
        except (InferenceError, TextError) as error:
            return failure(error)
        return wire.ReferenceResult(
            audio=wire.encode_pcm(prepared.samples),
            text=prepared.text,
            seconds=prepared.seconds,
            cut=prepared.cut,
            transcribed=prepared.transcribed,
        )
