"""The headers that say what a sound is: RIFF/WAVE with its INFO list, and ID3."""

from __future__ import annotations

import struct
from collections.abc import Mapping

KINDS = ("title", "artist", "album", "comment")

_INFO = {"title": b"INAM", "artist": b"IART", "album": b"IPRD", "comment": b"ICMT"}
_FRAMES = {"title": b"TIT2", "artist": b"TPE1", "album": b"TALB", "comment": b"COMM"}
_UNKNOWN = 0xFFFFFFFF
_MAX_CHARACTERS = 200


def clean(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata that are not empty, without control characters and what UTF-8 cannot write, of at most 200 characters each.

    Raises:
        ValueError: a kind that is not among `KINDS`.
    """
    unknown = set(metadata or {}) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown kinds of metadata; known are {', '.join(KINDS)}")
    tags = {}
    for kind, value in (metadata or {}).items():
        text = value.encode(errors="ignore").decode()
        text = "".join(c if c.isprintable() else " " for c in text)[:_MAX_CHARACTERS].strip()
        if text:
            tags[kind] = text
    return tags


def wav_header(rate: int, frames: int | None, tags: Mapping[str, str]) -> bytes:
    """Header of a mono 16-bit WAV up to its first sample.

    The sizes are 0xFFFFFFFF, which readers take for "until the end", if `frames` is None or too many for 32 bits. The header's own length
    depends on the tags alone.
    """
    body = b"WAVE" + _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    info = b"".join(_chunk(_INFO[kind], value.encode() + b"\0") for kind, value in tags.items())
    if info:
        body += _chunk(b"LIST", b"INFO" + info)
    data = _UNKNOWN if frames is None else 2 * frames
    riff = len(body) + 8 + data
    if riff >= _UNKNOWN:
        data = riff = _UNKNOWN
    return b"RIFF" + struct.pack("<I", riff) + body + b"data" + struct.pack("<I", data)


def id3(tags: Mapping[str, str]) -> bytes:
    """An ID3v2.3 tag in UTF-16, which every player reads; empty without tags."""
    frames = b""
    for kind, value in tags.items():
        text = value.encode("utf-16")
        payload = b"\x01" + (b"eng" + "".encode("utf-16") + b"\0\0" if kind == "comment" else b"") + text
        frames += _FRAMES[kind] + struct.pack(">IH", len(payload), 0) + payload
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frames if frames else b""


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
