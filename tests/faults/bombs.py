"""Files and forms that are small and would grow large, or that say what is not so. All are made in well under a second."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from tests.audio.sounds import with_ffmpeg, with_soundfile

MIB = 1024**2
SILENCE = np.zeros(24_000, np.float32)


def _flac_crc(data: bytes, polynomial: int, width: int) -> int:
    crc, top = 0, 1 << (width - 1)
    for byte in data:
        crc ^= byte << (width - 8)
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial if crc & top else crc << 1) & ((1 << width) - 1)
    return crc


def _coded(number: int) -> bytes:
    """A frame's number as FLAC writes it: UTF-8, also beyond Unicode."""
    if number < 0x80:
        return bytes([number])
    tail: list[int] = []
    room = 0x3F
    while number > room:
        tail.append(0x80 | number & 0x3F)
        number >>= 6
        room >>= 1
    return bytes([(~(room * 2 + 1)) & 0xFF | number, *reversed(tail)])


def silent_flac(hours: float, rate: int = 8000) -> bytes:
    """Digital silence of hours in FLAC (RFC 9639): constant subframes in the largest blocks, about 5 KB an hour."""
    block = 65_535
    frames = int(hours * 3600 * rate / block)
    info = struct.pack(">HH", block, block) + bytes(6) + ((rate << 44) | (15 << 36) | frames * block).to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80\x00\x00\x22", info]
    for number in range(frames):
        head = b"\xff\xf8\x74\x08" + _coded(number) + struct.pack(">H", block - 1)
        head += bytes([_flac_crc(head, 0x07, 8)])
        frame = head + b"\x00\x00\x00"  # one constant subframe of 16 bits: 0
        parts.append(frame + _flac_crc(frame, 0x8005, 16).to_bytes(2, "big"))
    return b"".join(parts)


def wav(channels: int = 1, rate: int = 16_000, *, claims: int | None = None, data: bytes = bytes(1000)) -> bytes:
    """16-bit PCM whose header may claim another size than it has."""
    size = len(data) if claims is None else claims
    width = min(channels * 2, 65_535)
    fmt = struct.pack("<HHIIHH", 1, channels, rate, min(rate * width, 2**32 - 1), width, 16)
    return b"RIFF" + struct.pack("<I", min(36 + size, 2**32 - 1)) + b"WAVEfmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", size) + data


def rf64() -> bytes:
    """64-bit sizes of an exabyte (EBU Tech 3306)."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 2**60, 2**60, 2**60, 0)
    head = wav(claims=2**32 - 1)
    return b"RF64" + head[4:12] + ds64 + head[12:]


def wav_of_chunks(size: int = 15 * MIB) -> bytes:
    """Two million empty chunks before the sound."""
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + b"junk\0\0\0\0" * (size // 8)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def m4a_of_boxes(size: int = 15 * MIB) -> bytes:
    """Two million empty boxes."""
    return _box(b"ftyp", b"M4A \0\0\0\0M4A isom") + b"\0\0\0\x08free" * (size // 8)


def nested_m4a(depth: int = 200_000) -> bytes:
    """Boxes in boxes, as far as 15 MiB go."""
    name = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
    sizes = (struct.pack(">I", 8 * (depth - level)) + name[min(level, 4)] for level in range(depth))
    return _box(b"ftyp", b"M4A \0\0\0\0M4A isom") + b"".join(sizes)


def _zeros(size: int) -> bytes:
    """So many MiB of zeros as a zlib stream, made of one piece again and again."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (size - 1)


def compressed_moov() -> bytes:
    """QuickTime's compressed index, which says that it grows to two gigabytes, and does."""
    packed = _zeros(2047)
    cmov = _box(b"cmov", _box(b"dcom", b"zlib") + _box(b"cmvd", struct.pack(">I", 2047 * MIB) + packed))
    return _box(b"ftyp", b"M4A \0\0\0\0M4A isom") + _box(b"moov", cmov)


def m4a_table() -> bytes:
    """A table of samples that claims 2^28 of them."""
    data = bytearray(with_ffmpeg(SILENCE, 24_000, "ipod", "aac"))
    at = data.index(b"stsz") + 12
    data[at : at + 4] = (0x0FFFFFFF).to_bytes(4, "big")
    return bytes(data)


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def compressed_webm() -> bytes:
    """Matroska whose codec's data are compressed: two gigabytes of zeros in two megabytes (RFC 9559, section 5.1.4.1.31)."""
    encoding = _element(
        "6d80", _element("6240", _element("5032", b"\x03") + _element("5033", b"\x00") + _element("5034", _element("4254", b"\x00")))
    )
    sound = _element("e1", _element("b5", struct.pack(">d", 48_000.0)) + _element("9f", b"\x01"))
    track = _element("d7", b"\x01") + _element("73c5", b"\x01") + _element("83", b"\x02") + _element("86", b"A_OPUS")
    entry = _element("ae", track + _element("63a2", _zeros(2047)) + sound + encoding)
    segment = _element("1654ae6b", entry) + _element("1f43b675", _element("e7", b"\0") + _element("a3", b"\x81\0\0\x80" + _zeros(64)))
    return _element("1a45dfa3", _element("4282", b"webm")) + _element("18538067", segment)


def _ogg_page(payload: bytes, *, serial: int = 1, number: int = 0, granule: int = 0, flags: int = 0) -> bytes:
    sizes = [255] * (len(payload) // 255) + [len(payload) % 255]
    head = b"OggS\0" + struct.pack("<BqIII", flags, granule, serial, number, 0) + bytes([len(sizes), *sizes])
    page = head + payload
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _OGG_CRC[crc >> 24 ^ byte]
    return page[:22] + struct.pack("<I", crc) + page[26:]


def _ogg_table() -> Iterator[int]:
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        yield crc


_OGG_CRC = tuple(_ogg_table())
_OPUS_HEAD = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0"
_OPUS_TAGS = b"OpusTags\0\0\0\0\0\0\0\0"


def ogg_far_away() -> bytes:
    """One packet of Opus that is said to end nine quintillion samples on."""
    pages = _ogg_page(_OPUS_HEAD, flags=2) + _ogg_page(_OPUS_TAGS, number=1)
    return pages + _ogg_page(b"\xf8\xff\xfe", number=2, granule=2**63 - 1) + _ogg_page(b"\xf8\xff\xfe", number=3, granule=-(2**63), flags=4)


def ogg_of_streams(size: int = 8 * MIB) -> bytes:
    """A new stream with every page."""
    page = _ogg_page(_OPUS_HEAD, flags=2)
    pages = (page[:14] + struct.pack("<I", serial) + page[18:] for serial in range(size // len(page)))
    return b"".join(pages) + _ogg_page(_OPUS_TAGS, number=1, flags=4)


def ogg_tags() -> bytes:
    """A comment header that counts four billion comments."""
    return _ogg_page(_OPUS_HEAD, flags=2) + _ogg_page(b"OpusTags\0\0\0\0\xff\xff\xff\xff" + bytes(200), number=1, flags=4)


def id3_claim() -> bytes:
    """A tag that says it has 256 MiB, before nothing."""
    return b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(1000)


def id3_compressed() -> bytes:
    """Frames of a tag that are compressed, each to grow to 255 MiB."""
    packed = _zeros(255)
    frame = b"APIC" + struct.pack(">IBB", len(packed) + 4, 0, 0x80) + struct.pack(">I", 255 * MIB) + packed
    body = frame * 20
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + body + b"\xff\xfb\x90\x64" + bytes(413)


def flac_at_the_edge() -> bytes:
    """A minute of eight channels at the highest sample rate there is."""
    data = bytearray(silent_flac(0.1))
    data[18:22] = ((655_350 << 12 | 7 << 9 | 15 << 4) & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def zip_archive() -> bytes:
    """What an archive of a gigabyte looks like at its start."""
    return b"PK\x03\x04" + bytes(26) + _zeros(1024)


def long_and_wide() -> bytes:
    """The most that may be decoded: 60 s of eight channels at 192 kHz in FLAC, and a little more."""
    import soundfile

    written = io.BytesIO()
    with soundfile.SoundFile(written, "w", 96_000, 8, "PCM_16", format="FLAC") as file:
        for _ in range(59):
            file.write(np.zeros((96_000, 8), np.int16))
    return written.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "ten hours of silence in 50 KB": (lambda: silent_flac(10), {"AUDIO_TOO_LONG"}),
    "a WAV header that claims 4 GB": (lambda: wav(claims=2**32 - 2), {"INVALID_AUDIO"}),
    "an RF64 header that claims an exabyte": (rf64, {"INVALID_AUDIO"}),
    "two million WAV chunks": (wav_of_chunks, {"INVALID_AUDIO"}),
    "65,535 channels": (lambda: wav(65_535, data=bytes(MIB)), {"UNSUPPORTED_AUDIO", "INVALID_AUDIO"}),
    "255 channels": (lambda: wav(255, data=bytes(MIB)), {"UNSUPPORTED_AUDIO", "INVALID_AUDIO"}),
    "four gigahertz": (lambda: wav(1, 2**32 - 1, data=bytes(MIB)), {"UNSUPPORTED_AUDIO", "INVALID_AUDIO"}),
    "one hertz": (lambda: wav(1, 1, data=bytes(MIB)), {"UNSUPPORTED_AUDIO", "INVALID_AUDIO"}),
    "eight channels at 655 kHz": (flac_at_the_edge, {"UNSUPPORTED_AUDIO", "INVALID_AUDIO", "AUDIO_TOO_LONG"}),
    "the largest sound that fits": (long_and_wide, {"AUDIO_TOO_LONG"}),
    "two million M4A boxes": (m4a_of_boxes, {"INVALID_AUDIO"}),
    "boxes in boxes": (nested_m4a, {"INVALID_AUDIO"}),
    "a compressed M4A index": (compressed_moov, {"INVALID_AUDIO", "AUDIO_TOO_LONG"}),
    "an M4A table that claims millions": (m4a_table, {"INVALID_AUDIO"}),
    "compressed WebM": (compressed_webm, {"INVALID_AUDIO", "AUDIO_TOO_LONG", "UNSUPPORTED_AUDIO"}),
    "an Ogg page at the end of time": (ogg_far_away, {"INVALID_AUDIO", "AUDIO_TOO_SHORT"}),
    "an Ogg stream a page": (ogg_of_streams, {"INVALID_AUDIO", "UNSUPPORTED_AUDIO", "AUDIO_TOO_SHORT"}),
    "four billion Ogg comments": (ogg_tags, {"INVALID_AUDIO"}),
    "an ID3 tag of 256 MB": (id3_claim, {"INVALID_AUDIO"}),
    "compressed ID3 frames": (id3_compressed, {"INVALID_AUDIO", "AUDIO_TOO_LONG"}),
    "a zip archive": (zip_archive, {"INVALID_AUDIO"}),
    "silence that is called M4A": (lambda: b"\0\0\0\x20ftypM4A " + with_soundfile(SILENCE, 24_000, "WAV"), {"INVALID_AUDIO"}),
}
