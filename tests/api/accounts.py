"""What the tests of accounts share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import select

from settings import Settings
from store.clock import utcnow
from store.models import Job
from store.models.job import MAIL, PENDING, PROCESSING
from store.repositories.users import UserRepository
from tests.api.support import AUTH, PASSWORD, SignedIn

NewUser = Callable[[], Awaitable[SignedIn]]
NEW_PASSWORD = "Another-Staple-8?"
WRONG_PASSWORD = "Wrong-Battery-9!"
PUT_OFF = "Waiting to be tried again"


async def log_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **request: Any) -> httpx.Response:
    return await client.post(f"{AUTH}/login", json={"email": email, "password": password}, **request)


async def another_session(client: httpx.AsyncClient, person: SignedIn) -> SignedIn:
    data = (await log_in(client, person.email)).json()["data"]
    return SignedIn(person.id, person.email, data["access_token"], data["refresh_token"])


async def is_open(client: httpx.AsyncClient, session: SignedIn) -> bool:
    """Whether both tokens of the session are still good; it uses the refresh token up."""
    profile = await client.get(f"{AUTH}/profile", headers=session.headers)
    renewed = await client.post(f"{AUTH}/refresh", json={"refresh_token": session.refresh_token})
    assert (profile.status_code == 200) == (renewed.status_code == 200), "half a session"
    return profile.status_code == 200


async def change_user(app: Litestar, user_id: str, **values: Any) -> None:
    async with app.state.stores.database.write() as session:
        user = await UserRepository(session).get(user_id)
        assert user is not None
        for name, value in values.items():
            setattr(user, name, value)


async def mail_settled(app: Litestar) -> None:
    """Return when no mail is on its way any more that is not put off for later."""
    await app.state.background.settle()
    under_way = select(Job.id).where(Job.kind == MAIL, Job.status.in_((PENDING, PROCESSING)), Job.message.is_distinct_from(PUT_OFF))
    async with asyncio.timeout(20):
        while True:
            async with app.state.stores.database.read() as session:
                if await session.scalar(under_way) is None:
                    return
            await asyncio.sleep(0.01)


async def mails(app: Litestar, settings: Settings) -> list[EmailMessage]:
    """All mail in the outbox, after what is under way has ended."""
    await mail_settled(app)
    found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(settings.outbox_dir.glob("*.eml"))]
    return [mail for mail in found if isinstance(mail, EmailMessage)]


async def reset_tokens(app: Litestar, settings: Settings) -> list[str]:
    texts = [mail.get_content() for mail in await mails(app, settings)]
    return [found.group(1) for text in texts if (found := re.search(r"Your token: (\S+)", text))]


def later(monkeypatch: pytest.MonkeyPatch, module: str, **by: float) -> None:
    """Let the clock of one module go ahead."""

    def clock() -> datetime:
        return utcnow() + timedelta(**by)

    monkeypatch.setattr(f"{module}.utcnow", clock)
