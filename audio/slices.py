"""A long sound file piece by piece, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import soundfile as sf

from audio.errors import InvalidAudio
from audio.pcm import Samples
from audio.resample import resample, to_mono


def slices(path: Path, cuts_s: Sequence[float], rate: int) -> Generator[Samples]:
    """The parts of a file that `audio.encode` made, in order: from its start to the first cut, between cuts, and the rest.

    Args:
        cuts_s: where to cut, in seconds, rising; a cut behind the end of the sound leaves empty parts.
        rate: of the parts, in Hz; each is mono, shape (n,).

    Raises:
        InvalidAudio: it is no sound file, or a damaged one.
    """
    try:
        with sf.SoundFile(path) as file:
            read = 0
            for cut_s in (*cuts_s, None):
                wanted = -1 if cut_s is None else max(0, round(cut_s * file.samplerate) - read)
                block = to_mono(file.read(wanted, dtype="float32"))
                read += len(block)
                yield resample(block, file.samplerate, rate) if len(block) else np.zeros(0, dtype=np.float32)
    except sf.LibsndfileError as damaged:
        raise InvalidAudio("the file is damaged: its sound could not be read") from damaged
