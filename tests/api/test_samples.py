"""Recordings: uploaded, listed, processed, deleted."""

from __future__ import annotations

import pytest

from store.clock import utcnow
from store.models import Job, Sample
from store.objects import Bucket
from tests.api.rooms import Caller, recording
from tests.servers import free_port
from worker.run import JobRunner
from worker.sweeper import Sweeper


async def test_an_upload_is_described_processed_and_ready(me: Caller) -> None:
    uploaded = await me.upload(name="  My voice ", description="At home", language="en-us", style="calm")
    assert (uploaded["name"], uploaded["description"], uploaded["language"], uploaded["style"]) == ("My voice", "At home", "en-US", "calm")
    assert (uploaded["format"], uploaded["sample_rate"], uploaded["channels"], uploaded["duration"]) == ("wav", 16_000, 1, 4.0)
    assert uploaded["size"] == len(recording())
    assert uploaded["status"] == "uploaded"
    ready = await me.until(f"/voice/samples/{uploaded['sample_id']}", "ready", "failed")
    assert ready["status"] == "ready", ready
    assert 0 <= ready["quality_metrics"]["quality_score"] <= 1
    assert await me.stores.vectors.ids() == [uploaded["sample_id"]]


async def test_a_recording_whose_file_is_gone_fails_with_a_reason(me: Caller) -> None:
    row = Sample(
        id="vs_lost", user_id=me.who.id, name="Lost", format="wav", duration=4, sample_rate=16_000, channels=1, size=1, status="uploaded",
        original_path="samples/vs_lost/original.wav",
    )  # fmt: skip
    job = Job(id="job_lost", user_id=me.who.id, kind="sample_processing", subject_id="vs_lost", available_at=utcnow())
    await me.add(row, job)
    me.app.state.rooms.worker.ring()
    failed = await me.until("/voice/samples/vs_lost", "failed")
    assert (failed["error_code"], failed["error_message"]) == ("FILE_NOT_FOUND", "The uploaded file is gone")


async def test_lists_are_ones_own_sorted_filtered_and_in_pages(me: Caller, stranger: Caller) -> None:
    for number, status in enumerate(["ready", "failed", "ready", "ready", "processing"]):
        await me.add(
            Sample(
                id=f"vs_{number}", user_id=me.who.id, name=f"Voice {number}", format="wav", duration=10 - number, sample_rate=16_000,
                channels=1, size=1, original_path=f"samples/vs_{number}/original.wav", status=status,
            )
        )  # fmt: skip

    async def listed(query: str) -> list[str]:
        return [each["sample_id"] for each in (await me.data("GET", f"/voice/samples?{query}"))["samples"]]

    assert await listed("") == ["vs_4", "vs_3", "vs_2", "vs_1", "vs_0"], "the newest first"
    assert await listed("sort_by=duration&sort_order=asc") == ["vs_4", "vs_3", "vs_2", "vs_1", "vs_0"]
    assert await listed("sort_by=name&sort_order=asc&limit=2") == ["vs_0", "vs_1"]
    assert await listed("sort_by=name&sort_order=asc&page=3&page_size=2") == ["vs_4"]
    assert await listed("status=ready&sort_order=asc") == ["vs_0", "vs_2", "vs_3"]
    page = (await me.data("GET", "/voice/samples?limit=2&offset=2"))["pagination"]
    assert (page["total_count"], page["page"], page["total_pages"], page["has_next"], page["has_prev"]) == (5, 2, 3, True, True)
    assert (await stranger.data("GET", "/voice/samples"))["samples"] == []
    for query in ("status=unknown", "sort_by=user_id", "limit=101", "sort_order=up", "status=%00"):
        assert await me.refused("GET", f"/voice/samples?{query}") == (400, "VALIDATION_ERROR")


async def test_deleting_takes_the_file_the_row_and_the_vector(me: Caller, stranger: Caller) -> None:
    sample_id = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample_id}", "ready")
    assert (await me.counts())[3] == 2, "as it came, and prepared"
    assert await stranger.refused("DELETE", f"/voice/samples/{sample_id}?force=true") == (404, "SAMPLE_NOT_FOUND")
    await me.data("DELETE", f"/voice/samples/{sample_id}")
    assert await me.counts() == (0, 0, 0, 0)
    assert await me.stores.vectors.ids() == []
    assert await me.refused("DELETE", f"/voice/samples/{sample_id}") == (404, "SAMPLE_NOT_FOUND")


async def test_what_is_deleted_while_the_bucket_is_away_is_gone_and_its_files_go_with_the_sweep(
    me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_id = (await me.upload())["sample_id"]
    await me.until(f"/voice/samples/{sample_id}", "ready")
    clone_id = (await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample_id]}))["clone_id"]
    await me.until(f"/voice/clones/{clone_id}", "ready")
    job_id = (await me.data("POST", "/job", json={"text_content": "Hello.", "voice_model_id": clone_id}))["id"]
    await me.until(f"/job/{job_id}", "completed")
    nobody = f"http://127.0.0.1:{free_port()}"
    with monkeypatch.context() as away:
        away.setattr(me.stores.objects, "_store", Bucket(url="s3://voxify", endpoint=nobody, access_key="x", secret_key="x").open(nobody))
        for path in (f"/file/synthesis/{job_id}", f"/job/{job_id}", f"/voice/clones/{clone_id}", f"/voice/samples/{sample_id}"):
            assert (await me.ask("DELETE", path)).is_success, path
            assert (await me.ask("GET", path)).status_code == 404, path
    runner = JobRunner(me.stores, {}, lease_s=30, max_attempts=1, notify=lambda _: None)
    assert await Sweeper(runner, orphan_grace_s=0).remove_orphans() > 3
    assert await me.counts() == (0, 0, 0, 0)


async def test_a_sample_in_use_stays_unless_forced(me: Caller) -> None:
    sample_id = (await me.upload())["sample_id"]
    clone = await me.data("POST", "/voice/clones", json={"name": "Mine", "sample_ids": [sample_id]})
    clone_id = clone["clone_id"]
    await me.until(f"/voice/clones/{clone_id}", "ready")
    await me.data("POST", f"/voice/clones/{clone_id}/select")
    answer = await me.ask("DELETE", f"/voice/samples/{sample_id}")
    assert (answer.status_code, answer.json()["error"]["details"]) == (409, {"clones": [clone_id]})
    assert (await me.data("DELETE", f"/voice/samples/{sample_id}?force=true"))["deleted_clones"] == [clone_id]
    assert await me.counts() == (0, 0, 0, 0)
    assert (await me.data("GET", "/auth/profile"))["user"]["active_clone_id"] is None


@pytest.mark.parametrize("content", [b"a letter", b"", recording(1.0)], ids=["a letter", "nothing", "too short"])
async def test_what_is_no_recording_leaves_nothing_behind(me: Caller, content: bytes) -> None:
    answer = await me.ask("POST", "/voice/samples", files={"file": ("a.wav", content)}, data={"name": "A"})
    assert answer.status_code == 400
    assert await me.counts() == (0, 0, 0, 0)
