"""Files by their id, what is known of them, and their end."""

from __future__ import annotations

import asyncio

import pytest

from store.models import Job, Sample
from tests.api.rooms import Caller, recording
from tests.api.support import error_of

CONTENT = bytes(range(200))


async def spoken(me: Caller, **columns: object) -> str:
    job_id = await me.job_row(output_format="mp3", output_size=200, duration=1.5, sample_rate=22_050, **columns)
    async with me.stores.database.write() as session:
        job = await session.get_one(Job, job_id)
        job.output_path = f"jobs/{job_id}/1.mp3"
    await me.stores.objects.put(f"jobs/{job_id}/1.mp3", CONTENT)
    return job_id


async def uploaded(me: Caller, sample_id: str = "vs_kept", format: str = "wav") -> str:
    key = f"samples/{sample_id}/original.{format}"
    await me.stores.objects.put(key, recording())
    await me.add(
        Sample(
            id=sample_id, user_id=me.who.id, name="Kept", format=format, duration=4.0, sample_rate=16_000, channels=1,
            size=len(recording()), original_path=key, status="ready",
        )
    )  # fmt: skip
    return sample_id


@pytest.mark.parametrize("path", ["/files/audio/{}", "/file/synthesis/{}", "/file/voice-clone/{}"])
async def test_a_job_is_a_file(me: Caller, path: str) -> None:
    path = path.format(await spoken(me))
    answer = await me.ask("GET", path)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, CONTENT, "audio/mpeg")
    assert (await me.ask("GET", path, headers={"Range": "bytes=-3"})).content == CONTENT[-3:]
    assert (await me.ask("GET", path, headers={"Range": "bytes=200-"})).status_code == 416
    head = await me.ask("HEAD", path, headers={"Range": "bytes=999-"})
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "200")
    assert (await me.ask("GET", path, headers={"If-None-Match": head.headers["ETag"]})).status_code == 304


async def test_a_sample_is_a_file(me: Caller) -> None:
    for format, media_type in (("wav", "audio/wav"), ("m4a", "audio/mp4"), ("webm", "audio/webm"), ("opus", "audio/ogg; codecs=opus")):
        sample_id = await uploaded(me, f"vs_{format}", format)
        answer = await me.ask("GET", f"/files/audio/{sample_id}")
        assert (answer.content, answer.headers["Content-Type"]) == (recording(), media_type)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{sample_id}.{format}"'


async def test_what_is_known_of_a_file(me: Caller) -> None:
    job_id = await spoken(me)
    told = [
        await me.data("GET", path)
        for path in (f"/files/{job_id}/info", f"/file/synthesis/{job_id}/info", f"/file/voice-clone/{job_id}/info")
    ]
    assert told[0] == told[1] == told[2]
    info = told[0]
    assert (info["file_id"], info["kind"], info["filename"]) == (job_id, "synthesis", f"{job_id}.mp3")
    assert (info["format"], info["mime_type"], info["size"]) == ("mp3", "audio/mpeg", 200)
    assert (info["duration"], info["sample_rate"], info["channels"]) == (1.5, 22_050, 1)
    assert info["created_at"].endswith("Z")
    answer = await me.client.get(info["download_url"], headers=me.who.headers)
    assert (answer.content, answer.headers["ETag"]) == (CONTENT, info["etag"])
    sample = await me.data("GET", f"/files/{await uploaded(me)}/info")
    assert (sample["kind"], sample["mime_type"], sample["size"], sample["duration"]) == ("sample", "audio/wav", len(recording()), 4.0)


async def test_what_is_not_there(me: Caller) -> None:
    waiting, failed = await me.job_row(status="processing"), await me.job_row(status="failed")
    lost = await me.job_row(output_path="jobs/job_lost/1.wav")
    for path in ("/files/audio/{}", "/files/{}/info", "/file/synthesis/{}/info", "/file/voice-clone/{}", "/file/voice-clone/{}/info"):
        assert await me.refused("GET", path.format(waiting)) == (409, "JOB_NOT_COMPLETED"), path
        assert await me.refused("GET", path.format(failed)) == (404, "FILE_NOT_FOUND"), path
        assert await me.refused("GET", path.format(lost)) == (404, "FILE_NOT_FOUND"), path
        kind = "JOB" if path.startswith("/file/") else "FILE"
        assert await me.refused("GET", path.format("job_unknown")) == (404, f"{kind}_NOT_FOUND"), path
        for strange in ("x" * 5000, "%ff", "%2e%2e%2fjob_1", "%20", "%00"):
            assert (await me.refused("GET", path.format(strange)))[0] == 404


async def test_a_voice_clone_file_is_one_that_a_clone_spoke(me: Caller) -> None:
    preset = await spoken(me, voice_model_id="preset_1")
    for path in (f"/file/voice-clone/{preset}", f"/file/voice-clone/{preset}/info"):
        assert await me.refused("GET", path) == (404, "FILE_NOT_FOUND")
    assert (await me.ask("GET", f"/file/synthesis/{preset}")).status_code == 200
    made = await me.data("POST", f"/voice/clones/{await me.voice()}/synthesize", json={"text": "Hello.", "output_format": "flac"})
    assert (await me.data("GET", f"/file/voice-clone/{made['job_id']}/info"))["size"] == made["size"]


async def test_deleting_the_sound_keeps_the_job(me: Caller) -> None:
    job_id = await spoken(me, text_content="Kept.")
    assert (await me.data("DELETE", f"/file/synthesis/{job_id}")) == {"job_id": job_id}
    assert (await me.counts())[3] == 0
    job = await me.data("GET", f"/job/{job_id}")
    assert (job["status"], job["text_content"]) == ("completed", "Kept.")
    assert [job[key] for key in ("output_path", "output_file_path", "output_size", "duration")] == [None] * 4
    for method in ("GET", "DELETE"):
        assert await me.refused(method, f"/file/synthesis/{job_id}") == (404, "FILE_NOT_FOUND")
    assert await me.refused("DELETE", "/file/synthesis/job_unknown") == (404, "JOB_NOT_FOUND")
    assert await me.refused("DELETE", f"/file/synthesis/{await me.job_row(status='processing')}") == (409, "JOB_NOT_COMPLETED")


async def test_of_two_who_delete_at_once_one_finds_nothing(me: Caller) -> None:
    job_id = await spoken(me)
    answers = await asyncio.gather(*(me.ask("DELETE", f"/file/synthesis/{job_id}") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]


async def test_a_watcher_of_a_job_without_its_sound_hears_that_it_is_done(me: Caller) -> None:
    job_id = await spoken(me)
    await me.data("DELETE", f"/file/synthesis/{job_id}")
    assert '"event":"complete"' in (await me.ask("GET", f"/job/{job_id}/progress")).text.replace(" ", "")


async def test_strangers_find_nothing(me: Caller, stranger: Caller) -> None:
    job_id, sample_id = await spoken(me), await uploaded(me)
    routes = [(method, f"/file/{kind}/{job_id}") for kind in ("synthesis", "voice-clone") for method in ("GET", "HEAD")]
    routes += [("GET", f"/file/{kind}/{job_id}/info") for kind in ("synthesis", "voice-clone")]
    routes += [(method, f"/files/audio/{file_id}") for file_id in (job_id, sample_id) for method in ("GET", "HEAD")]
    routes += [("GET", f"/files/{file_id}/info") for file_id in (job_id, sample_id)]
    routes += [("DELETE", f"/file/synthesis/{job_id}"), ("POST", f"/files/{sample_id}/link")]
    for method, path in routes:
        unknown = await stranger.ask(method, path.replace(job_id, "job_unknown").replace(sample_id, "vs_unknown"))
        theirs = await stranger.ask(method, path)
        assert (theirs.status_code, theirs.headers["content-type"]) == (404, "application/json"), path
        if method != "HEAD":
            assert theirs.json()["error"]["code"] == unknown.json()["error"]["code"], "as if it did not exist"
            error_of(await me.client.request(method, f"/api/v1{path}"), 401, "UNAUTHORIZED")
            error_of(await me.client.request(method, f"/api/v1{path}", headers={"Authorization": "Bearer x"}), 401, "INVALID_TOKEN")
        else:
            assert (await me.client.request(method, f"/api/v1{path}")).status_code == 401
    assert (await me.ask("GET", f"/file/synthesis/{job_id}")).content == CONTENT


async def test_the_document_knows_the_routes(me: Caller) -> None:
    paths = (await me.client.get("/openapi.json")).json()["paths"]
    known = {operation["operationId"]: operation for item in paths.values() for operation in item.values()}
    expected = {
        "files_download": "401 404 409 416", "files_look": "401 404 409 416", "files_get_synthesis_info": "401 404 409",
        "files_delete_synthesis": "401 404 409", "files_download_voice_clone": "401 404 409 416",
        "files_look_at_voice_clone": "401 404 409 416", "files_get_voice_clone_info": "401 404 409", "files_get_file_info": "401 404 409",
        "files_link_file": "401 404 409", "files_download_audio": "401 403 404 409 416", "files_look_at_audio": "401 403 404 409 416",
    }  # fmt: skip
    for name, statuses in expected.items():
        assert set(statuses.split()) <= known[name]["responses"].keys(), name
    assert {} in known["files_download_audio"]["security"], "a signature stands in for a token"
