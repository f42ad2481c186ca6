"""An independent pair of ears: pocketsphinx with a closed list of words, and what it made of what was said."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from inference.mel import SAMPLE_RATE

RATE = 16_000
_VARIANT = re.compile(r"\(\d+\)")


def words(text: str) -> list[str]:
    """The words of a text as the recogniser spells them: lower case, without marks."""
    return re.findall(r"[a-z']+", text.lower().replace("\u2019", "'"))


class Listener:
    """Hears English words of a closed list, in any order.

    Args:
        vocabulary: the words it may hear. Those that its lexicon lacks are left out: see `known`.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=RATE, loglevel="FATAL")
        self.known = sorted(word for word in set(vocabulary) if self._decoder.lookup_word(word))
        # A language model in which each word is as likely as any other: a grammar of many words is searched many times slower.
        likely = f"{-math.log10(len(self.known) + 1):.4f}"
        lines = ["-99 <s>", f"{likely} </s>", *(f"{likely} {word}" for word in self.known)]
        with tempfile.NamedTemporaryFile("w", suffix=".lm") as model:
            model.write("\n".join(["\\data\\", f"ngram 1={len(lines)}", "", "\\1-grams:", *lines, "", "\\end\\", ""]))
            model.flush()
            self._decoder = Decoder(samprate=RATE, lm=model.name, lw=2.0, loglevel="FATAL")

    def hear(self, sound: np.ndarray, rate: int = SAMPLE_RATE) -> list[str]:
        """The words heard in mono ``sound``, float ``[samples]``; none in silence."""
        loudest = float(np.abs(sound).max(initial=0))
        if loudest < 1e-4:
            return []
        at_rate = soxr.resample(np.asarray(sound, dtype=np.float32), rate, RATE)
        # A little quiet on either side, where the recogniser looks for the beginning and the end.
        quiet = np.zeros(RATE // 5, dtype=np.float32)
        samples = np.concatenate((quiet, at_rate / loudest * 0.7, quiet))
        self._decoder.start_utt()
        self._decoder.process_raw((samples * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return _VARIANT.sub("", found.hypstr).split() if found else []


def word_error_rate(said: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Insertions, deletions and substitutions over all the words said."""
    import jiwer

    return float(jiwer.wer([" ".join(s) for s in said], [" ".join(h) for h in heard]))


def read_sound(file: Path) -> tuple[np.ndarray, int]:
    """Mono sound of a file and its rate."""
    import soundfile

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate
