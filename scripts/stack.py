"""Voxify on one machine: the inference service and the API as child processes, started, watched and stopped together."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 1800.0  # the first start may download a model
STOP_LIMIT_S = 30.0
LIVES = 5  # restarts of one process before it is given up
PATIENCE_S = 15.0  # between two lines that say that it still goes on

Say = Callable[[str], None]


class StackError(Exception):
    """Voxify could not be started; the message says why and what to do."""


@dataclass
class Tier:
    """One child process and how to tell that it is ready."""

    name: str
    command: list[str]
    port: int
    ready_url: str
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, environment: dict[str, str]) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C reaches us alone, and we stop the tiers in the right order.
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Ask it to end, and after `limit_s` end it with all it started."""
        if self.process is None:
            return
        if self.running:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(limit_s)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ready(self) -> bool:
        return answers(self.ready_url)

    def last_lines(self, count: int) -> str:
        with suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").replace("\r", "\n").splitlines()[-count:])
        return ""


@dataclass
class Stack:
    """Both tiers. A context manager: what it started is stopped at the end, however the end comes."""

    settings: Settings
    say: Say = print
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    _lock: IO[str] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        settings, logs = self.settings, self.settings.data_dir / "logs"
        inference = f"http://{settings.inference_host}:{settings.inference_port}"
        self.inference = Tier(
            "inference", [sys.executable, "-m", "inference"], settings.inference_port, f"{inference}/readyz", logs / "inference.log"
        )
        self.api = Tier(
            "api", [sys.executable, "-m", "api.cli", "serve"], settings.api_port, f"{self.api_url}/health/ready", logs / "api.log"
        )

    @property
    def api_url(self) -> str:
        return f"http://{self.settings.api_host}:{self.settings.api_port}"

    @property
    def lock_path(self) -> Path:
        return self.settings.data_dir / "up.lock"

    def elsewhere(self) -> bool:
        """Whether another process starts or runs Voxify with this data folder."""
        if not self.lock_path.exists():
            return False
        with self.lock_path.open("a") as lock:
            return not _locked(lock)

    def __enter__(self) -> Stack:
        for tier in (self.inference, self.api):
            if _port_taken(tier.port):
                raise StackError(
                    f"Port {tier.port} is in use, so the {tier.name} tier cannot start. Stop what uses it, "
                    f"or choose another with VOXIFY_{tier.name.upper()}_PORT."
                )
        # What lies below it is for nobody else on this machine.
        self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The system lets go of it when this process ends, however it ends.
        self._lock = self.lock_path.open("a")
        # `elsewhere` has it for a moment.
        deadline = time.monotonic() + 1
        while not (locked := _locked(self._lock)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not locked:
            self._lock.close()
            raise StackError(f"Voxify runs already with the data in {self.settings.data_dir.absolute()}")
        try:
            self._start(self.inference, self.api)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        if self.api.running:
            self.say("\nStopping; jobs that do not end soon go back into the queue")
        self.api.stop()
        self.inference.stop()
        if self._lock is not None:
            self._lock.close()

    def watch(self) -> None:
        """Return when a signal interrupts; meanwhile restart whatever dies."""
        while True:
            time.sleep(0.5)
            for tier in (self.inference, self.api):
                if tier.running:
                    continue
                if tier.restarts >= LIVES:
                    raise StackError(f"The {tier.name} tier died {LIVES} times. Its last lines:\n{tier.last_lines(20)}")
                tier.restarts += 1
                code = tier.process.returncode if tier.process else None
                self.say(f"  {tier.name} ended unexpectedly (code {code}); starting it again")
                tier.stop()
                self._start(tier)

    def _start(self, *tiers: Tier) -> None:
        """Start them side by side, as each is busy with its imports; a tier may need those before it to become ready."""
        begun = time.monotonic()
        for tier in tiers:
            self.say(f"  {tier.name:<10} starting (log: {tier.log_path})")
            tier.start(self.environment)
        for tier in tiers:
            self._until_ready(tier, tiers, begun)
            self.say(f"  {tier.name:<10} ready after {time.monotonic() - begun:.1f} s")

    def _until_ready(self, tier: Tier, tiers: tuple[Tier, ...], begun: float) -> None:
        shown, shown_at = "", time.monotonic()
        while not tier.ready():
            ended = next((each for each in tiers if not each.running), None)
            if ended is not None:
                raise StackError(f"The {ended.name} tier ended while it started. Its last lines:\n{ended.last_lines(20)}")
            now = time.monotonic()
            if now - begun > START_LIMIT_S:
                raise StackError(f"The {tier.name} tier was not ready after {START_LIMIT_S:.0f} s; see {tier.log_path}")
            line = tier.last_lines(1).strip()
            if "%" in line and line != shown and now - shown_at > 1:  # a download, telling how far it is
                self.say(f"             {line[:110]}")
                shown, shown_at = line, now
            elif now - shown_at > PATIENCE_S:
                self.say(f"  {tier.name:<10} still starting after {now - begun:.0f} s; a first start compiles its libraries")
                shown_at = now
            time.sleep(0.2)


_http = httpx.Client(timeout=5, trust_env=False)  # making one takes more of a processor than a start can spare at each look


def answers(url: str) -> bool:
    """Whether somebody answers there, and that all is well."""
    try:
        return _http.get(url).is_success
    except httpx.HTTPError:
        return False


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _port_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def interruptible() -> None:
    """Make SIGTERM end the program as Ctrl-C does, so that what was started is stopped too.

    SIGINT is set as well: a shell starts its background jobs with that signal ignored.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
