"""What locust runs: the journeys, in the numbers of a profile, every event written down.

`python -m load_tests` starts it and says by the environment which profile (`LOAD_PROFILE`), for how long (`LOAD_SECONDS`) and with how many
people (`LOAD_PEOPLE`; both empty: as the profile says), and where the events go (`LOAD_EVENTS`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from locust import LoadTestShape, events
from locust.env import Environment

from load_tests import journeys
from load_tests.events import WHY_LENGTH, Event, EventLog
from load_tests.journeys import Browser, JobUser, Newcomer, Streamer, Uploader, Watcher
from load_tests.profiles import PROFILES

__all__ = ["Browser", "JobUser", "Newcomer", "Profiled", "Streamer", "Uploader", "Watcher"]

profile = PROFILES[os.environ["LOAD_PROFILE"]]
if os.environ.get("LOAD_SECONDS"):
    profile = profile.lasting(float(os.environ["LOAD_SECONDS"]))
if os.environ.get("LOAD_PEOPLE"):
    profile = profile.among(int(os.environ["LOAD_PEOPLE"]))
for name, weight in profile.mix.items():
    getattr(journeys, name).weight = weight


class Profiled(LoadTestShape):
    """The stages of the profile."""

    def tick(self) -> tuple[int, float] | None:
        stage = profile.at(self.get_run_time())
        return (stage.users, stage.rate) if stage else None


@events.init.add_listener
def write_down(environment: Environment, **_: Any) -> None:
    log = EventLog(Path(os.environ["LOAD_EVENTS"]))

    def on_request(
        request_type: str, name: str, response_time: float, exception: BaseException | None, context: dict[str, Any], **_: Any
    ) -> None:
        outcome = "refused" if context.get("refused") else "failed" if exception is not None else "ok"
        why = str(exception)[:WHY_LENGTH] if exception is not None else ""
        users = environment.runner.user_count if environment.runner else 0
        log.add(Event(time.time(), context["journey"], f"{request_type} {name}".strip(), response_time, outcome, why, users))  # type: ignore[arg-type]

    environment.events.request.add_listener(on_request)
