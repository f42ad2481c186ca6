"""`make load`: a bounded run of the main job against a Voxify that is up; exit status 1 when anything went wrong.

`python -m load_tests --users 8 --run-time 2m`; further arguments go to locust.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from settings import Settings

DEFAULTS = {"--users": "4", "--spawn-rate": "2", "--run-time": "30s", "--stop-timeout": "60"}


def main() -> None:
    settings, given = Settings(), sys.argv[1:]
    chosen = [part for option, value in DEFAULTS.items() if option not in given for part in (option, value)]
    host = [] if "--host" in given else ["--host", f"http://{settings.api_host}:{settings.api_port}"]
    journey = str(Path(__file__).with_name("main_job.py"))
    command = [sys.executable, "-m", "locust", "-f", journey, "--headless", "--only-summary", "--exit-code-on-error", "1"]
    # In place of this process, so that locust's exit status and signals are ours.
    os.execv(sys.executable, [*command, *chosen, *host, *given])  # noqa: S606 - our own command


if __name__ == "__main__":
    main()
