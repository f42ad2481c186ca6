from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from pydantic import Field

from api.body import RequestModel
from api.files.links import MAX_TTL_S
from api.files.service import Sound
from store.objects import ObjectStat


class LinkRequest(RequestModel):
    """How long the address shall be good, in seconds; as the settings say unless given."""

    expires_in: Annotated[int, Field(ge=1, le=MAX_TTL_S, strict=True)] | None = None


class FileLink(msgspec.Struct, frozen=True, kw_only=True):
    """An address below the API's own that needs no token until `expires_at`."""

    file_id: str
    url: str
    expires_at: datetime


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file without its sound. `size` is in bytes, `duration` in seconds; `file_id` is the id of the job or the sample."""

    file_id: str
    kind: str
    filename: str
    format: str
    mime_type: str
    size: int
    etag: str
    duration: float | None
    sample_rate: int
    channels: int
    created_at: datetime
    download_url: str

    @classmethod
    def of(cls, sound: Sound, stat: ObjectStat) -> FileInfo:
        return cls(
            file_id=sound.file_id,
            kind=sound.kind,
            filename=sound.filename,
            format=sound.format,
            mime_type=sound.media_type,
            size=stat.size,
            etag=f'"{stat.etag}"',
            duration=sound.duration,
            sample_rate=sound.sample_rate,
            channels=sound.channels,
            created_at=sound.created_at,
            download_url=audio_path(sound.file_id),
        )


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str


def audio_path(file_id: str) -> str:
    """Where the sound of a job or a sample is."""
    return f"/api/v1/files/audio/{file_id}"
