"""A server that can be killed, stopped for a while and started again on what it had."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import ROOT, STOP_TIMEOUT_S, descendants, stop

START_TRIES = 20


@dataclass
class Program:
    """One server of the house.

    Attributes:
        kind: what it is one of: ``api``, ``worker``, ``inference``, ``postgres``, …
        ready: returns when the process serves, given the process and its log; raises RuntimeError when it has ended.
        at_once: a kill takes its child processes too; else those have to see for themselves that they are alone.
    """

    name: str
    kind: str
    command: Sequence[str]
    ready: Callable[[subprocess.Popen[bytes], Path], None]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    as_whom: Mapping[str, Any] = field(default_factory=dict)
    at_once: bool = False
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    failed_starts: int = 0
    files_at_start: int = 0
    faults_survived: int = 0
    _left: list[tuple[int, str]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        """That of the newest process; each has its own."""
        return self.folder / f"{self.name}-{self.starts}.log"

    def start(self) -> None:
        """Start it and wait until it serves; one that ends before is started again, as by whoever looks after it.

        Raises:
            RuntimeError: it does not come up.
        """
        for attempt in range(START_TRIES):
            if self.process is None or self.process.poll() is not None:
                self._start()
            try:
                self.ready(self.process, self.log)  # type: ignore[arg-type]
            except RuntimeError:
                if attempt == START_TRIES - 1:
                    raise
                # On a busy machine it may only be slow; to begin anew would make it slower.
                self.failed_starts += self.process.poll() is not None  # type: ignore[union-attr]
                time.sleep(0.1 * attempt)
            else:
                self.files_at_start = open_files(self.pid)
                self.faults_survived = 0
                return

    def _start(self) -> None:
        self.starts += 1
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("VOXIFY_")}
        temporary = self.folder / "tmp"
        temporary.mkdir(mode=0o777, exist_ok=True)  # what killed processes leave there goes with the house
        inherited["TMPDIR"] = str(temporary)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, env=inherited | self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, **self.as_whom
            )

    def kill(self) -> None:
        """SIGKILL, as the kernel does it to whoever took too much memory."""
        children = descendants(self.pid)
        self.process.kill()  # type: ignore[union-attr]
        if self.at_once:
            _signal(children, signal.SIGKILL)
        self._left += [(child, began) for child in children if (began := _began(child))]
        self.process.wait(STOP_TIMEOUT_S)  # type: ignore[union-attr]
        while self.at_once and self.left_behind():
            time.sleep(0.01)  # it cannot be started on its data while one of them has it

    def pause(self) -> None:
        _signal([self.pid, *descendants(self.pid)], signal.SIGSTOP)

    def resume(self) -> None:
        _signal([self.pid, *descendants(self.pid)], signal.SIGCONT)

    def left_behind(self) -> list[int]:
        """Children of killed processes that still run."""
        self._left = [(child, began) for child, began in self._left if _began(child) == began]
        return [child for child, _ in self._left]

    def stop(self) -> None:
        """For good, with all that is left of it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.resume()
            stop(self.process)
        _signal(self.left_behind(), signal.SIGKILL)


def open_files(process: int) -> int:
    """How many files, sockets and pipes a process holds."""
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def _began(process: int) -> str:
    """When a process began, which tells it from a later one of the same number; empty: it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
