"""Downloads: whole, in part, not again, not by strangers."""

from __future__ import annotations

import pytest

from tests.api.rooms import Caller

CONTENT = bytes(range(200))


async def spoken(me: Caller) -> str:
    key = "jobs/job_1/1.mp3"
    await me.stores.objects.put(key, CONTENT)
    return f"/file/synthesis/{await me.job_row(output_path=key, output_format='mp3')}"


async def test_the_whole_of_it(me: Caller, stranger: Caller) -> None:
    path = await spoken(me)
    answer = await me.ask("GET", path)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, CONTENT, "audio/mpeg")
    head = await me.ask("HEAD", path)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "200")
    assert head.headers["ETag"] == answer.headers["ETag"]
    for method in ("GET", "HEAD"):
        assert (await stranger.ask(method, path)).status_code == 404
        assert (await me.client.request(method, f"/api/v1{path}")).status_code == 401


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=10-19", CONTENT[10:20]),
        ("bytes=190-", CONTENT[190:]),
        ("bytes=-5", CONTENT[-5:]),
        ("bytes=-999", CONTENT),
        ("bytes=150-99999", CONTENT[150:]),
        ("BYTES=1-2", CONTENT[1:3]),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("bytes=99999999999999999999-", None),
        ("items=1-2", None),
        ("bytes=\xb2-", None),
    ],
)
async def test_ranges(me: Caller, wanted: str, part: bytes | None) -> None:
    answer = await me.ask("GET", await spoken(me), headers={"Range": wanted.encode("latin-1")})
    assert (answer.status_code, answer.content) == ((200, CONTENT) if part is None else (206, part))


@pytest.mark.parametrize("wanted", ["bytes=200-", "bytes=200-300", "bytes=-0"])
async def test_ranges_outside(me: Caller, wanted: str) -> None:
    answer = await me.ask("GET", await spoken(me), headers={"Range": wanted})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */200")
    assert answer.json()["error"]["code"] == "RANGE_NOT_SATISFIABLE"


async def test_a_head_knows_no_ranges(me: Caller) -> None:
    path = await spoken(me)
    for wanted in ("bytes=0-9", "bytes=999-"):
        head = await me.ask("HEAD", path, headers={"Range": wanted})
        assert (head.status_code, head.headers["Content-Length"]) == (200, "200")


async def test_what_the_client_has_is_not_sent_again(me: Caller) -> None:
    path = await spoken(me)
    etag = (await me.ask("GET", path)).headers["ETag"]
    for same in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await me.ask("GET", path, headers={"If-None-Match": same})
        assert (again.status_code, again.content) == (304, b"")
    assert (await me.ask("GET", path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await me.ask("GET", path, headers={"Range": "bytes=0-0", "If-Range": etag})).status_code == 206
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert (await me.ask("GET", path, headers={"Range": "bytes=0-0", "If-Range": other})).status_code == 200


async def test_what_is_not_there(me: Caller) -> None:
    for status, refusal in (("processing", (409, "JOB_NOT_COMPLETED")), ("failed", (404, "FILE_NOT_FOUND"))):
        assert await me.refused("GET", f"/file/synthesis/{await me.job_row(status=status)}") == refusal
    gone = await me.job_row(output_path="jobs/job_2/1.wav")
    assert await me.refused("GET", f"/file/synthesis/{gone}") == (404, "FILE_NOT_FOUND")
    for strange in ("x" * 5000, "%ff", "%2e%2e%2fjob_1", "..", "%20", "%00"):
        assert (await me.refused("GET", f"/file/synthesis/{strange}"))[0] == 404
