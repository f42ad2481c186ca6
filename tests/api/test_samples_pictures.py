"""Recordings heard and looked at."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile

from audio.decode import decode
from audio.inspect import waveform_peaks
from store.models import Sample
from tests.api.rooms import Caller, recording
from tests.api.support import error_of

VIEWS = ("audio", "waveform", "spectrogram.png")


async def uploaded(me: Caller) -> str:
    """The path of a recording that is ready."""
    path = f"/voice/samples/{(await me.upload())['sample_id']}"
    await me.until(path, "ready")
    return path


async def kept(me: Caller, content: bytes | None = None, **columns: object) -> str:
    """The path of a recording that no worker has seen."""
    if content is not None:
        await me.stores.objects.put("samples/vs_kept/original.wav", content)
    given = {"status": "processing"} | columns
    await me.add(
        Sample(
            id="vs_kept", user_id=me.who.id, name="Kept", format="wav", duration=4.0, sample_rate=16_000, channels=1, size=1,
            original_path="samples/vs_kept/original.wav", **given,
        )
    )  # fmt: skip
    return "/voice/samples/vs_kept"


async def test_a_recording_is_heard_as_it_came_and_prepared(me: Caller) -> None:
    path = await uploaded(me)
    answer = await me.ask("GET", f"{path}/audio")
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, recording(), "audio/wav")
    part = await me.ask("GET", f"{path}/audio", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, recording()[4:8])
    assert (await me.ask("GET", f"{path}/audio", headers={"Range": "bytes=99999999-"})).status_code == 416
    head = await me.ask("HEAD", f"{path}/audio", headers={"Range": "bytes=4-7"})
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(recording())))
    assert (await me.ask("GET", f"{path}/audio", headers={"If-None-Match": head.headers["ETag"]})).status_code == 304
    prepared = await me.ask("GET", f"{path}/audio?prepared=true")
    assert soundfile.info(io.BytesIO(prepared.content)).samplerate == 24_000
    assert prepared.headers["ETag"] != head.headers["ETag"]
    assert prepared.headers["Content-Disposition"].endswith('-prepared.wav"')
    assert (await me.ask("HEAD", f"{path}/audio?prepared=true")).headers["Content-Length"] == str(len(prepared.content))


async def test_the_waveform_is_that_of_the_sound(me: Caller) -> None:
    path = await uploaded(me)
    found = await me.data("GET", f"{path}/waveform?points=50")
    expected = waveform_peaks(decode(recording()).mono, 50)
    assert (found["points"], found["duration"], found["sample_id"]) == (50, 4.0, path.rpartition("/")[2])
    np.testing.assert_allclose(found["peaks"], expected, atol=1e-4)
    assert len((await me.data("GET", f"{path}/waveform"))["peaks"]) == 200
    assert (await me.data("GET", f"{path}/waveform?prepared=true"))["duration"] < 4.0, "trimmed"
    for points in ("0", "4001", "-1", "1.5", "many"):
        assert await me.refused("GET", f"{path}/waveform?points={points}") == (400, "VALIDATION_ERROR")


async def test_the_spectrogram_is_a_picture_of_the_size(me: Caller) -> None:
    path = f"{await uploaded(me)}/spectrogram.png"
    answer = await me.ask("GET", f"{path}?width=120&height=40")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    with av.open(io.BytesIO(answer.content), format="png_pipe") as opened:
        picture = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (40, 120, 3)
    assert picture.std() > 20, "something is to be seen"
    etag = answer.headers["ETag"]
    again = await me.ask("GET", f"{path}?width=120&height=40", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    for other in ("width=121&height=40", "width=120&height=41", "width=120&height=40&prepared=true"):
        assert (await me.ask("GET", f"{path}?{other}", headers={"If-None-Match": etag})).status_code == 200
    for wrong in ("width=15", "width=2049", "height=15", "height=513", "width=wide"):
        assert await me.refused("GET", f"{path}?{wrong}") == (400, "VALIDATION_ERROR")


async def test_what_is_not_prepared_yet_or_never(me: Caller) -> None:
    path = await kept(me, recording())
    for view in VIEWS:
        assert await me.refused("GET", f"{path}/{view}?prepared=true") == (409, "SAMPLE_NOT_READY")
        assert (await me.ask("GET", f"{path}/{view}")).status_code == 200, "the recording itself is there"
    async with me.stores.database.write() as session:
        (await session.get_one(Sample, "vs_kept")).status = "failed"
    for view in VIEWS:
        assert await me.refused("GET", f"{path}/{view}?prepared=true") == (404, "FILE_NOT_FOUND")


@pytest.mark.parametrize("content", [None, b"a letter"], ids=["gone", "damaged"])
async def test_a_file_that_is_gone_or_damaged_is_no_fault_of_the_asker(me: Caller, content: bytes | None) -> None:
    path = await kept(me, content)
    for view in VIEWS[1:]:
        assert await me.refused("GET", f"{path}/{view}") == (404, "FILE_NOT_FOUND")


async def test_what_was_longer_than_is_allowed_now_can_still_be_seen(me: Caller) -> None:
    path = await kept(me, recording(61.0, rate=8_000))
    assert (await me.data("GET", f"{path}/waveform?points=1"))["duration"] == 61.0


async def test_strangers_hear_and_see_nothing(me: Caller, stranger: Caller) -> None:
    path = await kept(me, recording())
    for view in VIEWS:
        assert await stranger.refused("GET", f"{path}/{view}") == (404, "SAMPLE_NOT_FOUND")
        assert await me.refused("GET", f"/voice/samples/vs_unknown/{view}") == (404, "SAMPLE_NOT_FOUND")
        error_of(await me.client.get(f"/api/v1{path}/{view}"), 401, "UNAUTHORIZED")
    assert (await stranger.ask("HEAD", f"{path}/audio")).status_code == 404
    assert (await me.client.head(f"/api/v1{path}/audio")).status_code == 401


async def test_the_document_knows_the_routes(me: Caller) -> None:
    paths = (await me.client.get("/openapi.json")).json()["paths"]
    known = {operation["operationId"]: operation for item in paths.values() for operation in item.values()}
    expected = {
        "samples_update_sample": "401 404", "samples_process_sample": "202 401 404 409", "samples_download_sample": "401 404 409 416",
        "samples_look_at_sample": "401 404 409 416", "samples_get_waveform": "401 404 409", "samples_get_spectrogram": "401 404 409",
    }  # fmt: skip
    for name, statuses in expected.items():
        assert set(statuses.split()) <= known[name]["responses"].keys(), name
    assert "image/png" in known["samples_get_spectrogram"]["responses"]["200"]["content"]
