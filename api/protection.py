"""What every answer tells a browser not to do with it. That only TLS is good is for whoever ends it to say (HSTS): the proxy."""

from __future__ import annotations

from collections.abc import Iterable

# Our answers are data and never pages: whatever one holds, nothing in it is run, loaded or put into a frame.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", DATA_POLICY.encode()),
    # Tokens and what people wrote stay in no cache. Answers that may be kept, such as files, say so themselves.
    (b"cache-control", b"no-store"),
)


def protective(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of protection that an answer with the headers `given` does not have of its own."""
    names = {name.lower() for name, _ in given}
    return [header for header in _HEADERS if header[0] not in names]
