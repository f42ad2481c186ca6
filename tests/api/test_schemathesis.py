"""Requests of all kinds, made from the OpenAPI document: none gets a 5xx, and no answer is other than the document says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from litestar import Litestar
from pydantic import SecretStr

from settings import Settings
from store.models.user import ADMIN
from tests.api.accounts import change_user
from tests.api.inference import FakeInference
from tests.api.serving import serving
from tests.api.support import SignedIn, make_app, sign_up

LIMITS = (
    "requests_per_minute", "anonymous_requests_per_minute", "jobs_per_day", "samples_per_day",
    "login_failures", "login_failures_per_account", "login_failures_per_address",
)  # fmt: skip
# They end the session that the requests are made with.
LOGOUT = "/auth/logout"
# What it changes others would be tried with: no jobs a day, say.
CONFIG = "/admin/config"
ROOT = Path(__file__).parents[2]
# What one field may hold can depend on others, on the settings, and on what a voice can do: no schema says that.
UNSAID = "positive_data_acceptance"


@dataclass(frozen=True)
class Served:
    """The app behind a socket, with somebody signed in and an admin."""

    url: str
    tokens: dict[str, str]

    def tried(self, who: str, *options: str) -> None:
        """Let schemathesis try it as `who`; fails with its report."""
        headers = ["--header", f"Authorization: Bearer {self.tokens[who]}"] if who in self.tokens else []
        program = [sys.executable, "-m", "schemathesis.cli", "run", f"{self.url}/openapi.json", "--no-color", "--seed=7"]
        fixed = ["--generation-deterministic", "--suppress-health-check=all", "--request-timeout=60", f"--exclude-checks={UNSAID}"]
        done = subprocess.run(
            [*program, *fixed, *headers, *options], check=False, capture_output=True, text=True, timeout=1800,
            cwd=ROOT, env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
        assert " passed" in done.stdout, done.stdout[-2000:]

    def put_settings_back(self) -> int:
        """How many had been changed."""
        path, headers = f"{self.url}/api/v1{CONFIG}", {"Authorization": f"Bearer {self.tokens['admin']}"}
        changed = [each["name"] for each in httpx.get(path, headers=headers).json()["data"]["settings"] if each["is_changed"]]
        if changed:
            httpx.put(path, headers=headers, json=dict.fromkeys(changed)).raise_for_status()
        return len(changed)


@contextmanager
def served(app: Litestar) -> Iterator[Served]:
    """In a thread: what makes the requests is a process of its own."""
    tokens: dict[str, str] = {}

    async def prepare(client: httpx.AsyncClient) -> None:
        for who in ("user", "admin"):
            person: SignedIn = await sign_up(client, f"{who}@example.com")
            tokens[who] = person.access_token
        await change_user(app, person.id, role=ADMIN)

    with serving(app, prepare) as port:
        yield Served(f"http://127.0.0.1:{port}", tokens)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    often = dict.fromkeys(LIMITS, 10**6)
    settings = Settings(env="dev", data_dir=folder, jwt_secret=SecretStr("s" * 32), _env_file=None, **often)  # type: ignore[call-arg,arg-type]
    with served(make_app(settings, inference_transport=FakeInference().transport)) as found:
        yield found


def test_anybody(api: Served) -> None:
    api.tried("nobody", "--phases=examples")


def test_somebody_signed_in(api: Served) -> None:
    api.tried("user", "--phases=examples,fuzzing", "--max-examples=2", f"--exclude-path-regex={LOGOUT}")


def test_an_admin(api: Served) -> None:
    api.tried("admin", "--phases=fuzzing", "--max-examples=5", "--include-path-regex=/admin/")
    api.put_settings_back()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("who", ["nobody", "user", "admin"])
def test_everything_at_length(api: Served, who: str) -> None:
    api.tried(who, "--max-examples=30", f"--exclude-path-regex={LOGOUT}|{CONFIG}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_settings_at_length(api: Served) -> None:
    api.tried("admin", "--max-examples=50", "--phases=examples,coverage,fuzzing", f"--include-path-regex={CONFIG}")
    assert api.put_settings_back() > 0, "none was ever changed"
