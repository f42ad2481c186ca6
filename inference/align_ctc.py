"""Forced alignment with a network of the CTC kind (Graves et al., 2006): when each letter of a known text is said.

The networks are wav2vec 2.0 with a letter vocabulary in the layout of transformers. The best path is found by
``torchaudio.functional.forced_align``.
"""

from __future__ import annotations

import itertools
import json
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import recognisers
from inference.align_words import SpokenWord, is_spoken
from inference.recognisers import LISTEN_RATE

MIN_SAMPLES = 800
"""Shorter sound gives the network no frame."""

MAX_TRELLIS = 200_000_000
"""States times frames that one alignment may visit; as many bytes are taken."""

_STRIDE = 320
_WINDOW = 1500 * _STRIDE
_CONTEXT = 50 * _STRIDE


class UnalignableError(Exception):
    """The text does not fit the sound or the network's letters: it is too long for its frames, or mostly of other letters."""


class CtcAligner:
    """A network and its letters. Loaded on construction; safe to use from several threads.

    Args:
        folder: ``config.json``, ``preprocessor_config.json``, ``vocab.json`` and ``model.safetensors``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ModelUnavailableError: the files are damaged or missing.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        import torch

        def cls() -> Any:
            return recognisers.library("wav2vec2.modeling_wav2vec2").Wav2Vec2ForCTC

        self._device, self._lock = device, threading.Lock()
        self._model = recognisers.load(cls, folder, device=device, dtype=torch.float32)
        with recognisers.reading(folder):
            preparing = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
            self._normalise = bool(preparing.get("do_normalize", True))
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            self.vocabulary = {str(token): int(index) for token, index in vocabulary.items()}
            self.blank = self.vocabulary.get("<blank>", int(self._model.config.pad_token_id))

    def emissions(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-probabilities of the letters: 16 kHz mono ``[n]`` to ``[frames, letters]``, about 50 frames a second.

        Long sound is heard 30 s at a time, each with a second before and after it.
        """
        import torch

        sound = np.ascontiguousarray(samples, dtype=np.float32)
        if self._normalise:
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        parts = []
        with self._lock, torch.inference_mode():
            for start in range(0, len(sound), _WINDOW):
                last = start + _WINDOW + _CONTEXT >= len(sound)
                first = max(0, start - _CONTEXT)
                heard = torch.from_numpy(sound[first : len(sound) if last else start + _WINDOW + _CONTEXT]).to(self._device)
                logits = self._model(heard[None]).logits[0].float().log_softmax(-1).cpu().numpy()
                lead = (start - first) // _STRIDE
                parts.append(logits[lead:] if last else logits[lead : lead + _WINDOW // _STRIDE])
                if last:
                    break
        return np.concatenate(parts)

    def align(self, samples: NDArray[np.float32], said: Sequence[SpokenWord]) -> list[tuple[float, float, float]]:
        """(start, end, score) of each word: seconds in order, and the mean probability of its letters in [0, 1].

        Args:
            samples: 16 kHz mono ``[n]``, in which exactly ``said`` is spoken.

        Raises:
            UnalignableError: see there.
        """
        if len(samples) < MIN_SAMPLES:
            raise UnalignableError("the sound is too short")
        letters = spell(said, self.vocabulary)
        emissions = self.emissions(samples)
        frame_s = len(samples) / LISTEN_RATE / len(emissions)
        found = best_path(emissions, letters, blank=self.blank, delimiter=self.vocabulary.get("|"))
        return [(first * frame_s, after * frame_s, score) for first, after, score in found]


def spell(said: Sequence[SpokenWord], vocabulary: Mapping[str, int]) -> list[list[int | None]]:
    """Letters of each word as indices of the vocabulary; None, which matches any letter, where it has none for a character.

    A character is looked for as it is, in lower and upper case, without its accents, and as pinyin.

    Raises:
        UnalignableError: less than half of the characters are in the vocabulary.
    """
    out, known, total = [], 0, 0
    for word in said:
        letters: list[int | None] = []
        for character in word.spoken:
            if is_spoken(character) or (character in vocabulary and character == "'"):
                found = _look_up(character, vocabulary)
                known, total = known + (found is not None), total + 1
                letters += found if found is not None else [None]
        out.append(letters or [None])
    if 2 * known < total or not total:
        raise UnalignableError("the network does not know the letters of the text")
    return out


def _look_up(character: str, vocabulary: Mapping[str, int]) -> list[int | None] | None:
    from pypinyin import Style, lazy_pinyin

    bare = "".join(c for c in unicodedata.normalize("NFD", character) if not unicodedata.combining(c))
    if not bare:
        return []
    for form in (character, character.lower(), character.upper(), bare.lower(), bare.upper()):
        if form and all(letter in vocabulary for letter in form):
            return [vocabulary[letter] for letter in form]
    if "\u3400" <= character <= "\u9fff":
        pinyin = lazy_pinyin(character, style=Style.NORMAL)[0]
        if all(letter in vocabulary for letter in pinyin):
            return [vocabulary[letter] for letter in pinyin]
    return None


def best_path(
    log_probs: NDArray[np.float32], words: Sequence[Sequence[int | None]], *, blank: int, delimiter: int | None = None
) -> list[tuple[int, int, float]]:
    """Frames of words on the most likely path: (first frame, frame behind the last, mean probability).

    Args:
        log_probs: ``[frames, letters]``, natural logarithms.
        words: indices of letters, at least one a word; None matches the likeliest letter of each frame.
        blank: index of the empty letter.
        delimiter: letter that the network writes between words, if it does.

    Raises:
        UnalignableError: there are fewer frames than letters.
    """
    import torch
    from torchaudio.functional import forced_align

    letters = np.delete(log_probs, [blank] if delimiter is None else [blank, delimiter], axis=1)
    wildcard = log_probs.shape[1]
    emissions = np.concatenate([log_probs, letters.max(axis=1, keepdims=True)], axis=1)
    targets: list[int] = []
    bounds = []
    for word in words:
        if targets and delimiter is not None:
            targets.append(delimiter)
        first = len(targets)
        targets += [wildcard if letter is None else letter for letter in word]
        bounds.append((first, len(targets)))
    repeats = sum(a == b for a, b in itertools.pairwise(targets))
    if len(targets) + repeats > len(emissions) or len(emissions) * (2 * len(targets) + 1) > MAX_TRELLIS:
        raise UnalignableError("the text is too long for the sound")
    aligned, scores = forced_align(torch.from_numpy(emissions)[None], torch.tensor([targets]), blank=blank)
    path, chances = aligned[0].numpy(), np.exp(scores[0].numpy())
    changes = np.flatnonzero(np.diff(path, prepend=blank))
    starts = [int(at) for at in changes if path[at] != blank]
    edges = np.append(changes, len(path))
    ends = [int(edges[np.searchsorted(edges, at, side="right")]) for at in starts]
    out = []
    for first, after in bounds:
        frames = np.concatenate([np.arange(starts[i], ends[i]) for i in range(first, after)])
        out.append((starts[first], ends[after - 1], float(np.clip(chances[frames].mean(), 0.0, 1.0))))
    return out
