"""Where encoded bytes go: files and pipes, as libsndfile wants to see them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol


class Sink(Protocol):
    """The part of a binary file that encoders use."""

    def write(self, data: bytes, /) -> int: ...
    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


class Guard:
    """A sink for libsndfile: positions count from where the sink stands now, and errors wait until Python can raise them.

    An exception within one of libsndfile's callbacks would be printed and lost.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink, self._base = sink, sink.tell()
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises the first OSError that the sink met."""
        if self._error is not None:
            raise self._error

    def write(self, data: bytes) -> int:
        return self._kept(self._sink.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            offset += self._base
        return self._kept(self._sink.seek, offset, whence) - self._base

    def tell(self) -> int:
        return self._kept(self._sink.tell) - self._base

    def read(self, size: int = -1) -> bytes:
        return self._sink.read(size)

    def _kept(self, call: Callable[..., int], *arguments: bytes | int) -> int:
        try:
            return call(*arguments)
        except OSError as error:  # `check` raises it
            self._error = self._error or error
            return 0


class Pipe:
    """A sink whose bytes are taken away while it is written. What is written over bytes that were taken is dropped."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._taken = self._position = 0

    def take(self) -> bytes:
        """The bytes since the last call."""
        data = bytes(self._waiting)
        self._taken += len(data)
        self._waiting.clear()
        return data

    def write(self, data: bytes, /) -> int:
        at = self._position - self._taken
        fresh = bytes(data)[max(0, -at) :]
        at = max(0, at)
        self._waiting[at : at + len(fresh)] = fresh
        self._position += len(data)
        return len(data)

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - nothing can be read back
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._taken + len(self._waiting)}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position
