"""`make load`: people come and use Voxify as people do, for as long as a profile says; exit status 1 when a limit was exceeded.

    python -m load_tests                                   # a Voxify of its own with the smoke voice, for a minute
    python -m load_tests --voice bundled --profile steady  # one that speaks
    python -m load_tests --url https://voxify.example.com  # yours: raise the limits of accounts first, and expect its rows to stay

Writes `report.html`, which needs nothing else, and `report.json`. `--patience 4` lets everything take four times as long, for a machine
that is known to be slow or busy; shares of errors stay what they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from load_tests.events import Event, read
from load_tests.own_stack import MODELS, environment, settings_of, watched
from load_tests.profiles import PROFILES, Profile
from load_tests.report import as_json, page
from load_tests.verdict import Server, Verdict, failures, judge
from scripts.stack import Stack, StackError, interruptible

ROOT = Path(__file__).resolve().parent.parent
LAST_ROUNDS_S = 90  # people may end what they are at, which takes no longer than it takes
BOUND_S = 60.0  # beyond that, locust does not come to an end


def locust(profile: Profile, url: str, events: Path, *, seconds: float | None, people: int | None) -> int:
    """Run the journeys in a process of their own, since gevent replaces half of the standard library. Its exit status."""
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless", "--only-summary"]
    command += ["--host", url, "--stop-timeout", str(LAST_ROUNDS_S), "--exit-code-on-error", "0", "--loglevel", "WARNING"]
    told = {"LOAD_PROFILE": profile.name, "LOAD_EVENTS": str(events), "LOAD_SECONDS": str(seconds or ""), "LOAD_PEOPLE": str(people or "")}
    limit = profile.seconds + LAST_ROUNDS_S + BOUND_S
    # Nothing of ours may come between: a proxy or settings of the environment are not what is measured.
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | told | {"NO_PROXY": "*"}, timeout=limit, check=False)  # noqa: S603 - our own
    return ran.returncode


def run(asked: argparse.Namespace) -> tuple[dict[str, Any], list[Event], list[Server]]:
    """The journeys against a Voxify of our own or another's: what it was, what happened, and what the servers took.

    Raises:
        StackError: Voxify did not start, or died meanwhile.
    """
    profile = PROFILES[asked.profile]
    if asked.seconds:
        profile = profile.lasting(asked.seconds)
    if asked.people:
        profile = profile.among(asked.people)
    told = {
        "profile": profile.name,
        "seconds": profile.seconds,
        "people": max(stage.users for stage in profile.stages),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "against": asked.url or f"its own, voice {asked.voice}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average_before": round(os.getloadavg()[0], 1),
        "patience": asked.patience,
    }
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="voxify-load-")))
        url, servers, stack = asked.url, [], None
        if not url:
            own = environment(folder / "data", asked.voice)
            stack = opened.enter_context(Stack(settings_of(own), environment=own))
            url, servers = stack.api_url, opened.enter_context(watched(stack))
        status = locust(profile, url, folder / "events.jsonl", seconds=asked.seconds, people=asked.people)
        if stack is not None:
            for tier in (stack.api, stack.inference):
                if not tier.running:
                    raise StackError(f"The {tier.name} tier died. Its last lines:\n{tier.last_lines(20)}")
        if status:
            raise StackError(f"locust ended with {status}")
        return told | {"load_average_after": round(os.getloadavg()[0], 1)}, read(folder / "events.jsonl"), list(servers)


def write(output: Path, told: dict[str, Any], events: list[Event], verdicts: list[Verdict], servers: list[Server]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.html").write_text(page(told, events, verdicts, servers), encoding="utf-8")
    (output / "report.json").write_text(json.dumps(as_json(told, events, verdicts, servers), indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="smoke")
    parser.add_argument("--url", default="", help="base address of a Voxify that is up; without it one is started")
    parser.add_argument("--voice", choices=sorted(MODELS), default="smoke", help="of the one that is started")
    parser.add_argument("--seconds", type=float, help="make the profile shorter or longer")
    parser.add_argument("--people", type=int, help="so many where the profile has most, at least 8, and elsewhere in proportion")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies all limits that are times")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "load")
    asked = parser.parse_args()
    interruptible()
    try:
        told, events, servers = run(asked)
    except KeyboardInterrupt:
        return 130
    except (StackError, subprocess.TimeoutExpired, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    profile = PROFILES[asked.profile]
    verdicts = judge(profile.limits, events, servers, patience=asked.patience)
    write(asked.output, told, events, verdicts, servers)
    for verdict in verdicts:
        if not verdict.passed:
            limit = verdict.limit
            print(f"FAILED {limit.journey}: {limit.measure} {limit.name}: {verdict.measured}, limit {verdict.allowed:g}")
    for reason, count in failures(events):
        print(f"  {count} x {reason}")
    passed = all(verdict.passed for verdict in verdicts)
    print(f"{'Passed' if passed else 'Failed'}; report: {(asked.output / 'report.html').absolute()}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
