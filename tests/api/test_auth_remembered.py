"""Who was let in a moment ago is not looked up again, and what ends a session counts all the same."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import event

from api.auth import remembered
from api.auth.principal import Principal
from api.auth.remembered import REMEMBERED_S, Remembered
from settings import Settings
from store.models import User
from tests.api.support import AUTH, error_of, make_app, processes, running, sign_up

PROFILE = f"{AUTH}/profile"


class Clock:
    """Both clocks of the module, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000_000.0
        monkeypatch.setattr(remembered, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now))


async def test_an_account_is_not_looked_up_for_every_request(
    client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    who = await sign_up(client, "ada@example.com")
    seen: list[str] = []
    for engine in app.state.stores.database.engines:
        event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement))

    async def looked_up() -> bool:
        seen.clear()
        assert (await client.get(PROFILE, headers=who.headers)).status_code == 200
        return any("FROM refresh_tokens" in statement for statement in seen)

    assert [await looked_up() for _ in range(3)] == [True, False, False]
    clock.now += REMEMBERED_S
    assert await looked_up()


async def test_what_another_process_ends_is_over_here_after_a_second(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(running(make_app(each))) for each in processes(settings, tmp_path)]
        who = await sign_up(here, "ada@example.com")
        assert (await here.get(PROFILE, headers=who.headers)).status_code == 200
        assert (await there.post(f"{AUTH}/logout", headers=who.headers)).status_code == 200
        clock.now += REMEMBERED_S
        error_of(await here.get(PROFILE, headers=who.headers), 401, "INVALID_TOKEN")


async def test_what_this_process_changes_counts_at_once(client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)  # which stands still
    who, other = await sign_up(client, "ada@example.com"), await sign_up(client, "eve@example.com")
    for each in (who, other):
        assert (await client.get(PROFILE, headers=each.headers)).status_code == 200
    async with app.state.stores.database.write() as session:
        (await session.get_one(User, other.id)).is_active = False
    error_of(await client.get(PROFILE, headers=other.headers), 403, "ACCOUNT_DISABLED")
    assert (await client.post(f"{AUTH}/logout", headers=who.headers)).status_code == 200
    error_of(await client.get(PROFILE, headers=who.headers), 401, "INVALID_TOKEN")


def test_nothing_is_remembered_beyond_its_end_or_from_before_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, database = Clock(monkeypatch), SimpleNamespace(account_changes=7)
    kept, who = Remembered(database), Principal("user_1", "user", "session")  # type: ignore[arg-type]
    kept.put("token", int(clock.now) + 3600, who, 7)
    kept.put("ends", int(clock.now), who, 7)
    kept.put("read before a change", int(clock.now) + 3600, who, 6)
    assert [kept.get(token) for token in ("token", "ends", "read before a change", "unknown")] == [who, None, None, None]
    database.account_changes += 1
    assert kept.get("token") is None
