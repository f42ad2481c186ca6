"""Addresses that are good for a while without a token."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from api.errors import ForbiddenError
from api.files.links import MAX_TTL_S, FileLinks, derived_key
from store.clock import utcnow
from store.models import User
from tests.api.rooms import Caller
from tests.api.support import Logs, error_of

CONTENT = bytes(range(200))
LINKS = FileLinks("s" * 32, ttl_s=60)


async def spoken(me: Caller) -> str:
    key = "jobs/job_linked/1.mp3"
    await me.stores.objects.put(key, CONTENT)
    return await me.job_row(output_path=key, output_format="mp3")


def refusal(links: FileLinks, file_id: str, signature: str) -> str | None:
    try:
        links.check(file_id, signature)
    except ForbiddenError as refused:
        return refused.code
    return None


def test_the_key_is_derived_as_the_rfc_says() -> None:
    # RFC 5869, appendix A.3: no salt, no info.
    assert derived_key("\x0b" * 22, "").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert derived_key("s" * 32, "one") != derived_key("s" * 32, "two")


def test_a_mac_by_the_signing_secret_itself_is_worth_nothing() -> None:
    signature, expires_at = LINKS.sign("job_1")
    direct = hmac.digest(b"s" * 32, f"{expires_at}:job_1".encode(), "sha256")
    assert direct.hex() not in signature
    assert refusal(FileLinks("t" * 32, ttl_s=60), "job_1", signature) == "INVALID_LINK"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_signature_is_good_for_its_own_file_alone(one: str, other: str) -> None:
    one, other = (text.encode("utf-8", "replace").decode() for text in (one, other))
    signature, _ = LINKS.sign(one)
    assert refusal(LINKS, one, signature) is None
    assert (refusal(LINKS, other, signature) is None) == (one == other)


@given(st.data())
def test_no_changed_signature_is_good(data: st.DataObject) -> None:
    signature, _ = LINKS.sign("job_1")
    place = data.draw(st.integers(0, len(signature) - 1))
    changed = signature[:place] + data.draw(st.characters()) + signature[place + 1 :]
    if changed != signature:
        assert refusal(LINKS, "job_1", changed) == "INVALID_LINK"


@pytest.mark.parametrize("signature", ["", ".", "1.", "x" * 9999, "1." + "é" * 43, "٣." + "A" * 43, "-1." + "A" * 43, "\udc80"])
def test_what_is_no_signature(signature: str) -> None:
    assert refusal(LINKS, "job_1", signature) == "INVALID_LINK"


def test_a_signature_ends() -> None:
    assert refusal(LINKS, "job_1", LINKS.sign("job_1", 0)[0]) == "LINK_EXPIRED"
    assert refusal(LINKS, "job_2", LINKS.sign("job_1", 0)[0]) == "INVALID_LINK", "nobody learns that a forged one would have been late"
    now = utcnow().timestamp()
    for links, ttl_s in ((LINKS, 10**9), (FileLinks("s" * 32, ttl_s=10**9), None)):
        assert links.sign("job_1", ttl_s)[1] <= now + MAX_TTL_S + 2


async def test_an_address_is_enough(me: Caller, logs: Logs) -> None:
    file_id = await spoken(me)
    link = await me.data("POST", f"/files/{file_id}/link")
    assert link["url"].startswith(f"/api/v1/files/audio/{file_id}?sig=")
    expires_at = datetime.fromisoformat(link["expires_at"])
    assert timedelta(minutes=14) < expires_at - utcnow() <= timedelta(minutes=15)
    answer = await me.client.get(link["url"])
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, CONTENT, "audio/mpeg")
    part = await me.client.get(link["url"], headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, CONTENT[5:10])
    head = await me.client.head(link["url"], headers={"Range": "bytes=5-9"})
    assert (head.status_code, head.headers["Content-Length"]) == (200, "200")
    assert (await me.client.get(link["url"], headers={"If-None-Match": head.headers["ETag"]})).status_code == 304
    assert (await me.client.get(link["url"], headers={"Authorization": "Bearer nonsense"})).status_code == 200, "the address is what counts"
    assert link["url"].partition("sig=")[2] not in logs.text


async def test_an_address_is_good_for_nothing_else(me: Caller) -> None:
    file_id, other = await spoken(me), await spoken(me)
    signature = (await me.data("POST", f"/files/{file_id}/link"))["url"].partition("?")[2]
    api = me.client
    error_of(await api.get(f"/api/v1/files/audio/{other}?{signature}"), 403, "INVALID_LINK")
    error_of(await api.get(f"/api/v1/files/audio/{file_id}?{signature}x"), 403, "INVALID_LINK")
    error_of(await api.get(f"/api/v1/files/audio/{file_id}?sig="), 403, "INVALID_LINK")
    assert (await api.head(f"/api/v1/files/audio/{file_id}?sig=1.a")).status_code == 403
    expired, _ = me.app.state.rooms.files.links.sign(file_id, -1)
    error_of(await api.get(f"/api/v1/files/audio/{file_id}?sig={expired}"), 403, "LINK_EXPIRED")
    gone, _ = me.app.state.rooms.files.links.sign("job_gone")
    error_of(await api.get(f"/api/v1/files/audio/job_gone?sig={gone}"), 404, "FILE_NOT_FOUND")
    for path in (f"/file/synthesis/{file_id}", f"/files/{file_id}/info", f"/file/voice-clone/{file_id}", f"/job/{file_id}"):
        error_of(await api.get(f"/api/v1{path}?{signature}"), 401, "UNAUTHORIZED")
    for method in ("POST", "DELETE"):
        assert (await api.request(method, f"/api/v1/file/synthesis/{file_id}?{signature}")).status_code in {401, 405}
    error_of(await api.post(f"/api/v1/files/{file_id}/link?{signature}"), 401, "UNAUTHORIZED")
    assert (await api.options(f"/api/v1/files/audio/{file_id}")).status_code == 401


async def test_an_address_ends_with_the_file_and_with_the_account(me: Caller) -> None:
    file_id = await spoken(me)
    url = (await me.data("POST", f"/files/{file_id}/link"))["url"]
    async with me.stores.database.write() as session:
        await session.execute(update(User).where(User.id == me.who.id).values(is_active=False))
    error_of(await me.client.get(url), 404, "FILE_NOT_FOUND")
    async with me.stores.database.write() as session:
        await session.execute(update(User).where(User.id == me.who.id).values(is_active=True))
    await me.data("DELETE", f"/file/synthesis/{file_id}")
    error_of(await me.client.get(url), 404, "FILE_NOT_FOUND")


async def test_how_long_is_bounded(me: Caller) -> None:
    file_id = await spoken(me)
    for seconds in (1, 3600):
        link = await me.data("POST", f"/files/{file_id}/link", json={"expires_in": seconds})
        assert datetime.fromisoformat(link["expires_at"]) - utcnow() <= timedelta(seconds=seconds)
    for wrong in (0, 3601, -1, "60", 1.5, True):
        assert await me.refused("POST", f"/files/{file_id}/link", json={"expires_in": wrong}) == (400, "VALIDATION_ERROR")


async def test_only_what_is_ones_own_and_there_gets_an_address(me: Caller, stranger: Caller) -> None:
    file_id = await spoken(me)
    assert await stranger.refused("POST", f"/files/{file_id}/link") == (404, "FILE_NOT_FOUND")
    error_of(await me.client.post(f"/api/v1/files/{file_id}/link"), 401, "UNAUTHORIZED")
    assert await me.refused("POST", "/files/job_unknown/link") == (404, "FILE_NOT_FOUND")
    assert await me.refused("POST", f"/files/{await me.job_row(status='processing')}/link") == (409, "JOB_NOT_COMPLETED")
    lost = await me.job_row(output_path="jobs/job_lost/1.wav")
    assert await me.refused("POST", f"/files/{lost}/link") == (404, "FILE_NOT_FOUND")
