"""A recording made fit to be a reference: trimmed, levelled, within the model's limit, with exactly the words that are said in it.

A reference whose text says more or less than its sound makes every sentence rushed or dragged, so that sound and text are only ever cut
together, and not at all where it is not sure which words are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.activity import active_spans
from inference import text_duration
from inference.align import Aligner
from inference.errors import InferenceError, InvalidItemError, LanguageUnavailableError
from inference.mel import SAMPLE_RATE, TARGET_RMS
from inference.reference_cut import MIN_CUT_S, Cut, cut_sound, cut_together
from inference.text import EmptyTextError, Unsupported, UnsupportedCharactersError, Vocabulary, normalise
from inference.transcribe import Transcript, TranscriptionUnavailableError

LIMIT_S = 12.0
"""Longest reference in seconds: F5-TTS advises less than 12, and saw at most 30 s of reference and speech together."""

LIMITS_S = (5.0, 25.0)
MIN_SPEECH_S = 1.0

_LEAD_S, _TAIL_S = 0.1, 0.2
_MIN_TAIL_S = 0.1
_FADE_S = 0.005
_PEAK = 0.98
# Letters a second that a transcript may have: outside, the recogniser has made something up.
_SLOWEST, _FASTEST = 3.0, 35.0
_CLOSING = "\"'”’»)]」』》）"  # noqa: RUF001 - full-width marks are meant
_ENDS = frozenset(".!?。！？…।؟۔;:,，、；：،")  # noqa: RUF001

Transcribe = Callable[[NDArray[np.float32], int, str], Transcript]
"""``(samples, rate, language)`` to what is said; ``Transcriber.transcribe`` is one."""


class AudioTooShortError(InferenceError):
    """Less than a second of speech. ``details``: ``seconds`` that were found and ``minimum_s``."""

    code = "AUDIO_TOO_SHORT"


class ReferenceTextRequiredError(InferenceError):
    """No text came with the reference, and none could be made."""

    code = "REFERENCE_TEXT_REQUIRED"


class ReferenceTooLongError(InferenceError):
    """Longer than the limit, and no place to cut sound and text together was sure. ``details``: ``limit_s``."""

    code = "REFERENCE_TOO_LONG"


@dataclass(frozen=True)
class PreparedReference:
    """Sound (24 kHz mono, float32 ``[n]`` in [-1, 1]) and what is said in it, ending in a mark.

    ``cut``: speech was left out at the end. ``transcribed``: the text was heard, not given.
    """

    samples: NDArray[np.float32]
    text: str
    cut: bool
    transcribed: bool

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def prepare(
    samples: NDArray[np.float32],
    text: str | None,
    *,
    language: str,
    limit_s: float = LIMIT_S,
    vocabulary: Vocabulary | None = None,
    transcribe: Transcribe | None = None,
    aligner: Aligner | None = None,
) -> PreparedReference:
    """Make a recording and its text a reference.

    Args:
        samples: 24 kHz mono, float32 ``[n]`` in [-1, 1].
        text: what is said in all of it; None or blank: to be transcribed.
        language: a BCP 47 tag.
        limit_s: longest result in seconds, 5 to 25.
        vocabulary: of the model that will speak; its missing characters are an error. None: not checked.
        transcribe: what hears a text; None: there is none.
        aligner: what says exactly where words are; None: they are only estimated, and more is refused.

    Raises:
        InvalidItemError: the sound is not finite, or the limit out of its range.
        AudioTooShortError, ReferenceTextRequiredError, ReferenceTooLongError: see there.
        EmptyTextError: nothing in the text is spoken.
        UnsupportedCharactersError: ``details`` say ``"field": "reference_text"``, with positions in the text as it was given or heard.
    """
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise InvalidItemError("The audio is not a finite mono sound.", {"field": "audio"})
    if not LIMITS_S[0] <= limit_s <= LIMITS_S[1]:
        raise InvalidItemError(f"limit_s must be between {LIMITS_S[0]:g} and {LIMITS_S[1]:g}.", {"field": "limit_s"})
    given = text if text is not None and text.strip() else None
    speech, speech_s = _trim(samples, limit_s)
    if speech_s < MIN_SPEECH_S:
        raise AudioTooShortError(
            f"The reference has {speech_s:.1f} s of speech and needs {MIN_SPEECH_S:g} s.",
            {"seconds": round(speech_s, 3), "minimum_s": MIN_SPEECH_S},
        )
    if given is not None and not any(character.isalnum() for character in given):
        raise EmptyTextError("The reference text has nothing to speak: no letter and no digit", {"field": "reference_text"})
    cut = None
    if len(speech) > limit_s * SAMPLE_RATE:
        cut = _cut(speech, given, language, limit_s, aligner)
        speech = speech[: cut.sample]
    spoken = _heard(speech, language, transcribe) if given is None else given[: cut.text_end if cut else None]
    _check(spoken, language, vocabulary)
    sound = _level(_finish(speech, limit_s))
    return PreparedReference(sound, end_with_mark(spoken.strip(), vocabulary), cut is not None, given is None)


def _trim(samples: NDArray[np.float32], limit_s: float) -> tuple[NDArray[np.float32], float]:
    """Without the silence at the ends, save for a little where the limit allows it; and the seconds of speech in it."""
    spans = active_spans(samples, SAMPLE_RATE)
    if not spans:
        return samples[:0], 0.0
    start, end = spans[0][0], spans[-1][1]
    room = limit_s * SAMPLE_RATE - (end - start)
    share = min(1.0, room / ((_LEAD_S + _TAIL_S) * SAMPLE_RATE)) if room > 0 else 1.0
    first = max(0, start - int(share * _LEAD_S * SAMPLE_RATE))
    trimmed = samples[first : end + int(share * _TAIL_S * SAMPLE_RATE)]
    return trimmed, sum(after - before for before, after in spans) / SAMPLE_RATE


def _cut(speech: NDArray[np.float32], text: str | None, language: str, limit_s: float, aligner: Aligner | None) -> Cut:
    if text is None:
        cut = cut_sound(speech, SAMPLE_RATE, limit_s=limit_s)
    else:
        cut = cut_together(speech, SAMPLE_RATE, text, language=language, limit_s=limit_s, aligner=aligner)
    if cut is None:
        why = "has no pause" if text is None else "has no pause that could be matched with its text"
        raise ReferenceTooLongError(
            f"The recording is longer than the {limit_s:g} s that a reference may have and {why} between {MIN_CUT_S:g} s and there. "
            "Use a shorter one, or one that pauses between sentences.",
            {"limit_s": limit_s},
        )
    return cut


def _heard(speech: NDArray[np.float32], language: str, transcribe: Transcribe | None) -> str:
    """The transcript of a sound, where it can be one."""
    reason = "Nothing can be transcribed here."
    if transcribe is not None:
        try:
            heard = transcribe(speech, SAMPLE_RATE, language).text
        except (TranscriptionUnavailableError, LanguageUnavailableError) as error:
            reason = error.message
        else:
            rate = sum(text_duration.weights(normalise(heard, language).text)) / (len(speech) / SAMPLE_RATE)
            if any(character.isalnum() for character in heard) and _SLOWEST <= rate <= _FASTEST:
                return heard
            reason = "The recording could not be understood."
    raise ReferenceTextRequiredError(f"Say what is spoken in the reference. {reason}", {"reason": reason})


def _check(text: str, language: str, vocabulary: Vocabulary | None) -> None:
    if vocabulary is None:
        return
    normalised = normalise(text, language)
    unknown = [Unsupported(u.character, normalised.offsets[u.position]) for u in vocabulary.unsupported(normalised.text, language)]
    if unknown:
        error = UnsupportedCharactersError(unknown)
        error.details = {"field": "reference_text", **error.details}
        raise error


def end_with_mark(text: str, vocabulary: Vocabulary | None = None) -> str:
    """``text`` with a full stop unless it ends in a mark already, as F5-TTS advises; unchanged where the vocabulary lacks the stop."""
    bare = text.rstrip(_CLOSING + " ")
    if not bare or bare[-1] in _ENDS:
        return text
    wide = "\u3040" <= bare[-1] <= "\u9fff" or bare[-1] == "\u3005"
    stop = "。" if wide else "."
    return text if vocabulary is not None and vocabulary.unsupported(stop, "und") else text + stop


def _finish(speech: NDArray[np.float32], limit_s: float) -> NDArray[np.float32]:
    """Fade the ends, which may lie in the room's noise, and see to some silence behind the last word."""
    spans = active_spans(speech, SAMPLE_RATE)
    fade = min(int(_FADE_S * SAMPLE_RATE), len(speech) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    out = speech.astype(np.float32, copy=True)
    if fade:
        out[:fade] *= ramp
        out[-fade:] *= ramp[::-1]
    silent = len(speech) - (spans[-1][1] if spans else 0)
    missing = min(int(_MIN_TAIL_S * SAMPLE_RATE) - silent, int(limit_s * SAMPLE_RATE) - len(speech))
    return np.concatenate([out, np.zeros(max(0, missing), np.float32)])


def _level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raised to the level that F5-TTS was trained on where it lies under it and as far as no peak clips."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    peak = float(np.abs(samples).max())
    gain = min(TARGET_RMS / rms, _PEAK / peak)
    return samples if gain <= 1 else (samples * np.float32(gain)).astype(np.float32)
