"""A file that takes its decoder down gets an error of its own, and the next one is decoded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audio import decode_pool
from audio.decode import Limits, decode
from audio.decode_pool import Decoders
from audio.errors import AudioTooLong, AudioTooShort, DecoderUnavailableError, InvalidAudio
from tests.audio.sounds import noise, with_soundfile

LIMITS = Limits()
GOOD = with_soundfile(np.stack([noise(8000, 0.5, seed=seed) for seed in (1, 2)], axis=1), 8000, "FLAC")
# As the real one, but for what it does with some contents.
STRANGE = """
import ctypes, tempfile, time
from audio import decode_child
real = decode_child.decode
def decode(content, limits):
    match content:
        case b"crash": ctypes.string_at(0)
        case b"spin":
            while True: pass
        case b"sleep": time.sleep(600)
        case b"eat": bytearray(4 * 1024**3)
        case b"write": tempfile.TemporaryFile(buffering=0).write(b"here")
        case b"bug": raise ZeroDivisionError("of ours")
    return real(content, limits)
decode_child.decode = decode
decode_child.main()
"""


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    monkeypatch.setattr(decode_pool, "_PROGRAM", ("-c", STRANGE))
    made = Decoders(1, cpu_s=1, timeout_s=60)
    yield made
    made.close()


def child_of(decoders: Decoders) -> int:
    """The process that is waiting for the next file."""
    child = decoders._free.queue[-1]  # type: ignore[attr-defined]
    assert child is not None
    return int(child.process.pid)


def decodes(decoders: Decoders) -> bool:
    expected = decode(GOOD, LIMITS)
    found = decoders.decode(GOOD, LIMITS)
    assert (found.format, found.sample_rate, found.channels, found.duration_s) == ("flac", 8000, 2, expected.duration_s)
    return np.array_equal(found.mono, expected.mono)


def test_a_child_decodes_many_files_as_we_would(decoders: Decoders) -> None:
    assert decodes(decoders)
    child = child_of(decoders)
    facts = decoders.facts(GOOD, LIMITS)
    assert (facts.frames, len(facts.mono)) == (4000, 0)
    with pytest.raises(AudioTooShort, match="at least 3"):
        decoders.decode(GOOD, Limits(min_seconds=3))
    with pytest.raises(InvalidAudio, match="not a sound"):
        decoders.decode(b"a letter", LIMITS)
    assert decodes(decoders)
    assert child_of(decoders) == child


@pytest.mark.parametrize(
    ("content", "error", "message", "replaced"),
    [
        (b"crash", InvalidAudio, "the decoder cannot read it", True),
        (b"spin", InvalidAudio, "does not come to an end", True),
        (b"eat", AudioTooLong, "too much memory", False),
        (b"bug", RuntimeError, "ZeroDivisionError", True),
        (b"write", RuntimeError, "No usable temporary directory", True),
    ],
    ids=["crash", "endless", "memory", "our bug", "a write to a file"],
)
def test_what_takes_a_decoder_down(decoders: Decoders, content: bytes, error: type[Exception], message: str, replaced: bool) -> None:
    assert decodes(decoders)
    before = child_of(decoders)
    with pytest.raises(error, match=message):
        decoders.decode(content, LIMITS)
    assert decodes(decoders)
    assert (child_of(decoders) != before) is replaced


def test_a_child_that_sleeps_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_PROGRAM", ("-c", STRANGE))
    decoders = Decoders(1, cpu_s=1, timeout_s=3)
    began = time.monotonic()
    with pytest.raises(DecoderUnavailableError):
        decoders.decode(b"sleep", LIMITS)
    assert time.monotonic() - began < 10
    decoders.close()


def test_a_child_that_was_killed_while_it_waited_is_replaced(decoders: Decoders) -> None:
    assert decodes(decoders)
    os.kill(child_of(decoders), signal.SIGKILL)
    decoders._free.queue[-1].process.wait()  # type: ignore[attr-defined]
    assert decodes(decoders)


def test_a_child_ends_with_its_parents_pipe_and_ignores_the_groups_signals(decoders: Decoders) -> None:
    assert decodes(decoders)
    process = decoders._free.queue[-1].process  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert decodes(decoders)
    process.stdin.close()
    assert process.wait(10) == 0


def test_children_have_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch, decoders: Decoders) -> None:
    monkeypatch.setenv("VOXIFY_JWT_SECRET", "x" * 32)
    assert decodes(decoders)
    assert b"VOXIFY" not in Path(f"/proc/{child_of(decoders)}/environ").read_bytes()


def test_an_old_child_makes_room_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_FILES_A_CHILD", 2)
    decoders = Decoders(1)
    children = []
    for _ in range(3):
        assert decodes(decoders)
        children.append(child_of(decoders))
    decoders.close()
    assert children[0] == children[1] != children[2]


def test_many_threads_share_few_children_and_nothing_is_left_of_them() -> None:
    decoders = Decoders(2)
    good: list[bool] = []
    threads = [threading.Thread(target=lambda: good.append(decodes(decoders))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert good == [True] * 8
    children = [child.process for child in decoders._free.queue if child is not None]
    assert 1 <= len(children) <= 2
    decoders.close()
    assert all(process.poll() is not None for process in children)


def test_no_child_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = Decoders(1)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailableError):
        decoders.decode(GOOD, LIMITS)
    monkeypatch.undo()
    assert decodes(decoders)
    decoders.close()
