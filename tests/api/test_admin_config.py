"""Settings that an admin changes while the platform runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from api.admin.live import CHANGEABLE, why_not
from settings import Settings
from store.models import SettingOverride
from tests.api.accounts import change_user
from tests.api.rooms import Caller
from tests.api.support import Logs, error_of, make_app, processes, running
from tests.api.test_admin import Admin, new_admin

WAIT_S = 20


@pytest.fixture
async def admin(client: Any, app: Litestar) -> Admin:
    return await new_admin(client, app, "root@example.com")


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


async def test_every_setting_that_can_be_changed_is_shown_with_what_it_takes(admin: Admin, settings: Settings) -> None:
    found = await admin.data("GET", "/config")
    assert found["config"] == {name: getattr(settings, name) for name in CHANGEABLE}
    views = {view["name"]: view for view in found["settings"]}
    assert views["jobs_per_day"]["schema"] == {"type": "integer", "minimum": 0, "maximum": 10**9}
    assert views["jobs_per_day"]["default"] == 100
    assert (views["jobs_per_day"]["is_changed"], views["jobs_per_day"]["changed_by"]) == (False, None)
    assert all(view["description"] for view in views.values() if view["name"] != "max_text_length")
    text = str(found)
    assert not any(secret in text for secret in ("jwt", "password", "redis", "smtp", "key"))


async def test_what_is_changed_is_in_effect_and_taken_back(admin: Admin, me: Caller, settings: Settings) -> None:
    changed = await admin.data("PUT", "/config", json={"max_text_length": 10, "jobs_per_day": 1})
    assert changed["config"]["max_text_length"] == 10
    view = next(view for view in changed["settings"] if view["name"] == "jobs_per_day")
    assert (view["value"], view["default"], view["is_changed"], view["changed_by"]) == (1, 100, True, admin.who.id)
    voice = await me.voice()
    wanted = {"voice_model_id": voice, "text_content": "Twelve chars"}
    assert await me.refused("POST", "/job", json=wanted) == (400, "TEXT_TOO_LONG")
    await me.data("POST", "/job", json=wanted | {"text_content": "Hello."})
    assert await me.refused("POST", "/job", json=wanted | {"text_content": "Hello."}) == (429, "QUOTA_EXCEEDED")
    back = await admin.data("PUT", "/config", json={"max_text_length": None, "jobs_per_day": None})
    assert back["config"]["max_text_length"] == settings.max_text_length
    await me.data("POST", "/job", json=wanted)


async def test_each_of_them_reaches_what_it_is_for(admin: Admin, app: Litestar) -> None:
    """A setting that is declared to be changeable and reaches nothing would be a lie."""
    rooms, rates, quotas = app.state.rooms, app.state.rates, app.state.quotas
    places: dict[str, tuple[Any, list[Callable[[], Any]]]] = {
        "registration": ("closed", [lambda: app.state.auth.registration]),
        "requests_per_minute": (1000, [lambda: rates.user_limit]),
        "anonymous_requests_per_minute": (1001, [lambda: rates.address_limit]),
        "samples_per_day": (7, [lambda: quotas.samples_per_day]),
        "jobs_per_day": (8, [lambda: quotas.jobs_per_day]),
        "storage_bytes": (9, [lambda: quotas.storage_bytes, lambda: rooms.worker.runner.storage_bytes]),
        "max_text_length": (11, [lambda: rooms.jobs.max_text_length, lambda: rooms.speech.max_text_length]),
        "similarity_threshold": (0.5, [lambda: rooms.samples.similarity_threshold, lambda: rooms.voice_search.threshold]),
        "file_link_ttl_s": (60, [lambda: rooms.files.links.ttl_s]),
        "speech_cache": (False, [lambda: rooms.speech.handler.cache]),
        "require_consent": (True, [lambda: rooms.clones.require_consent]),
        "user_concurrency": (2, [lambda: rooms.worker.claims.user_concurrency]),
        "speech_concurrency": (3, [lambda: rooms.worker.claims.lane_concurrency["speech"]]),
        "job_keep_days": (90.5, [lambda: rooms.worker.sweeper.job_keep_days]),
    }
    assert places.keys() == set(CHANGEABLE)
    assert not [name for name, (value, looks) in places.items() for look in looks if look() == value]
    await admin.data("PUT", "/config", json={name: value for name, (value, _) in places.items()})
    assert not [name for name, (value, looks) in places.items() for look in looks if look() != value]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"jobs_per_day": -1}, "jobs_per_day"),
    ({"jobs_per_day": "5"}, "jobs_per_day"),
    ({"jobs_per_day": True}, "jobs_per_day"),
    ({"jobs_per_day": 10**12}, "jobs_per_day"),
    ({"similarity_threshold": 1.5}, "similarity_threshold"),
    ({"speech_cache": 1}, "speech_cache"),
    ({"registration": "ajar"}, "registration"),
    ({"jwt_secret": "x" * 40}, "jwt_secret"),
    ({"jobs_per_day": 5, "nonsense": 1}, "nonsense"),
    ({}, "body"),
]


async def test_what_no_setting_takes_is_refused_as_a_whole(admin: Admin) -> None:
    for values, field in REFUSED:
        error = error_of(await admin.ask("PUT", "/config", json=values), 400, "VALIDATION_ERROR")
        assert list(error["details"]) == [field]
    for body in ([1], "x", None):
        assert (await admin.ask("PUT", "/config", json=body)).status_code == 400
    assert not any(view["is_changed"] for view in (await admin.data("GET", "/config"))["settings"])


async def test_changes_are_written_down_once(admin: Admin) -> None:
    await admin.data("PUT", "/config", json={"jobs_per_day": 5, "samples_per_day": 6})
    await admin.data("PUT", "/config", json={"jobs_per_day": 5})
    await admin.data("PUT", "/config", json={"jobs_per_day": None, "samples_per_day": 6})
    newest, oldest = await admin.data("GET", "/audit?subject=config")
    assert (oldest["before"], oldest["after"]) == (
        {"jobs_per_day": None, "samples_per_day": None},
        {"jobs_per_day": 5, "samples_per_day": 6},
    )
    assert (newest["before"], newest["after"]) == ({"jobs_per_day": 5}, {"jobs_per_day": None})
    assert (newest["action"], newest["actor_id"]) == ("config.change", admin.who.id)


async def test_a_change_reaches_every_process_and_outlives_them(settings: Settings, tmp_path: Path) -> None:
    first, second = processes(settings, tmp_path)
    async with AsyncExitStack() as stack:
        apps = [make_app(first), make_app(second)]
        clients = [await stack.enter_async_context(running(app)) for app in apps]
        admin = await new_admin(clients[0], apps[0], "root@example.com")
        await admin.data("PUT", "/config", json={"jobs_per_day": 5})
        await until(lambda: apps[1].state.quotas.jobs_per_day == 5)
        await Admin(clients[1], admin.who).data("PUT", "/config", json={"samples_per_day": 6})
        await until(lambda: apps[0].state.quotas.samples_per_day == 6)
    again = make_app(first)
    async with running(again):
        assert (again.state.quotas.jobs_per_day, again.state.quotas.samples_per_day) == (5, 6)


async def test_what_another_version_wrote_does_no_harm(admin: Admin, app: Litestar, me: Caller) -> None:
    rows = {"jobs_per_day": -5, "gone_since": 1, "samples_per_day": 4}
    await me.add(*(SettingOverride(name=name, value=value, updated_by="user_1") for name, value in rows.items()))
    await until(lambda: app.state.quotas.samples_per_day == 4)
    assert app.state.quotas.jobs_per_day == 100
    assert (await admin.data("PUT", "/config", json={"jobs_per_day": 3}))["config"]["jobs_per_day"] == 3


async def test_a_database_that_is_away_leaves_the_settings_as_they_were(
    app: Litestar, admin: Admin, me: Caller, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    await admin.data("PUT", "/config", json={"jobs_per_day": 5})

    class Away:
        def read(self) -> Any:
            raise OSError("refused")

    live = app.state.live
    database, live._database = live._database, Away()
    await until(lambda: "settings could not be read" in logs.text)
    assert app.state.quotas.jobs_per_day == 5
    live._database = database
    await me.add(SettingOverride(name="samples_per_day", value=4, updated_by="user_1"))
    await until(lambda: app.state.quotas.samples_per_day == 4)


async def test_a_limit_of_ones_own_wins_over_the_changed_one(admin: Admin, app: Litestar, me: Caller) -> None:
    await change_user(app, me.who.id, limit_samples_per_day=2)
    await admin.data("PUT", "/config", json={"samples_per_day": 9})
    assert (await me.data("GET", "/auth/usage"))["samples"]["limit"] == 2


def test_values_are_judged_by_the_fields_themselves() -> None:
    assert why_not("similarity_threshold", 1) is None
    assert why_not("requests_per_minute", 0) == "Input should be greater than or equal to 1"
    assert why_not("data_dir", "/") is not None
