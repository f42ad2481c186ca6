"""Forms that no browser makes get an answer that says why, and never a 5xx."""

from __future__ import annotations

import pytest

from tests.api.rooms import Caller, recording
from tests.api.support import error_of

SOUND = recording()
END = b"--XX--\r\n"


def part(header: bytes, content: bytes) -> bytes:
    return b"--XX\r\n" + header + b"\r\n\r\n" + content + b"\r\n"


FILE = part(b'Content-Disposition: form-data; name="file"; filename="a.wav"', SOUND)
NAME = part(b'Content-Disposition: form-data; name="name"', b"A voice")


def named(content: bytes, more: bytes = b"") -> bytes:
    return FILE + part(b'Content-Disposition: form-data; name="name"' + more, content) + END


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (FILE + NAME + END, "multipart/form-data", 400, "MALFORMED_FORM"),
        (FILE + NAME + END, "multipart/form-data; boundary=", 400, "MALFORMED_FORM"),
        (FILE + NAME + END, "multipart/form-data; boundary=YY", 400, "BAD_REQUEST"),
        ((FILE + NAME)[:5000], "", 400, "BAD_REQUEST"),
        (b"", "", 400, "VALIDATION_ERROR"),
        (FILE + FILE + NAME + END, "", 400, "VALIDATION_ERROR"),
        (FILE + NAME + NAME + END, "", 400, "VALIDATION_ERROR"),
        (part(b'Content-Disposition: form-data; name="file"', b"text") + NAME + END, "", 400, "VALIDATION_ERROR"),
        (part(b'Content-Disposition: form-data; filename="a.wav"', SOUND) + NAME + END, "", 400, "VALIDATION_ERROR"),
        (part(b'Content-Disposition: form-data; name="file"', SOUND + b"\xff") + NAME + END, "", 400, "MALFORMED_FORM"),
        (part(b'Content-Disposition: form-data; name="file"; filename=""', SOUND + b"\xff") + NAME + END, "", 400, "MALFORMED_FORM"),
        (named(b"\xff\xfe"), "", 400, "MALFORMED_FORM"),
        (named(b"\xed\xa0\x80"), "", 400, "MALFORMED_FORM"),
        (named(b"A", b"\r\nContent-Type: text/plain; charset=nonsense"), "", 400, "MALFORMED_FORM"),
        (named(b"A", b"\r\nContent-Type: text/plain; charset=utf-16"), "", 400, "MALFORMED_FORM"),
        (named(b"+2AA-", b"\r\nContent-Type: text/plain; charset=utf-7"), "", 400, "VALIDATION_ERROR"),
        (named(b"a\0b"), "", 400, "VALIDATION_ERROR"),
        (named(b"A", b'; filename="a.txt"'), "", 400, "VALIDATION_ERROR"),
        (FILE + NAME * 1200 + END, "", 400, "BAD_REQUEST"),
        (b'{"name": "A"}', "application/json", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"name=A", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_strange_forms(me: Caller, body: bytes, media_type: str, status: int, code: str) -> None:
    headers = {"Content-Type": media_type or "multipart/form-data; boundary=XX"}
    error_of(await me.ask("POST", "/voice/samples", content=body, headers=headers), status, code)
    assert await me.counts() == (0, 0, 0, 0)
