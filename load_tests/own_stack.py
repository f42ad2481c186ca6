"""A Voxify of the load test's own: on free ports, in a folder that goes afterwards, with limits that refuse nobody."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.overload import resident_mb
from benchmarks.start import processor_seconds
from load_tests.verdict import Server
from scripts.stack import Stack
from settings import Settings
from tests.servers import free_port

MODELS = {"smoke": "smoke", "bundled": "voxify-small-en"}
UNLIMITED = 10**9
LOOK_S = 2.0
ELSEWHERE = ("DATABASE_URL", "OBJECTS_URL", "VECTORS_URL", "REDIS_URL", "BROKER_URL", "INFERENCE_URL", "OTLP_ENDPOINT", "SMTP_HOST")
"""Where state and mail would go that is not in the folder. Set to nothing, for a file `.env` may name what is precious."""


def environment(folder: Path, voice: str) -> dict[str, str]:
    """Of both tiers: what is measured is Voxify, not the quotas of the accounts that ask it."""
    own = {
        "ENV": "dev",
        "DATA_DIR": folder,
        "QUEUE": "embedded",
        "API_HOST": "127.0.0.1",
        "API_PORT": free_port(),
        "INFERENCE_HOST": "127.0.0.1",
        "INFERENCE_PORT": free_port(),
        "MODEL": MODELS[voice],
        "REQUESTS_PER_MINUTE": UNLIMITED,
        "ANONYMOUS_REQUESTS_PER_MINUTE": UNLIMITED,
        "SAMPLES_PER_DAY": UNLIMITED,
        "JOBS_PER_DAY": UNLIMITED,
        "STORAGE_BYTES": 2**60,
    } | dict.fromkeys(ELSEWHERE, "")
    others = {name: value for name, value in os.environ.items() if not name.startswith("VOXIFY_")}
    return others | {"HF_HUB_OFFLINE": "1", "BENTOML_HOME": str(folder / "bentoml")} | {f"VOXIFY_{k}": str(v) for k, v in own.items()}


def settings_of(environment: dict[str, str]) -> Settings:
    """The same for this process: ports, hosts and folder."""
    return Settings.model_validate({k.removeprefix("VOXIFY_").lower(): v for k, v in environment.items() if k.startswith("VOXIFY_")})


class Watch:
    """Looks at the processes of a stack every `LOOK_S` seconds, in a thread."""

    def __init__(self, stack: Stack) -> None:
        self.seen: list[Server] = []
        self._stack = stack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        tiers = [tier.process.pid for tier in (self._stack.api, self._stack.inference) if tier.process]
        before, spent = time.monotonic(), [processor_seconds(pid) for pid in tiers]
        while not self._ended.wait(LOOK_S):
            with suppress(OSError):  # a process that has ended; the verdict says so
                now, spent_now = time.monotonic(), [processor_seconds(pid) for pid in tiers]
                api, inference = ((after - was) / (now - before) for was, after in zip(spent, spent_now, strict=True))
                # Decoders are started when somebody first needs them, and are no leak.
                api_mb, inference_mb = (resident_mb(pid, with_children=False) for pid in tiers)
                self.seen.append(Server(time.time(), api_mb, inference_mb, api, inference, os.getloadavg()[0]))
                before, spent = now, spent_now


@contextmanager
def watched(stack: Stack) -> Iterator[list[Server]]:
    """What the servers of a running stack take, in a list that grows."""
    with Watch(stack) as watch:
        yield watch.seen
