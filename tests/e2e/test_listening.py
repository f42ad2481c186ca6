"""Text in, speech out, and somebody listens: the bundled voice through every real part, judged by a recogniser and by its speaker."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from inference import speaker
from inference.training.listen import Listener, word_error_rate, words
from store import presets
from tests.e2e.voxify import Person, api_process
from tests.servers import inference_server

RATE = 24_000
RECORDINGS = Path(presets.__file__).parent
# None of them is in the corpus that the voice learnt from.
SENTENCES = (
    "The children went down to the river after school.",
    "She wrote a long letter to her brother in the city.",
    "Nobody knew why the train had stopped in the snow.",
    "We will need more water before the end of the day.",
)
OTHER_WORDS = "the quick brown fox jumps over a lazy dog near this old stone bridge while heavy rain falls on green hills"
STEPS = 16
MOST_ERRORS = 0.25
LEAST_ERRORS_OF_OTHERS = 0.8


# Eight sentences on one core, and the service is started for them alone.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Spoken:
    text: str
    sound: np.ndarray


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(words(" ".join((*SENTENCES, OTHER_WORDS))))


def heard_wrong(listener: Listener, spoken: list[Spoken], texts: tuple[str, ...] = SENTENCES) -> float:
    return word_error_rate([words(text) for text in texts], [listener.hear(each.sound) for each in spoken])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Spoken]]]:
    """The sentences as jobs of two clones, one of a woman's and one of a man's recording, downloaded."""
    folder = tmp_path_factory.mktemp("listening")
    said = presets_by_recording()
    with inference_server(folder / "inference", VOXIFY_MODEL="auto", VOXIFY_DEVICE="cpu") as url, api_process(folder / "api", url) as api:
        person = Person(api.url, "listener@example.com")
        found = {}
        for recording in ("clara", "robert"):
            content = (RECORDINGS / f"{recording}.flac").read_bytes()
            sample = person.upload(content, name=recording, ref_text=said[recording]).json()["data"]
            clone = person.data("POST", "/voice/clones", json={"name": recording, "sample_ids": [sample["sample_id"]]})
            person.until(f"/voice/clones/{clone['clone_id']}", "ready")
            wanted = {"voice_model_id": clone["clone_id"], "config": {"seed": 3, "nfe_step": STEPS}}
            jobs = [person.data("POST", "/job", json={"text_content": text} | wanted) for text in SENTENCES]
            for job in jobs:
                person.until(f"/job/{job['id']}", "completed")
            found[recording] = [Spoken(text, download(person, job["id"])) for text, job in zip(SENTENCES, jobs, strict=True)]
        yield found


def presets_by_recording() -> dict[str, str]:
    return {Path(preset.recording).stem: preset.text for preset in presets.shipped().listed}


def download(person: Person, job_id: str) -> np.ndarray:
    answer = person.http.get(f"/file/synthesis/{job_id}")
    answer.raise_for_status()
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    return np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)


def test_what_was_written_is_heard(listener: Listener, spoken: dict[str, list[Spoken]]) -> None:
    for recording, sounds in spoken.items():
        assert heard_wrong(listener, sounds) <= MOST_ERRORS, recording


def test_the_listener_would_notice_other_words_noise_and_silence(listener: Listener, spoken: dict[str, list[Spoken]]) -> None:
    sounds = spoken["clara"]
    shifted = [*SENTENCES[1:], SENTENCES[0]]
    assert heard_wrong(listener, sounds, tuple(shifted)) >= LEAST_ERRORS_OF_OTHERS
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    for wrong in (noise, np.zeros(3 * RATE, dtype=np.float32), sounds[0].sound[::-1]):
        assert heard_wrong(listener, [Spoken("", wrong)] * len(SENTENCES)) >= LEAST_ERRORS_OF_OTHERS


def test_each_clone_speaks_with_its_own_voice(spoken: dict[str, list[Spoken]]) -> None:
    references = {}
    for recording in ("clara", "robert", "alistair", "walter"):
        samples, rate = soundfile.read(RECORDINGS / f"{recording}.flac", dtype="float32")
        references[recording] = speaker.embed(samples, rate)
    for recording, sounds in spoken.items():
        for each in sounds:
            voice = speaker.embed(each.sound, RATE)
            assert max(references, key=lambda name: float(references[name] @ voice)) == recording


def test_sentences_last_as_long_as_people_take_for_them(spoken: dict[str, list[Spoken]]) -> None:
    for sounds in spoken.values():
        for each in sounds:
            seconds = len(each.sound) / RATE
            assert 1.5 <= len(words(each.text)) / seconds <= 5
