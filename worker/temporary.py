"""Folders for sound that is being made. A process that is killed leaves its own behind, with what somebody said in it."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from store.clock import utcnow

PREFIX = "voxify-sound-"
LEFT_AFTER = timedelta(hours=1)
"""What nobody has written to for so long belongs to a process that has ended: one that makes sound writes every few seconds."""


def sound_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes when its context ends, or else some time after its process."""
    return tempfile.TemporaryDirectory(prefix=PREFIX)


def remove_left_behind(now: datetime | None = None, folder: Path | None = None) -> int:
    """Remove such folders of processes that were killed, here on this machine; how many there were.

    folder: where they lie; the system's folder for temporary files unless given.
    """
    oldest = ((now or utcnow()) - LEFT_AFTER).timestamp()
    removed = 0
    for left in (folder or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        try:
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
        except OSError:
            continue  # it goes just now, or is somebody else's
        if newest < oldest:
            shutil.rmtree(left, ignore_errors=True)
            removed += not left.exists()
    return removed
