"""Files of each format with bytes changed: parsers of headers say InvalidAudio or nothing, no decoder crashes, hangs or overflows."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio.containers import require_promised, require_whole, sniff
from audio.decode_pool import Decoders
from audio.errors import AudioError, InvalidAudio
from tests.audio.test_decode_fuzz import FILES, LIMITS, mutated

# What headers say when they lie: nothing, one, the edges of 16, 31, 32 and 63 bits.
EDGES = [0, 1, 7, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def parsed(content: bytes, frames: int = 4800, rate: int = 8000) -> None:
    """All that is read of a header before and after the sound is decoded."""
    file = io.BytesIO(content)
    try:
        container = sniff(file)
        require_whole(file, container)
        require_promised(file, container, frames, rate)
    except InvalidAudio:
        return


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_parsers_of_headers(kind: str, data: st.DataObject) -> None:
    parsed(mutated(kind, data), data.draw(st.integers(0, 2**40)), data.draw(st.integers(1, 2**31)))


@pytest.mark.parametrize("kind", FILES)
def test_every_number_at_its_edges(kind: str) -> None:
    """Each place of the header in turn takes each such number, in both orders of bytes."""
    began, content = time.monotonic(), FILES[kind]
    for at in range(min(160, len(content) - 8)):
        for value in EDGES:
            for size in (4, 8):
                for order in ("little", "big"):
                    if value < 1 << 8 * size:
                        parsed(content[:at] + value.to_bytes(size, order) + content[at + size :])  # type: ignore[arg-type]
    assert time.monotonic() - began < 60, "no number makes a parser go on for ever"


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(1, cpu_s=5, timeout_s=60)
    yield made
    made.close()


def survives(decoders: Decoders, content: bytes) -> None:
    """Decoded or refused, by a child that is well afterwards."""
    before = decoders._free.queue[-1]
    message = ""
    try:
        decoders.facts(content, LIMITS)
    except AudioError as refused:
        message = refused.message
    assert "the decoder cannot read it" not in message, "it crashed"
    assert "does not come to an end" not in message
    assert "too much memory" not in message
    after = decoders._free.queue[-1]
    assert after is not None
    assert before is None or after is before or before.files >= 200


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FILES)
def test_many_mutated_files(decoders: Decoders, kind: str) -> None:
    """Thousands for each format, in a child, so that a crash is a finding and no end of the tests."""

    @settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        survives(decoders, mutated(kind, data))

    look()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FILES)
def test_every_bit_of_a_header(decoders: Decoders, kind: str) -> None:
    content = FILES[kind]
    for at in range(min(300, len(content))):
        for bit in range(8):
            survives(decoders, content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
