"""Which container holds a sound, and whether its bytes are all there.

The first bytes only choose the decoder; whether the file is sound is decided by decoding it. A decoder forgives a file that was cut on its
way, so what a header promises is checked here against what follows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from audio.errors import InvalidAudio

_PCM = frozenset(f"pcm_{kind}" for kind in ("u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"))
_OGG_PAGE_MAX = 27 + 255 + 255 * 255
_XING_SLACK = 128  # an ID3v1 tag, which some encoders count in
_UNKNOWN_SIZE_32 = (0, 0xFFFFFFFF)
_TRAILING_JUNK_MAX = 1024
# Chunks of a WAV file or top-level boxes of an M4A file; one that was made for streaming has two boxes for each piece of a second or so.
_PARTS_MAX = 10_000
_CUT = "the file ends early: its header promises more sound than there is. Was the transfer cut off?"
_LIES = "the file's header promises less sound than there is"


@dataclass(frozen=True)
class Container:
    """A container that is served: its name, FFmpeg's demuxer for it and the codecs allowed in it."""

    name: str
    demuxer: str
    codecs: frozenset[str]


WAV = Container("wav", "wav", _PCM | {"adpcm_ms", "adpcm_ima_wav"})
MP3 = Container("mp3", "mp3", frozenset({"mp3", "mp3float"}))
FLAC = Container("flac", "flac", frozenset({"flac"}))
OGG = Container("ogg", "ogg", frozenset({"vorbis", "opus", "flac"}))
M4A = Container("m4a", "mov", frozenset({"aac", "alac", "mp3", "mp3float", "opus", "flac"}))
WEBM = Container("webm", "matroska", frozenset({"opus", "vorbis", "aac", "flac"}) | _PCM)


def sniff(file: BinaryIO) -> Container:
    """The container that the first bytes of a seekable file announce.

    Raises:
        InvalidAudio: the bytes announce none of the containers that are served.
    """
    head = _at(file, 0, 12)
    if head[:3] == b"ID3":  # FLAC files in the wild carry such a tag as well
        return FLAC if _at(file, _id3_end(file), 4) == b"fLaC" else MP3
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    if head[4:8] == b"ftyp":
        return M4A
    for magic, container in ((b"fLaC", FLAC), (b"OggS", OGG), (b"\x1a\x45\xdf\xa3", WEBM)):
        if head.startswith(magic):
            return container
    if _is_mp3_header(head):
        return MP3
    raise InvalidAudio("this is not a sound file that can be read; WAV, MP3, FLAC, OGG, M4A and WebM can")


def require_whole(file: BinaryIO, container: Container) -> None:
    """Check the sizes that the container's own structure states against the bytes that are there.

    Sizes that mean "unknown", as encoders write that stream, are accepted.

    Raises:
        InvalidAudio: the file ends before a stated size does, or goes on after it with bytes that are no part of it.
    """
    size = file.seek(0, os.SEEK_END)
    if container is WAV:
        _check_wav(file, size)
    elif container is OGG:
        _check_ogg(file, size)
    elif container is MP3:
        _, promised_bytes = _xing(file)
        if _id3_end(file) + promised_bytes > size + _XING_SLACK:
            raise InvalidAudio(_CUT)
    elif container is M4A:
        for _, _, end in _boxes(file, size):
            if end > size:
                raise InvalidAudio(_CUT)
    elif container is WEBM:
        _check_webm(file, size)


def require_promised(file: BinaryIO, container: Container, frames: int, rate: int) -> None:
    """Check the number of frames that a FLAC or MP3 header promises, if it does, against the number decoded.

    MP3 may differ by 0.1 s: the padding of its encoder is trimmed or not, as the header tells.

    Raises:
        InvalidAudio: the numbers differ.
    """
    promised, slack = 0, 0
    if container is FLAC:
        start = _id3_end(file)
        info = _at(file, start + 8, 34)  # STREAMINFO, RFC 9639 section 8.2
        promised = int.from_bytes(info[13:18], "big") & 0xFFFFFFFFF
    elif container is MP3:
        (promised, _), slack = _xing(file), max(rate // 10, 4 * 1152)
    if not promised:
        return
    if frames < promised - slack:
        raise InvalidAudio(_CUT)
    if frames > promised + slack:
        raise InvalidAudio(_LIES)


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _id3_end(file: BinaryIO) -> int:
    """Offset behind an ID3v2 tag, 0 without one. Its size is four bytes of seven bits."""
    head = _at(file, 0, 10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _is_mp3_header(head: bytes) -> bool:
    """MPEG audio layer III: sync word, a defined version, bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    return head[1] & 0x18 != 0x08 and head[1] & 0x06 == 0x02 and head[2] & 0xF0 not in (0x00, 0xF0) and head[2] & 0x0C != 0x0C


def _xing(file: BinaryIO) -> tuple[int, int]:
    """Samples and bytes that the Xing or Info header in the first MP3 frame promises; 0 for each that it leaves out."""
    start = _id3_end(file)
    head = _at(file, start, 64)
    if not _is_mp3_header(head):
        return 0, 0
    mpeg1, one_channel = head[1] & 0x18 == 0x18, head[3] & 0xC0 == 0xC0
    side_info = (17 if one_channel else 32) if mpeg1 else (9 if one_channel else 17)
    tag = head[4 + side_info :]
    if tag[:4] not in (b"Xing", b"Info") or len(tag) < 16:
        return 0, 0
    fields = [int.from_bytes(tag[8:12], "big"), int.from_bytes(tag[12:16], "big")]
    frames = fields.pop(0) if tag[7] & 1 else 0
    return frames * (1152 if mpeg1 else 576), fields[0] if tag[7] & 2 else 0


def _check_wav(file: BinaryIO, size: int) -> None:
    offset, long_size = 12, 0
    for _ in range(_PARTS_MAX):
        head = _at(file, offset, 8)
        if len(head) < 8:
            raise InvalidAudio("the WAV file holds no sound")
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"ds64":  # RF64 (EBU Tech 3306): 64-bit sizes stand here, 0xFFFFFFFF in their place
            long_size = int.from_bytes(_at(file, offset + 16, 8), "little")
        if name == b"data":
            break
        offset += 8 + length + length % 2
    else:
        raise InvalidAudio("the WAV file is damaged")
    if length == 0xFFFFFFFF and long_size:
        length = long_size
    elif length in _UNKNOWN_SIZE_32:
        return
    end = offset + 8 + length
    if end > size:
        raise InvalidAudio(_CUT)
    for _ in range(_PARTS_MAX):
        if size - end <= _TRAILING_JUNK_MAX:
            return
        head = _at(file, end + end % 2, 8)  # what follows must be chunks
        if not head[:4].isascii() or not head[:4].decode().isprintable():
            raise InvalidAudio(_LIES)
        end += end % 2 + 8 + int.from_bytes(head[4:], "little")
    raise InvalidAudio("the WAV file is damaged")


def _check_ogg(file: BinaryIO, size: int) -> None:
    """The file must end where its last page does (RFC 3533)."""
    tail_at = max(0, size - _OGG_PAGE_MAX)
    tail = _at(file, tail_at, _OGG_PAGE_MAX)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segments = page[26] if len(page) > 26 else 255
    if len(page) < 27 + segments or len(page) != 27 + segments + sum(page[27 : 27 + segments]):
        raise InvalidAudio("the file ends early: its last page is not whole. Was the transfer cut off?")


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each top-level box (ISO/IEC 14496-12); size 0 means to the end of the file."""
    offset = 0
    for _ in range(_PARTS_MAX):
        if offset >= size:
            return
        head = _at(file, offset, 16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - offset
        if length < 8:
            raise InvalidAudio("the M4A file is damaged")
        yield head[4:8], offset, offset + length
        offset += length
    raise InvalidAudio("the M4A file is damaged")


def _check_webm(file: BinaryIO, size: int) -> None:
    """The segment (RFC 8794, RFC 9559) must lie in the file; browsers record with an unknown size, all ones."""
    header_size, offset = _vint(file, 4)
    offset += header_size or 0
    if _at(file, offset, 4) != b"\x18\x53\x80\x67":
        raise InvalidAudio("the WebM file is damaged")
    segment_size, start = _vint(file, offset + 4)
    if segment_size is not None and start + segment_size > size:
        raise InvalidAudio(_CUT)


def _vint(file: BinaryIO, offset: int) -> tuple[int | None, int]:
    """An EBML variable-size integer, None for "unknown", and the offset behind it."""
    head = _at(file, offset, 8)
    if not head or head[0] == 0:
        raise InvalidAudio("the WebM file is damaged")
    width = 9 - head[0].bit_length()
    value = int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), offset + width
