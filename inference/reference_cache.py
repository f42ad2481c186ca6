"""References that were heard lately: the chunks of a job, and the jobs of a voice, bring the same sound again and again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from inference import wire
from inference.engine import MAX_FRAMES
from inference.errors import InvalidItemError
from inference.mel import HOP_LENGTH, Reference, prepare_reference

MAX_REFERENCES = 32
"""At 400 bytes a frame and the longest references these are 52 MB; at ten seconds each, 12 MB."""


class ReferenceCache:
    """Mel frames by the hash of the sound; the least recently used goes first. Safe to use from several threads."""

    def __init__(self, size: int = MAX_REFERENCES) -> None:
        self._size = size
        self._kept: OrderedDict[bytes, Reference] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, audio: str) -> Reference:
        """The reference of ``audio``, base64 of 16-bit PCM at 24 kHz.

        Raises:
            InvalidItemError: it is no sound, or too short, too long, silent. Errors are not kept.
        """
        # Sixteen bits a sample and four characters for three bytes; a sound this long is turned away before it takes memory.
        if len(audio) * 3 // 8 > (MAX_FRAMES + 1) * HOP_LENGTH:
            raise InvalidItemError(f"The reference audio is longer than {MAX_FRAMES} frames.", {"field": "reference_audio"})
        key = hashlib.sha256(audio.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        # Outside of the lock: two threads may compute the same, and neither waits for another voice.
        reference = prepare_reference(wire.decode_pcm(audio, "reference_audio"))
        with self._lock:
            self._kept[key] = reference
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return reference
