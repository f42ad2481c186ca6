"""Words in a finished file: a long sound in parts, by the rules of the service that aligns them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio.encode import Encoder, Format
from audio.errors import InvalidAudio
from audio.slices import slices
from inference import wire
from inference.align import Chunk, align
from inference.listening import Listener
from inference.registry import Registry
from inference.text import EmptyTextError
from store.models import Job
from worker import timestamps
from worker.errors import JobFailedError
from worker.inference import AlignedWord, Alignment, InferenceClient, TextSpan
from worker.timestamps import align_job, grouped, in_order

RATE = 24_000


class Aligner:
    """The service's own alignment, without the wire."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []

    async def align(self, samples: NDArray[np.float32], text: str, *, language: str, chunks: list[TextSpan], **_: Any) -> Alignment:
        self.asked.append((len(samples) / RATE, text))
        try:
            found = align(samples, RATE, text, language=language, chunks=[Chunk(c.start, c.end, c.start_s, c.end_s) for c in chunks])
        except EmptyTextError:
            raise JobFailedError("EMPTY_TEXT", "nothing") from None
        return Alignment(found.method, [AlignedWord(w.start, w.end, w.start_s, w.end_s, w.score) for w in found.words])


def write(path: Path, seconds: float, format: Format = "wav", rate: int = RATE) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    with Encoder(path, format, rate) as encoder:
        encoder.write(noise)
    return path


async def words_of(path: Path, text: str, spans: list[TextSpan], duration: float, aligner: Aligner) -> list[tuple[str, float, float]]:
    job = Job(id="job_1", text_content=text, text_language="en-US")
    found = await align_job(path, job, duration=duration, spans=spans, inference=aligner)  # type: ignore[arg-type]
    assert found.job_id == "job_1"
    times = [time for _, _, start, end, _ in found.words for time in (start, end)]
    assert times == sorted(times)
    assert all(0 <= time <= duration for time in times)
    return [(text[start:end], start_s, end_s) for start, end, start_s, end_s, _ in found.words]


async def test_parts_make_one_text_and_one_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "GROUP_S", 4.0)
    sentences = [f"Number {n} costs $5. " for n in range(8)]
    text = "".join(sentences)
    starts = np.cumsum([0, *map(len, sentences)])
    spans = [TextSpan(int(starts[n]), int(starts[n + 1]) - 1, n * 1.45, n * 1.45 + 1.5) for n in range(8)]
    duration = spans[-1].end_s
    aligner = Aligner()
    words = await words_of(write(tmp_path / "a.wav", duration), text, spans, duration, aligner)
    assert [word for word, _, _ in words] == [said for n in range(8) for said in ("Number", str(n), "costs", "$5")]
    for k, (_, start, end) in enumerate(words):
        span = spans[k // 4]
        assert span.start_s <= start <= end <= span.end_s + 1e-3, "every word lies in the sound of its sentence"
    assert len(aligner.asked) > 2
    assert sum(seconds for seconds, _ in aligner.asked) == pytest.approx(duration, abs=0.001), "none of the sound twice"
    assert "".join(asked for _, asked in aligner.asked) == text


@pytest.mark.parametrize(("format", "rate"), [("mp3", 8000), ("opus", 22_050), ("flac", 48_000), ("ogg", 44_100)])
async def test_any_file_of_ours_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format, rate: int) -> None:
    monkeypatch.setattr(timestamps, "GROUP_S", 1.0)
    spans = [TextSpan(0, 4, 0.0, 1.0), TextSpan(4, 9, 0.95, 2.0)]
    aligner = Aligner()
    words = await words_of(write(tmp_path / f"a.{format}", 2.0, format, rate), "One. Two.", spans, 2.0, aligner)
    assert [word for word, _, _ in words] == ["One", "Two"]
    assert words[1][1] >= 0.97
    assert [seconds for seconds, _ in aligner.asked] == pytest.approx([0.975, 1.025], abs=0.1)


async def test_without_spans_it_is_one_piece_that_must_not_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", 2.0)
    assert len(await words_of(path, "One two. Three.", [], 2.0, Aligner())) == 3
    monkeypatch.setattr(timestamps, "LONGEST_S", 1.9)
    with pytest.raises(JobFailedError) as failure:
        await words_of(path, "One two. Three.", [], 2.0, Aligner())
    assert failure.value.code == "TIMESTAMPS_UNAVAILABLE"


async def test_a_part_without_words_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "GROUP_S", 1.0)
    spans = [TextSpan(0, 4, 0.0, 1.0), TextSpan(5, 8, 1.0, 2.0), TextSpan(9, 13, 2.0, 3.0)]
    words = await words_of(write(tmp_path / "a.wav", 3.0), "One. --- Two.", spans, 3.0, Aligner())
    assert [(word, int(start)) for word, start, _ in words] == [("One", 0), ("Two", 2)]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_groups_keep_all_in_order_and_short(lengths: list[float]) -> None:
    ends = np.cumsum(lengths)
    spans = [TextSpan(n, n + 1, float(end - length), float(end)) for n, (length, end) in enumerate(zip(lengths, ends, strict=True))]
    groups = list(grouped(spans))
    assert [span for group in groups for span in group] == spans
    assert all(len(group) == 1 or group[-1].end_s - group[0].start_s <= timestamps.GROUP_S for group in groups)


@given(st.lists(st.tuples(st.floats(-1, 12), st.floats(-1, 12)), max_size=20))
def test_times_never_run_backwards_and_stay_within(times: list[tuple[float, float]]) -> None:
    ordered = list(in_order([AlignedWord(0, 1, start, end, None) for start, end in times], 10.0))
    flat = [time for word in ordered for time in (word.start_s, word.end_s)]
    assert flat == sorted(flat)
    assert all(0 <= time <= 10 for time in flat)


def test_slices_are_the_whole_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.0, rate=48_000)
    parts = list(slices(path, [0.25, 0.5, 7.0], RATE))
    assert [len(part) for part in parts] == [6000, 6000, 12_000, 0]
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(InvalidAudio):
        list(slices(tmp_path / "bad.wav", [], RATE))


async def test_the_client_and_the_service_understand_each_other(tmp_path: Path) -> None:
    listener = Listener(Registry(models_dir=tmp_path / "models", voices_dir=tmp_path / "voices"))

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/align"
        said = listener.align(wire.AlignRequest.model_validate_json(request.content))
        return httpx.Response(200, json=said.model_dump())

    client = InferenceClient("http://inference.test", timeout_s=9, transport=httpx.MockTransport(answer))
    job = Job(id="job_1", text_content="One. Two 3.", text_language="en-US")
    path, spans = write(tmp_path / "a.wav", 2.0), [TextSpan(0, 4, 0.0, 1.0), TextSpan(5, 11, 0.95, 2.0)]
    found = await align_job(path, job, duration=2.0, spans=spans, inference=client)
    assert [tuple(word[:2]) for word in found.words] == [(0, 3), (5, 8), (9, 10)]
    assert (found.method, {word[4] for word in found.words}) == ("estimated", {None})
    job.text_content = "- ! -"
    assert (await align_job(path, job, duration=2.0, spans=[], inference=client)).words == []
    await client.close()
