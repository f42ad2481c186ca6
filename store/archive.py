"""An archive of files that is written and read from front to back, with a digest of all that is in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from store.clock import utcnow

BLOCK = 1024 * 1024


class BackupError(Exception):
    """A backup or its restoration is refused; the message says why."""

    code = "BACKUP_ERROR"


class Archive:
    """Writes an archive from front to back."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out
        self.digest = hashlib.sha256()

    def begin(self, name: str, size: int) -> None:
        """The next member; :meth:`write` its `size` bytes, then :meth:`end` it."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(utcnow().timestamp())
        self.out.write(info.tobuf(tarfile.PAX_FORMAT))
        self.digest.update(name.encode())

    def write(self, block: bytes) -> None:
        self.out.write(block)
        self.digest.update(block)

    def end(self, size: int) -> None:
        self.out.write(bytes(-size % tarfile.BLOCKSIZE))

    def member(self, name: str, content: bytes) -> None:
        self.begin(name, len(content))
        self.write(content)
        self.end(len(content))

    def file(self, name: str, source: Path) -> None:
        size = source.stat().st_size
        self.begin(name, size)
        with source.open("rb") as content:
            while block := content.read(BLOCK):
                self.write(block)
        self.end(size)

    def finish(self) -> None:
        """The end of the archive."""
        self.out.write(bytes(2 * tarfile.BLOCKSIZE))


class Members:
    """Reads an archive from front to back. What is read of a member must be read by the methods here, which keep the digest."""

    def __init__(self, archive: tarfile.TarFile, unsealed: str) -> None:
        self._unsealed = unsealed
        self._infos = iter(archive)
        self._archive = archive
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Members:
        return self

    def __next__(self) -> tuple[str, IO[bytes]]:
        info = next(self._infos)
        content = self._archive.extractfile(info) if info.isreg() else None
        if content is None:
            raise BackupError(f"The backup holds something that is no file: {info.name}")
        if info.name != self._unsealed:
            self._digest.update(info.name.encode())
        return info.name, content

    def all(self, content: IO[bytes]) -> bytes:
        return b"".join(self.blocks(content))

    def blocks(self, content: IO[bytes]) -> Iterator[bytes]:
        while block := content.read(BLOCK):
            self._digest.update(block)
            yield block

    def lines(self, content: IO[bytes]) -> Iterator[bytes]:
        for line in content:
            self._digest.update(line)
            yield line


@contextlib.contextmanager
def opened(file: Path, unsealed: str) -> Iterator[Members]:
    """The members of an archive, and the digest of all but the one named `unsealed`.

    Raises BackupError for what cannot be read, wherever in the block that shows.
    """
    try:
        with tarfile.open(file, "r|") as archive:
            yield Members(archive, unsealed)
    except (tarfile.TarError, json.JSONDecodeError, EOFError) as damaged:
        raise BackupError(f"This is no backup of Voxify, or it is damaged: {damaged}") from damaged


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[Archive]:
    """The file is there when the block has ended well, and not before."""
    if file.exists():
        raise BackupError(f"{file} is there already")
    part = file.with_name(f"{file.name}.part")
    try:
        # Its owner's alone: it holds the hashes of passwords.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(f"Another backup is being written to {part}; if it was interrupted, remove that file") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield Archive(out)
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
