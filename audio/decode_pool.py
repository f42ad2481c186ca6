"""Decoding in child processes, so that what a file does to the decoder, it does to one of those and not to us.

Decoders are large programs in C that read what strangers send. One that crashes, hangs or eats memory ends with its process; the caller
gets an error and the next file another child. Children live for many files, as starting one takes a third of a second.
"""

from __future__ import annotations

import io
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audio.decode import Limits
from audio.errors import AudioError, AudioTooLong, AudioTooShort, DecoderUnavailableError, InvalidAudio, UnsupportedAudio
from audio.pcm import Samples

_ERRORS: dict[str, type[AudioError]] = {kind.code: kind for kind in (InvalidAudio, AudioTooShort, AudioTooLong, UnsupportedAudio)}
# How a process ends that its file has led astray; SIGXCPU: it has used up its CPU time.
_LED_ASTRAY = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU}
# Decoders leak a little with some damaged files; within the bound on memory that adds up.
_FILES_A_CHILD = 200
_PROGRAM = ("-m", "audio.decode_child")
_HOUSE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    Attributes:
        format, sample_rate, channels: as of :class:`audio.decode.Decoded`.
        frames: number of samples of one channel.
        mono: the channels' mean, shape (frames,); empty where only the facts were asked for.
    """

    format: str
    sample_rate: int
    channels: int
    frames: int
    mono: Samples

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate


class Decoders:
    """A pool of child processes that decode; for use from any thread. Children are started when they are first needed."""

    def __init__(self, size: int = 0, *, memory_bytes: int = 512 * 1024**2, cpu_s: float = 20.0, timeout_s: float = 60.0) -> None:
        """
        Args:
            size: how many files are decoded at once; 0: one for each processor.
            memory_bytes: address space of a child beyond what it has before its first file.
            cpu_s: processor time for one file.
            timeout_s: time for one file, to be longer than `cpu_s`: what takes it without computing is the machine's fault.
        """
        self.memory_bytes = memory_bytes
        self.cpu_s = cpu_s
        self.timeout_s = timeout_s
        self._closed = False
        # A place is free when its child, or None where there is none yet, lies here. The child used last comes first.
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(size or os.cpu_count() or 1):
            self._free.put(None)

    def facts(self, content: bytes, limits: Limits) -> Recording:
        """As `decode`, without the samples: they do not even enter this process."""
        return self._ask(content, limits, samples=False)

    def decode(self, content: bytes, limits: Limits) -> Recording:
        """Decode as :func:`audio.decode.decode` does, in a child process. Waits for a free one.

        Raises:
            AudioError: as `audio.decode.decode`; InvalidAudio also for a file at which the decoder crashed or went on for ever.
            DecoderUnavailableError: no child could be started, or one was killed or stopped for a reason that is not the file's.
        """
        return self._ask(content, limits, samples=True)

    def close(self) -> None:
        """End the children; those at work when they are done with it."""
        self._closed = True
        ended = 0
        with suppress(queue.Empty):
            while True:
                child = self._free.get_nowait()
                if child is not None:
                    child.end()
                ended += 1
        for _ in range(ended):
            self._free.put(None)

    def _ask(self, content: bytes, limits: Limits, *, samples: bool) -> Recording:
        with self._child() as child:
            return child.decode(content, limits, samples=samples, timeout_s=self.timeout_s)

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        child = self._free.get()
        try:
            if child is None or child.process.poll() is not None or child.files >= _FILES_A_CHILD:
                if child is not None:
                    child.end()
                child = None
                child = _Child(self.memory_bytes, self.cpu_s)
            yield child
        except AudioError:
            raise  # said by a child that is well, or has been found dead
        except BaseException:
            if child is not None:
                child.end()
            raise
        finally:
            if child is not None and (self._closed or child.process.poll() is not None):
                child.end()
                child = None
            self._free.put(child)


class _Child:
    """One process of :mod:`audio.decode_child`, and what is said to it."""

    def __init__(self, memory_bytes: int, cpu_s: float) -> None:
        self.files = 0
        command = [sys.executable, *_PROGRAM, str(memory_bytes), str(math.ceil(cpu_s))]
        # Of the environment, where our secrets are, it gets nothing. More threads would only take address space.
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - nobody's input
                command, cwd=_HOUSE, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as refused:
            raise DecoderUnavailableError("a process that decodes could not be started") from refused

    def decode(self, content: bytes, limits: Limits, *, samples: bool, timeout_s: float) -> Recording:
        self.files += 1
        # Its death ends every read and write below.
        watchdog = threading.Timer(timeout_s, self.process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._talk(content, limits, samples)
        except (BrokenPipeError, ConnectionResetError, EOFError) as gone:
            raise self._why() from gone
        finally:
            watchdog.cancel()

    def end(self) -> None:
        """Kill it, and leave nothing of it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was still to be written is of no use to anybody
                    pipe.close()

    def _talk(self, content: bytes, limits: Limits, samples: bool) -> Recording:
        asking, answers = self.process.stdin, self.process.stdout
        assert asking is not None
        assert isinstance(answers, io.BufferedReader)
        asking.write(json.dumps({"limits": asdict(limits), "bytes": len(content), "samples": samples}).encode() + b"\n")
        asking.write(content)
        asking.flush()
        line = answers.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        said: dict[str, Any] = json.loads(line)
        if "broken" in said:
            raise RuntimeError(f"the decoder broke:\n{said['broken']}")
        if "code" in said:
            raise _ERRORS[said["code"]](said["message"])
        mono = np.empty(said["frames"] if samples else 0, dtype=np.float32)
        if mono.size and answers.readinto(mono.data.cast("B")) != mono.nbytes:
            raise EOFError
        return Recording(said["format"], said["sample_rate"], said["channels"], said["frames"], mono)

    def _why(self) -> Exception:
        """What the death of the child, which has closed its pipes, means."""
        try:
            status = self.process.wait(1)
        except subprocess.TimeoutExpired:
            status = 0
        if -status == signal.SIGXCPU:
            return InvalidAudio("the file is damaged: decoding it does not come to an end")
        if -status in _LED_ASTRAY:
            return InvalidAudio("the file is damaged: the decoder cannot read it")
        return DecoderUnavailableError(f"a process that decodes has ended with {status}")
