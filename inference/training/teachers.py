"""The speech engines that the bundled voice learns from: every sound comes with the times of its phonemes.

flite (its CMU voices) and espeak-ng are called through their C libraries, because their programs do not tell stress or times.
Debian: ``flite`` and ``espeak-ng``.
"""

from __future__ import annotations

import ctypes
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soxr

from inference.mel import SAMPLE_RATE
from inference.phonemes import PAUSE, VOWELS

FLITE_VOICES = ("slt", "rms", "awb", "kal16")


class UnknownPhonemeError(ValueError):
    """An engine used a phoneme that has no symbol here."""


class TeacherMissingError(RuntimeError):
    """The library of a speech engine is not installed."""


@dataclass(frozen=True)
class Phone:
    """A phoneme without stress marks in its name, its stress (vowels), and where it ends in seconds."""

    name: str
    stress: bool
    end_s: float


@dataclass(frozen=True)
class Utterance:
    """Sound at 24 kHz, float32 ``[samples]``, and its phones, which part it from 0 to its end."""

    sound: np.ndarray
    phones: tuple[Phone, ...]


@dataclass(frozen=True)
class Speaker:
    """A voice of an engine, its vocal tract shortened by ``warp`` (pitch and formants times ``warp``, tempo kept)."""

    engine: str
    voice: str
    warp: float = 1.0
    pitch: int = 50

    @property
    def name(self) -> str:
        warp = "" if self.warp == 1 else f"*{self.warp:g}"
        pitch = "" if self.pitch == 50 else f"@{self.pitch}"
        return f"{self.engine}:{self.voice}{pitch}{warp}"

    def say(self, text: str, *, tempo: float = 1.0) -> Utterance:
        """``text`` in this voice; ``tempo`` 2 is twice as fast. UnknownPhonemeError, or TeacherMissingError without the engine."""
        engine: Callable[..., tuple[np.ndarray, int, list[Phone]]] = _flite if self.engine == "flite" else _espeak
        sound, rate, phones = engine(self.voice, text, tempo=tempo / self.warp, pitch=self.pitch)
        resampled = soxr.resample(sound, rate * self.warp, SAMPLE_RATE).astype(np.float32)
        # Of silences in a row, one remains.
        kept = [p for p, after in zip(phones, [*phones[1:], None], strict=True) if not (after and p.name == after.name == PAUSE)]
        return Utterance(resampled, tuple(Phone(p.name, p.stress, p.end_s / self.warp) for p in kept))


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise TeacherMissingError(f"{name} is not installed") from error


class _FliteWave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("length", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _FliteVoice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


@cache
def _flite_library() -> Any:
    library: Any = _library("libflite.so.1")
    for part in ("usenglish", "cmulex"):
        _library(f"libflite_{part}.so.1")
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("flite_synth_text", pointer, [ctypes.c_char_p, pointer]),
        ("utt_relation", pointer, [pointer, ctypes.c_char_p]),
        ("relation_head", pointer, [pointer]),
        ("item_next", pointer, [pointer]),
        ("flite_ffeature_string", ctypes.c_char_p, [pointer, ctypes.c_char_p]),
        ("flite_ffeature_float", ctypes.c_float, [pointer, ctypes.c_char_p]),
        ("utt_wave", pointer, [pointer]),
        ("delete_utterance", None, [pointer]),
        ("flite_feat_set_float", None, [pointer, ctypes.c_char_p, ctypes.c_float]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


@cache
def _flite_voice(name: str) -> int:
    register = getattr(_library(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    voice: int = register(None)
    return voice


def _flite(name: str, text: str, *, tempo: float, pitch: int) -> tuple[np.ndarray, int, list[Phone]]:  # noqa: ARG001
    library, voice = _flite_library(), _flite_voice(name)
    features = ctypes.cast(voice, ctypes.POINTER(_FliteVoice)).contents.features
    library.flite_feat_set_float(features, b"duration_stretch", 1 / tempo)
    utterance = library.flite_synth_text(text.encode("ascii"), voice)
    try:
        phones, item = [], library.relation_head(library.utt_relation(utterance, b"Segment"))
        while item:
            phone = library.flite_ffeature_string(item, b"name").decode()
            stress = library.flite_ffeature_string(item, b"R:SylStructure.parent.stress") == b"1"
            phones.append(Phone(phone, stress and phone in VOWELS, library.flite_ffeature_float(item, b"end")))
            item = library.item_next(item)
        wave = ctypes.cast(library.utt_wave(utterance), ctypes.POINTER(_FliteWave)).contents
        sound = np.ctypeslib.as_array(wave.samples, (wave.length,)).astype(np.float32) / 32768
        return sound, wave.rate, phones
    finally:
        library.delete_utterance(utterance)


class _EspeakEvent(ctypes.Structure):
    class _Id(ctypes.Union):
        _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))

    _fields_ = (
        *((name, ctypes.c_int) for name in ("type", "identifier", "position", "length", "milliseconds", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_ESPEAK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent))
_ESPEAK_SYNCHRONOUS, _ESPEAK_PHONEME_EVENTS, _ESPEAK_PHONEME = 2, 1, 7
_ESPEAK_RATE, _ESPEAK_PITCH = 1, 3
_ESPEAK_WORDS_A_MINUTE = 165
_ESPEAK_BREATH_S = 0.08
# Its events come this much after the sound that they announce: the contrast of vowels and stops is sharpest so, at every tempo.
_ESPEAK_LATE_S = 0.04

# espeak-ng's names for the phonemes of English in ours; two for those that it counts as one, none for what is part of the one before.
_ESPEAK: dict[str, tuple[str, ...]] = {
    **{"I": ("ih",), "I#": ("ih",), "I2": ("ih",), "@": ("ax",), "@2": ("ax",), "a#": ("ax",), "@-": (), "V": ("ah",), "a": ("ae",)},
    **{"aa": ("ae",), "E": ("eh",), "3": ("er",), "3:": ("er",), "eI": ("ey",), "i:": ("iy",), "i": ("iy",), "aI": ("ay",)},
    **{"u:": ("uw",), "U": ("uh",), "0": ("aa",), "A:": ("aa",), "A@": ("aa", "r"), "aU": ("aw",), "O:": ("ao",), "O": ("ao",)},
    **{"O2": ("ao",), "O@": ("ao", "r"), "o@": ("ao", "r"), "e@": ("eh", "r"), "i@": ("iy", "ax"), "i@3": ("ih", "r"), "U@": ("uh", "r")},
    **{"aI@": ("ay", "ax"), "aI3": ("ay", "er"), "OI": ("oy",), "oU": ("ow",), "@L": ("ax", "l"), "N": ("ng",), "S": ("sh",)},
    **{"T": ("th",), "D": ("dh",), "Z": ("zh",), "tS": ("ch",), "dZ": ("jh",), "t#": ("t",), "t2": ("t",), "r-": ("r",), "n-": ("n",)},
    **{"h": ("hh",), "j": ("y",), ";": (), "?": (), "_": (PAUSE,), "_:": (PAUSE,), "_!": (PAUSE,)},
    **{name: (name,) for name in "ntsrdklmzvpfbwg"},
}


class _Espeak:
    """The library, which has one state for the whole process."""

    def __init__(self) -> None:
        self.library: Any = _library("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(_ESPEAK_SYNCHRONOUS, 0, None, _ESPEAK_PHONEME_EVENTS)
        self.pieces: list[np.ndarray] = []
        self.events: list[tuple[str, int]] = []
        # Kept on the object, or it would be collected while the library still calls it.
        self.callback = _ESPEAK_CALLBACK(self._receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _ESPEAK_PHONEME:
                self.events.append((events[i].id.string.decode(), events[i].sample))
            i += 1
        return 0

    def say(self, voice: str, text: str, *, tempo: float, pitch: int) -> tuple[np.ndarray, list[tuple[str, int]]]:
        self.pieces, self.events = [], []
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise TeacherMissingError(f"espeak-ng has no voice {voice}")
        self.library.espeak_SetParameter(_ESPEAK_RATE, round(_ESPEAK_WORDS_A_MINUTE * tempo), 0)
        self.library.espeak_SetParameter(_ESPEAK_PITCH, pitch, 0)
        encoded = text.encode()
        self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, 1, None, None)
        self.library.espeak_Synchronize()
        return np.concatenate(self.pieces).astype(np.float32) / 32768, self.events


_espeak_library = cache(_Espeak)


def _espeak(voice: str, text: str, *, tempo: float, pitch: int) -> tuple[np.ndarray, int, list[Phone]]:
    engine = _espeak_library()
    sound, events = engine.say(voice, text, tempo=tempo, pitch=pitch)
    rate: int = engine.rate
    ends = [start for _, start in events[1:]] + [len(sound)]
    phones: list[Phone] = []
    begin = 0
    for (name, _), end in zip(events, ends, strict=True):
        names = _ESPEAK.get(name)
        if names is None:
            raise UnknownPhonemeError(name)
        if not names and phones:
            phones[-1] = Phone(phones[-1].name, False, end / rate)
        for i, part in enumerate(names):
            phones.append(Phone(part, False, (begin + (end - begin) * (i + 1) / len(names)) / rate))
        begin = end
    # It begins and ends at once, where flite takes a breath.
    breath = np.zeros(round(_ESPEAK_BREATH_S * rate), np.float32)
    shift = _ESPEAK_BREATH_S - _ESPEAK_LATE_S
    phones = [Phone(p.name, p.stress, p.end_s + shift) for p in _stressed(phones, text)]
    first, last = Phone(PAUSE, False, shift), Phone(PAUSE, False, len(sound) / rate + 2 * _ESPEAK_BREATH_S)
    return np.concatenate((breath, sound, breath)), rate, [first, *phones, last]


def _stressed(phones: Sequence[Phone], text: str) -> list[Phone]:
    """Stress from flite's reading of the same text, where the two read the same phones; espeak-ng does not tell its own."""
    other = _flite("kal16", text, tempo=3.0, pitch=50)[2]
    matcher = difflib.SequenceMatcher(a=[phone.name for phone in phones], b=[phone.name for phone in other], autojunk=False)
    stressed = {}
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            stressed[block.a + i] = other[block.b + i].stress
    return [Phone(p.name, p.name in VOWELS and stressed.get(i, p.name != "ax"), p.end_s) for i, p in enumerate(phones)]
