"""Speech to text by Whisper (Radford et al., arXiv:2212.04356) through transformers, where its weights are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import structlog
from numpy.typing import NDArray

from audio.activity import active_spans, frame_levels, frame_sizes
from inference import recognisers
from inference.errors import InferenceError, LanguageUnavailableError, ModelUnavailableError
from inference.recognisers import LISTEN_RATE
from inference.registry import primary

WHISPER = "whisper"
MAX_SECONDS = 60.0

# Whisper's names where they are not the language's subtag.
_CODES = {"nb": "no", "jv": "jw", "fil": "tl", "iw": "he", "cmn": "zh"}
_TOKENS_PER_SECOND = 24
"""Scripts that Whisper spells in bytes take some 20 tokens for a second of speech; more is a loop."""

_MIN_TOKENS = 16

log = structlog.get_logger()


class TranscriptionUnavailableError(InferenceError):
    """There is no recogniser here; the message says how to get one."""

    code = "TRANSCRIPTION_UNAVAILABLE"


class AudioTooLongError(InferenceError):
    """More sound than is listened to in one request. ``details``: ``limit_s``."""

    code = "AUDIO_TOO_LONG"


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard. ``language`` is the one that was asked for, or the detected one's subtag; ``text`` is empty without speech."""

    text: str
    language: str
    model: str


def windows(samples: NDArray[np.float32], rate: int, limit_s: float) -> list[tuple[int, int]]:
    """Part a sound into stretches of at most ``limit_s`` seconds, as few as can be, where it is quietest.

    Returns (start, end) in samples, which follow on one another and cover the whole. A cut lies in the longest silence of the second half
    of what a stretch may hold, or else in its quietest frame.
    """
    limit = int(limit_s * rate)
    out: list[tuple[int, int]] = []
    start = 0
    while len(samples) - start > limit:
        # Not so early that what is left would take one stretch more than it must.
        left = len(samples) - start
        earliest = max(limit // 2, left - (-(-left // limit) - 1) * limit)
        cut = start + earliest + _quietest(samples[start + earliest : start + limit], rate)
        out.append((start, cut))
        start = cut
    return [*out, (start, len(samples))]


def _quietest(samples: NDArray[np.float32], rate: int) -> int:
    """Middle of the longest silence in samples; of the quietest frame where there is none."""
    spans = active_spans(samples, rate, closure_s=0.0)
    edges = [0, *(at for span in spans for at in span), len(samples)]
    gaps = [(after - before, (before + after) // 2) for before, after in zip(edges[::2], edges[1::2], strict=True)]
    longest, middle = max(gaps)
    if longest > 0.1 * rate or not len(samples):
        return middle
    frame, hop = frame_sizes(rate)
    return min(len(samples), int(frame_levels(samples, rate).argmin()) * hop + frame // 2)


def join(texts: Sequence[str]) -> str:
    """Texts of stretches in order as one, with a space between unless they meet in a script without."""
    out = ""
    for text in (text.strip() for text in texts):
        wide = out and text and "\u3000" <= out[-1] <= "\u9fff" and "\u3000" <= text[0] <= "\u9fff"
        out += text if not out or not text or wide else f" {text}"
    return out


class Transcriber:
    """Whisper, loaded on first use and once. Safe to use from several threads; it hears one sound at a time.

    Args:
        models_dir: the weights lie in its folder ``whisper``, in the hub's layout.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        commercial_only: refuse weights whose licence forbids commercial use.
    """

    def __init__(self, models_dir: Path, *, device: str = "cpu", commercial_only: bool = False) -> None:
        self._models_dir, self._device, self._commercial_only = models_dir, device, commercial_only
        self._lock = threading.Lock()
        self._loaded: _Whisper | None = None
        self._failure: str | None = None

    def refusal(self) -> str | None:
        """Why nothing can be transcribed here, for a person; None where it can, as far as is known before loading."""
        return self._failure or recognisers.refusal(WHISPER, self._models_dir, commercial_only=self._commercial_only)

    def transcribe(self, samples: NDArray[np.float32], rate: int, language: str | None = None) -> Transcript:
        """What is said in a sound.

        Args:
            samples: mono, float32 ``[n]`` in [-1, 1], at most 60 s.
            rate: in Hz.
            language: a BCP 47 tag; None: detected.

        Raises:
            TranscriptionUnavailableError: the weights are not here, are damaged, or their licence is refused.
            LanguageUnavailableError: the recogniser does not know the language.
            AudioTooLongError: longer than 60 s.
        """
        if len(samples) > MAX_SECONDS * rate:
            raise AudioTooLongError(f"At most {MAX_SECONDS:g} s of sound are transcribed.", {"limit_s": MAX_SECONDS})
        with self._lock:
            whisper = self._get()
            return whisper.hear(soxr.resample(samples, rate, LISTEN_RATE).astype(np.float32), language)

    def _get(self) -> _Whisper:
        reason = self.refusal()
        if reason is not None:
            raise TranscriptionUnavailableError(f"Nothing can be transcribed here. {reason}", {"reason": reason})
        if self._loaded is None:
            try:
                self._loaded = _Whisper(self._models_dir / WHISPER, self._device)
            except ModelUnavailableError as error:
                # Damaged files stay so until the service is started again; reading gigabytes for each request would not mend them.
                self._failure = error.message
                log.exception("recogniser_failed", model=WHISPER, reason=error.message)
                raise TranscriptionUnavailableError(f"Nothing can be transcribed here. {error.message}") from error
            log.info("recogniser_loaded", model=WHISPER, device=self._device)
        return self._loaded


class _Whisper:
    """The network with its feature extractor and tokeniser."""

    def __init__(self, folder: Path, device: str) -> None:
        import torch

        def cls() -> Any:
            return recognisers.library("whisper.modeling_whisper").WhisperForConditionalGeneration

        dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._model = recognisers.load(cls, folder, device=device, dtype=dtype)
        with recognisers.reading(folder):
            features = recognisers.library("whisper.feature_extraction_whisper").WhisperFeatureExtractor
            tokenizer = recognisers.library("whisper.tokenization_whisper").WhisperTokenizer
            self._extractor = features.from_pretrained(folder, local_files_only=True)
            self._tokenizer = tokenizer.from_pretrained(folder, local_files_only=True)
            self._name = recognisers.model_name(folder)
            self._languages: dict[str, int] = {
                token.strip("<|>"): index for token, index in (getattr(self._model.generation_config, "lang_to_id", None) or {}).items()
            }

    def hear(self, sound: NDArray[np.float32], language: str | None) -> Transcript:
        import torch

        code = self._code(language)
        # Whisper makes up sentences where nobody speaks.
        if not active_spans(sound, LISTEN_RATE):
            return Transcript("", language or code or "und", self._name)
        parts = [sound[start:end] for start, end in windows(sound, LISTEN_RATE, self._extractor.chunk_length)]
        inputs = self._extractor(parts, sampling_rate=LISTEN_RATE, return_tensors="pt", return_attention_mask=True)
        features = inputs["input_features"].to(self._device_and_dtype())
        seconds = max(len(part) for part in parts) / LISTEN_RATE
        room = int(self._model.config.max_target_positions) - 8
        options: dict[str, Any] = {"max_new_tokens": max(1, min(room, _MIN_TOKENS + int(_TOKENS_PER_SECOND * seconds)))}
        with torch.inference_mode():
            if self._languages:
                code = code or self._detect(features)
                options |= {"language": code, "task": "transcribe"}
            tokens = self._model.generate(
                features, attention_mask=inputs["attention_mask"].to(features.device), num_beams=1, do_sample=False, **options
            )
        text = join(self._tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return Transcript(text, language or code or "en", self._name)

    def _device_and_dtype(self) -> Any:
        return next(self._model.parameters())

    def _code(self, language: str | None) -> str | None:
        """Whisper's name of a language."""
        if language is None:
            return None
        code = _CODES.get(primary(language), primary(language))
        # Weights without languages were trained on English alone.
        if code not in (self._languages or {"en": 0}):
            raise LanguageUnavailableError(f"The recogniser does not know the language {language!r}.", {"language": language})
        return code

    def _detect(self, features: Any) -> str:
        index = int(self._model.detect_language(features[:1])[0])
        return next(code for code, known in self._languages.items() if known == index)
