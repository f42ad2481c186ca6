"""What is wrong with a recording, in words for the one who made it."""

from __future__ import annotations

from typing import Literal

import msgspec

from store.models import Sample

# A part of the quality score (see `audio.inspect.quality`) below this is worth a word; the recording can be cloned all the same.
LOW_PART = 0.5
_LOW = {
    "snr": ("NOISY", "There is much noise behind the voice; record in a quieter place"),
    "clipping": ("CLIPPED", "The recording is overdriven; record more quietly, or farther from the microphone"),
    "speech": ("LITTLE_SPEECH", "Little of the recording is speech; cut the pauses, or speak on"),
    "loudness": ("TOO_QUIET", "The recording is very quiet; record louder, or nearer to the microphone"),
    "bandwidth": ("NARROW_BAND", "High frequencies are missing, as on the telephone; record with a better microphone or format"),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is for programs, `message` for people. With an `error` the recording cannot be used, with a `warning` it could be better."""

    severity: Literal["error", "warning"]
    code: str
    message: str


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """`is_valid` is null until the recording has been processed."""

    is_valid: bool | None
    findings: list[Finding]


def validate(row: Sample) -> Validation:
    """What the processing of a recording has shown."""
    if row.status == "failed":
        error = Finding(severity="error", code=row.error_code or "SAMPLE_FAILED", message=row.error_message or "The processing failed")
        return Validation(is_valid=False, findings=[error])
    if row.status != "ready":
        return Validation(is_valid=None, findings=[])
    parts = (row.quality_metrics or {}).get("quality_parts", {})
    low = [_LOW[name] for name, value in parts.items() if name in _LOW and value < LOW_PART]
    if not row.ref_text:
        low.append(("REFERENCE_TEXT_MISSING", "Nobody has said what is spoken in it; give `ref_text`, here or with the clone"))
    return Validation(is_valid=True, findings=[Finding(severity="warning", code=code, message=message) for code, message in low])
