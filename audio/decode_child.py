"""The child of :mod:`audio.decode_pool`: decodes one file after another from its standard input, each within its bounds.

It is asked with a line of JSON and the bytes of the file, and answers with a line of JSON and, if they are wanted, float32 samples. It
ends when its input does, so that none outlives its parent.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import traceback
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audio.decode import Limits, decode
from audio.errors import AudioError, AudioTooLong

_NO_SAMPLES: NDArray[np.float32] = np.zeros(0, dtype=np.float32)


def main() -> None:
    memory_bytes, cpu_s = (int(argument) for argument in sys.argv[1:3])
    # Signals to the whole group are meant for the parent, which may still want what is being decoded.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    _bound(resource.RLIMIT_AS, _address_space() + memory_bytes)
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_FSIZE, 0)
    serve(sys.stdin.buffer, answers, cpu_s)


def serve(asked: BinaryIO, answers: BinaryIO, cpu_s: int) -> None:
    """Answer until the input ends. A file that takes more than `cpu_s` seconds of processor time ends the process."""
    while line := asked.readline():
        request = json.loads(line)
        content = asked.read(request["bytes"])
        if len(content) < request["bytes"]:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        _bound(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + cpu_s))
        said, mono = _decoded(content, Limits(**request["limits"]))
        answers.write(json.dumps(said).encode() + b"\n")
        if request["samples"]:
            answers.write(mono.data)
        answers.flush()
        del content, mono


def _decoded(content: bytes, limits: Limits) -> tuple[dict[str, Any], NDArray[np.float32]]:
    try:
        decoded = decode(content, limits)
        facts = {"format": decoded.format, "sample_rate": decoded.sample_rate, "channels": decoded.channels}
        return {**facts, "frames": len(decoded.samples)}, decoded.mono
    except AudioError as refused:
        return {"code": refused.code, "message": refused.message}, _NO_SAMPLES
    except MemoryError:
        return {"code": AudioTooLong.code, "message": "decoding the sound takes too much memory"}, _NO_SAMPLES
    except Exception:  # noqa: BLE001 - the parent raises it again
        return {"broken": traceback.format_exc()}, _NO_SAMPLES


def _bound(what: int, most: int) -> None:
    """Set the soft limit, which counts; it is never beyond the hard one, which stays."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _address_space() -> int:
    """Bytes that this process has mapped so far."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - a path object for one read is no gain
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
