"""When the words of a job are said: its finished sound, aligned with its text a minute at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from audio.slices import slices
from store.models import Job, JobTimestamps
from store.stores import Stores
from worker.errors import JobFailedError
from worker.inference import SAMPLE_RATE, AlignedWord, Alignment, InferenceClient, TextSpan

GROUP_S = 60.0
"""Sound that goes into one request, unless a single chunk is longer."""
LONGEST_S = 540.0
"""Longest sound that the service takes at once, with a margin."""


async def align_job(path: Path, job: Job, *, duration: float, spans: Sequence[TextSpan], inference: InferenceClient) -> JobTimestamps:
    """The words of a job in its finished sound, ready to be kept.

    The times are those of the file, so that whatever was done to the sound (speed, pitch, joins) is in them: within [0, duration], never
    decreasing, no word before the one before it has ended. The offsets count characters of the text as it came.

    Args:
        path: the encoded sound.
        duration: of the sound in seconds.
        spans: which part of the text is said where, as the job's result names its chunks; may be empty for a sound of up to 540 s.

    Raises:
        JobFailedError: ``TIMESTAMPS_UNAVAILABLE``, a sound that long without spans.
        AudioError: the file cannot be read.
    """
    text = job.text_content
    whole = list(spans) or [TextSpan(0, len(text), 0.0, duration)]
    if max(span.end_s - span.start_s for span in whole) > LONGEST_S:
        raise JobFailedError("TIMESTAMPS_UNAVAILABLE", "The sound is too long to find its words in it")
    groups = list(grouped(whole))
    # Neighbours overlap by their cross-fade, and part in its middle.
    cuts = [(before[-1].end_s + after[0].start_s) / 2 for before, after in itertools.pairwise(groups)]
    begins = [0, *(group[0].start for group in groups[1:])]
    ends = [*begins[1:], len(text)]
    words: list[AlignedWord] = []
    method: Literal["ctc", "estimated"] = "ctc"
    with closing(slices(path, cuts, SAMPLE_RATE)) as parts:
        for group, begin, end, begin_s in zip(groups, begins, ends, [0.0, *cuts], strict=True):
            sound = await asyncio.to_thread(_next, parts)
            if sound is None or not len(sound):
                break
            found = await _align(sound, text[begin:end], job, [_within(span, begin, begin_s, len(sound)) for span in group], inference)
            if found is None:
                continue
            if found.method == "estimated":
                method = "estimated"
            words += [_moved(word, begin, begin_s) for word in found.words]
    return JobTimestamps(job_id=job.id, method=method, words=[list(msgspec.structs.astuple(word)) for word in in_order(words, duration)])


async def align_stored(stores: Stores, folder: Path, job: Job, inference: InferenceClient) -> JobTimestamps:
    """As `align_job`, of the sound that the job has in the store. Raises ObjectNotFoundError too."""
    key = job.output_path or ""
    stat = await stores.objects.stat(key)
    path = folder / f"sound{Path(key).suffix}"
    with path.open("wb") as file:
        async for block in stores.objects.stream(key, 0, stat.size):
            await asyncio.to_thread(file.write, block)
    spans = [msgspec.convert(chunk, TextSpan) for chunk in (job.result or {}).get("chunks", [])]
    return await align_job(path, job, duration=job.duration or 0.0, spans=spans, inference=inference)


def grouped(spans: Sequence[TextSpan]) -> Iterator[list[TextSpan]]:
    """The spans in order, as many together as stay within `GROUP_S`."""
    group: list[TextSpan] = []
    for span in spans:
        if group and span.end_s - group[0].start_s > GROUP_S:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def in_order(words: Sequence[AlignedWord], duration: float) -> Iterator[AlignedWord]:
    """The words with their times kept within [0, duration] and from running backwards, which rounding may make them do by a hair."""
    done = 0.0
    for word in words:
        start = min(max(done, word.start_s), duration)
        done = min(max(start, word.end_s), duration)
        yield msgspec.structs.replace(word, start_s=round(start, 3), end_s=round(done, 3))


async def _align(sound: NDArray[np.float32], text: str, job: Job, spans: list[TextSpan], inference: InferenceClient) -> Alignment | None:
    """None where nothing is spoken in this part of the text."""
    try:
        return await inference.align(sound, text, language=job.text_language, chunks=spans, request_id=job.request_id)
    except JobFailedError as failure:
        if failure.code == "EMPTY_TEXT":
            return None
        raise


def _next(parts: Iterator[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    return next(parts, None)


def _within(span: TextSpan, begin: int, begin_s: float, samples: int) -> TextSpan:
    """The span as it lies in its group's text and sound."""
    seconds = samples / SAMPLE_RATE
    start_s = min(max(0.0, span.start_s - begin_s), seconds)
    return TextSpan(max(0, span.start - begin), span.end - begin, start_s, min(max(start_s, span.end_s - begin_s), seconds))


def _moved(word: AlignedWord, begin: int, begin_s: float) -> AlignedWord:
    return msgspec.structs.replace(
        word, start=word.start + begin, end=word.end + begin, start_s=word.start_s + begin_s, end_s=word.end_s + begin_s
    )
