"""Secrets are changed while people work: what they have stays good as long as the operator lets it."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from api.auth.tokens import ACCESS, REFRESH, SecretMissingError, Tokens
from api.commands import require_folder
from api.errors import UnauthorizedError
from api.files.links import FileLinks
from api.workshop import webhook_keys_of
from settings import Settings
from tests.api.inference import FakeInference
from tests.api.rooms import Caller
from tests.api.support import AUTH, SignedIn, error_of, make_app, running, sign_up
from tests.receivers import receiving

OLD, NEW, KEY = "o" * 40, "n" * 40, "k" * 40
PROFILE = f"{AUTH}/profile"


@asynccontextmanager
async def process(settings: Settings, who: SignedIn | None = None, **changes: Any) -> AsyncIterator[Caller]:
    """The app with these secrets, and somebody who signs in there unless they have before."""
    secrets = {name: SecretStr(value) if isinstance(value, str) else value for name, value in changes.items()}
    inference = FakeInference()
    app = make_app(settings.model_copy(update=secrets), inference_transport=inference.transport)
    async with running(app) as client:
        yield Caller(client, who or await sign_up(client, "somebody@example.com"), app, inference)


def tokens(secret: str, *previous: str) -> Tokens:
    return Tokens(secret, access_ttl_s=60, refresh_ttl_s=600, previous=previous)


async def test_sessions_and_download_addresses_go_through_a_change_and_end_with_it(settings: Settings) -> None:
    async with process(settings, jwt_secret=OLD) as before:
        who = before.who
        await before.stores.objects.put("jobs/job_1/1.mp3", b"sound")
        job_id = await before.job_row(output_path="jobs/job_1/1.mp3", output_format="mp3")
        link = (await before.data("POST", f"/files/{job_id}/link"))["url"]
        key = (await before.data("POST", "/auth/api-keys", json={"name": "mine"}))["key"]

    async with process(settings, who, jwt_secret=NEW, jwt_secret_previous=f"{KEY}, {OLD}") as meanwhile:
        assert (await meanwhile.client.get(PROFILE, headers=who.headers)).status_code == 200
        assert (await meanwhile.client.get(link)).content == b"sound"
        pair = (await meanwhile.client.post(f"{AUTH}/refresh", json={"refresh_token": who.refresh_token})).json()["data"]
        assert tokens(NEW).read(pair["access_token"], ACCESS).user_id == who.id, "what is new is signed with the new one"
        new_link = (await meanwhile.data("POST", f"/files/{job_id}/link"))["url"]

    async with process(settings, who, jwt_secret=NEW) as after:
        error_of(await after.client.get(PROFILE, headers=who.headers), 401, "INVALID_TOKEN")
        error_of(await after.client.get(link), 403, "INVALID_LINK")
        renewed = {"Authorization": f"Bearer {pair['access_token']}"}
        assert (await after.client.get(PROFILE, headers=renewed)).status_code == 200
        assert (await after.client.get(new_link)).content == b"sound"
        assert (await after.client.get(PROFILE, headers={"X-API-Key": key})).status_code == 200, "keys are signed with nothing"


def test_a_process_believes_the_coming_secret_before_it_signs_with_it() -> None:
    early, late = tokens(OLD, NEW), tokens(NEW, OLD)
    for signing, reading in ((early, late), (late, early)):
        assert reading.read(signing.make(REFRESH, "user_1", "ses_1")[0], REFRESH).user_id == "user_1"
    for stranger in (tokens(KEY), tokens(KEY, "x" * 40)):
        with pytest.raises(UnauthorizedError) as refused:
            early.read(stranger.make(ACCESS, "user_1", "ses_1")[0], ACCESS)
        assert refused.value.code == "INVALID_TOKEN"


def test_what_has_expired_has_expired_under_every_secret() -> None:
    expired, _ = tokens(OLD).make(ACCESS, "user_1", "ses_1", ttl_s=-60)
    with pytest.raises(UnauthorizedError) as refused:
        tokens(NEW, OLD).read(expired, ACCESS)
    assert refused.value.code == "TOKEN_EXPIRED"
    signature, _ = FileLinks(OLD, ttl_s=60).sign("job_1", -1)
    with pytest.raises(Exception, match="expired"):
        FileLinks(NEW, ttl_s=60, previous=[OLD]).check("job_1", signature)


async def test_a_webhook_keeps_its_secret_through_a_change(settings: Settings) -> None:
    settings = settings.model_copy(update={"webhook_allow_private": True, "queue_poll_s": 0.05})
    async with receiving() as receiver:
        async with process(settings, jwt_secret=OLD) as before:
            who = before.who
            webhook = await before.data("POST", "/webhooks", json={"url": receiver.url, "events": ["job.completed"]})
            voice = await before.voice()
        changes = {"jwt_secret": NEW, "jwt_secret_previous": OLD, "webhook_key": KEY}
        async with process(settings, who, **changes) as after:
            other = await after.data("POST", "/webhooks", json={"url": receiver.url, "events": ["job.completed"]})
            await after.data("POST", "/job", json={"text_content": "Hello.", "voice_model_id": voice})
            got = [await receiver.next() for _ in range(2)]
        for secret in (webhook["secret"], other["secret"]):
            assert [message.is_signed_with(secret) for message in got].count(True) == 1


def test_keys_of_webhooks_are_tried_from_the_newest_on(settings: Settings) -> None:
    def keys(**changes: str) -> list[str]:
        secrets = {name: SecretStr(value) for name, value in changes.items()}
        return [key.decode() for key in webhook_keys_of(settings.model_copy(update={"env": "prod", **secrets}))]

    assert keys(jwt_secret=NEW) == [NEW]
    assert keys(jwt_secret=NEW, jwt_secret_previous=OLD) == [NEW, OLD]
    assert keys(jwt_secret=NEW, webhook_key=KEY, webhook_key_previous=f"{OLD},{NEW}") == [KEY, OLD, NEW]
    assert keys(webhook_key=KEY) == [KEY], "a worker needs no other"
    with pytest.raises(SecretMissingError):
        keys()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"jwt_secret_previous": f"{OLD},short"}, "VOXIFY_JWT_SECRET_PREVIOUS"),
        ({"webhook_key_previous": "short"}, "VOXIFY_WEBHOOK_KEY_PREVIOUS"),
        ({"trusted_proxies": "*"}, "VOXIFY_TRUSTED_PROXIES"),
        ({"trusted_proxies": "10.0.0.1,proxy.internal"}, "VOXIFY_TRUSTED_PROXIES"),
        ({"trusted_proxies": "10.0.0.1/8"}, "VOXIFY_TRUSTED_PROXIES"),
        ({"trusted_proxies": "10.0.0.1,"}, "VOXIFY_TRUSTED_PROXIES"),
    ],
)
def test_what_would_weaken_it_is_refused_at_the_start(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named) as refused:
        Settings(env="dev", _env_file=None, **changes)  # type: ignore[call-arg,arg-type]
    assert OLD not in str(refused.value)


def test_proxies_are_addresses_and_networks() -> None:
    Settings(env="dev", trusted_proxies="10.0.0.7, 10.1.0.0/16,2001:db8::/32", _env_file=None)  # type: ignore[call-arg]


def test_the_data_folder_is_for_nobody_else(settings: Settings) -> None:
    require_folder(settings)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
