"""The Voxify that a load test starts: apart from whatever else is on the machine, and with quotas that nobody meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.own_stack import environment, settings_of


def test_nothing_of_the_machines_own_voxify_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = "VOXIFY_DATABASE_URL=postgresql+asyncpg://precious/rows\nVOXIFY_OBJECTS_URL=s3://precious\nVOXIFY_API_PORT=8000\n"
    (tmp_path / ".env").write_text(precious)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXIFY_REDIS_URL", "redis://precious:6379/0")
    own = environment(tmp_path, "smoke")
    settings = settings_of(own)
    assert not [value for value in own.values() if "precious" in value]
    assert not settings.objects_url
    assert not settings.redis_url.get_secret_value()
    assert settings.database == f"sqlite+aiosqlite:///{tmp_path / 'voxify.db'}"
    assert settings.api_port not in (8000, settings.inference_port)
    assert settings.inference == f"http://127.0.0.1:{settings.inference_port}"


def test_quotas_are_not_what_is_measured(tmp_path: Path) -> None:
    settings = settings_of(environment(tmp_path, "smoke"))
    quotas = (settings.requests_per_minute, settings.anonymous_requests_per_minute, settings.jobs_per_day, settings.samples_per_day)
    assert min(quotas) >= 10**9


@pytest.mark.parametrize(("voice", "model"), [("smoke", "smoke"), ("bundled", "voxify-small-en")])
def test_the_voice_is_the_one_that_was_asked_for(tmp_path: Path, voice: str, model: str) -> None:
    assert settings_of(environment(tmp_path, voice)).model == model
    assert environment(tmp_path, voice)["VOXIFY_MODEL"] == model
