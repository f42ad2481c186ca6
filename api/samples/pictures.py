"""Recordings to look at: computed from the sound when somebody asks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TypeVar

import structlog

from api.errors import NotFoundError
from api.files.service import Sound
from api.samples.schemas import Waveform
from audio.decode import Limits
from audio.decode_pool import Decoders, Recording
from audio.errors import AudioError
from audio.inspect import waveform_peaks
from audio.picture import spectrogram_png
from store.objects import ObjectNotFoundError, Objects
from worker.threads import in_thread

T = TypeVar("T")

# What is kept was judged when it came, perhaps by other settings; only its decoded size is bounded again.
KEPT = Limits(max_bytes=2**40, min_seconds=0.0, max_seconds=math.inf)

log = structlog.get_logger(__name__)


class SamplePictures:
    """Draws in threads, at most as many recordings at once as `slots` allows: each may take much memory."""

    def __init__(self, objects: Objects, decoders: Decoders, slots: asyncio.Semaphore) -> None:
        self.objects = objects
        self.decoders = decoders
        self.slots = slots

    async def waveform(self, sound: Sound, points: int) -> Waveform:
        """`points` is at least 1. Raises NotFoundError when the file is gone or damaged."""

        def draw(decoded: Recording) -> Waveform:
            peaks = [round(float(peak), 4) for peak in waveform_peaks(decoded.mono, points)]
            return Waveform(sample_id=sound.file_id, duration=round(decoded.duration_s, 3), points=points, peaks=peaks)

        return await self._drawn(sound, draw)

    async def spectrogram(self, sound: Sound, *, width: int, height: int) -> bytes:
        """A PNG file; the bounds are those of :mod:`audio.picture`. Raises NotFoundError when the file is gone or damaged."""
        return await self._drawn(sound, lambda decoded: spectrogram_png(decoded.mono, decoded.sample_rate, width=width, height=height))

    async def _drawn(self, sound: Sound, draw: Callable[[Recording], T]) -> T:
        async with self.slots:
            try:
                content = await self.objects.get(sound.key)
                return await in_thread(lambda: draw(self.decoders.decode(content, KEPT)))
            except ObjectNotFoundError:
                raise NotFoundError("file") from None
            except AudioError as damaged:
                log.warning("kept recording cannot be read", sample_id=sound.file_id, code=damaged.code)
                raise NotFoundError("file") from damaged
