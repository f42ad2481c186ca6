"""Who uses Voxify, and what they do. Everybody has an account of their own and waits a moment between rounds, as people do."""

from __future__ import annotations

import io
import random
import time
from functools import cache
from typing import Any

import gevent  # type: ignore[import-untyped]
import soundfile
from locust.clients import ResponseContextManager

from load_tests.person import DEFAULT_VOICE, GivenUpError, Person, WrongError, data_of, journey
from scripts.demo import RECORDING_TEXT, recording

SENTENCES = (
    "A short one.",
    "The quick brown fox jumps over the lazy dog.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Call me tomorrow at seven, and bring the letters with you. I shall wait by the gate until the clock strikes.",
)
FORMATS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg"}
UPLOADS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
SHORTEST_S = 0.3
MISTAKES = 0.25  # of all uploaders' rounds
FIRST_SOUND_BYTES = 4096
"""So much is more than any header of a file: a twelfth of a second of WAV."""


@cache
def recorded(kind: str = "wav") -> bytes:
    """A few seconds of speech as a file of this kind."""
    sound, rate = soundfile.read(recording())
    file = io.BytesIO()
    container, encoding = UPLOADS[kind]
    soundfile.write(file, sound, rate, format=container, subtype=encoding)
    return file.getvalue()


def is_sound(media_type: str) -> Any:
    """Reads an answer that must be sound of this type; returns its bytes."""

    def read(answer: ResponseContextManager) -> bytes:
        told = answer.headers.get("Content-Type", "")
        if not answer.ok or not told.startswith(media_type):
            raise WrongError(f"{answer.status_code} {told}, not {media_type}")
        sound = bytes(answer.content)
        if soundfile.info(io.BytesIO(sound)).duration < SHORTEST_S:
            raise WrongError("the sound is too short")
        return sound

    return read


class Speaker(Person):
    """Somebody who has jobs spoken."""

    abstract = True

    def spoken(self, voice: str, text: str, output_format: str = "wav", **more: Any) -> bytes:
        """Create a job, watch it to its end, and download its sound. The time to its end is told as `job`."""
        began = time.perf_counter()
        job = self.ask("POST", "/job", json={"text_content": text, "voice_model_id": voice, "output_format": output_format, **more})
        status = self.watch(job["id"])
        if status != "completed":
            self.broken("job", f"ended as {status}")
        self.took("job", began)
        path = f"/file/synthesis/{job['id']}"
        return bytes(self.ask("GET", path, is_sound(FORMATS[output_format]), name="/file/synthesis/{id}"))

    def upload(self, kind: str = "wav") -> str:
        """Id of a new recording."""
        files = {"file": (f"voice.{kind}", recorded(kind))}
        sample = self.ask("POST", "/voice/samples", files=files, data={"name": "Load", "ref_text": RECORDING_TEXT})
        return str(sample["sample_id"])


class Newcomer(Speaker):
    """The main job from its first step: an account, a recording, a voice of it, speech in that voice. A new account each time."""

    def on_start(self) -> None:
        """Comes without an account."""

    @journey
    def walk(self) -> None:
        self.client.headers.pop("Authorization", None)
        self.sign_in()
        sample = self.upload()
        self.until_ready(f"/voice/samples/{sample}", "sample", "/voice/samples/{id}")
        clone = self.ask("POST", "/voice/clones", json={"name": "Load", "sample_ids": [sample]})["clone_id"]
        self.until_ready(f"/voice/clones/{clone}", "clone", "/voice/clones/{id}")
        self.spoken(clone, SENTENCES[1])
        self.ask("POST", "/auth/logout")


class JobUser(Speaker):
    """Jobs all day long, in all formats and lengths; beside them several at once, the same key twice, a change of mind."""

    @journey
    def work(self) -> None:
        self.spoken(DEFAULT_VOICE, random.choice(SENTENCES), random.choice(list(FORMATS)))
        for job in self.ask("GET", "/job?limit=20", name="/job")[:3]:
            self.ask("GET", f"/job/{job['id']}", name="/job/{id}")
        beside = random.choice((None, self.several_at_once, self.ask_twice, self.change_my_mind))
        if beside is not None:
            beside()

    def several_at_once(self) -> None:
        """A few jobs together, then all of them watched."""
        texts = random.sample(SENTENCES, 3)
        jobs = [self.ask("POST", "/job", json={"text_content": text, "voice_model_id": DEFAULT_VOICE})["id"] for text in texts]
        for job in jobs:
            if (status := self.watch(job)) != "completed":
                self.broken("job", f"ended as {status}")

    def ask_twice(self) -> None:
        """The same key and body again is the same job."""
        wanted = {"text_content": SENTENCES[0], "voice_model_id": DEFAULT_VOICE, "config": {"seed": random.randrange(1000)}}
        headers = {"Idempotency-Key": f"load-{random.getrandbits(64):x}"}
        first, again = (self.ask("POST", "/job", json=wanted, headers=headers)["id"] for _ in range(2))
        if first != again:
            self.broken("POST /job", "the same key made another job")

    def change_my_mind(self) -> None:
        """Cancel a job just after it was created; it may have ended before."""
        job = self.ask("POST", "/job", json={"text_content": SENTENCES[-1] * 3, "voice_model_id": DEFAULT_VOICE})

        def cancelled(answer: ResponseContextManager) -> None:
            if answer.status_code != 409:
                data_of(answer)

        self.ask("PATCH", f"/job/{job['id']}", cancelled, name="/job/{id}", json={"status": "cancelled"})


class Streamer(Person):
    """Listens while it is made. `first sound` is the time from asking until there is more than a header."""

    @journey
    def listen(self) -> None:
        asked = time.perf_counter()

        def heard(answer: ResponseContextManager) -> int:
            if not answer.ok:
                data_of(answer)
            length = 0
            for block in answer.iter_content(chunk_size=None):
                if length < FIRST_SOUND_BYTES <= length + len(block):
                    self.took("first sound", asked)
                length += len(block)
            if length < FIRST_SOUND_BYTES:
                raise WrongError(f"the sound has {length} bytes")
            return length

        wanted = {"text": random.choice(SENTENCES), "stream": True}
        path = f"/voice/clones/{DEFAULT_VOICE}/synthesize"
        self.ask("POST", path, heard, name="/voice/clones/{id}/synthesize", json=wanted, stream=True)
        self.took("last sound", asked)


class Browser(Person):
    """Looks through the library: filters, pages, single voices, favourites, and a part of a sample."""

    @journey
    def browse(self) -> None:
        voices = self.ask("GET", "/voice/models?limit=10", name="/voice/models")
        self.ask("GET", f"/voice/models?language=en-US&page={random.randint(1, 2)}&page_size=3", name="/voice/models")
        voice = random.choice(voices)["voice_model_id"]
        self.ask("GET", f"/voice/models/{voice}", name="/voice/models/{id}")
        self.ask("POST", f"/voice/models/{voice}/favorite", name="/voice/models/{id}/favorite")
        self.ask("DELETE", f"/voice/models/{voice}/favorite", name="/voice/models/{id}/favorite")
        self.ask("GET", "/voice/info")
        self.ask("GET", "/auth/profile")


class Watcher(Speaker):
    """One job in three windows: every stream must tell its end."""

    @journey
    def watch_together(self) -> None:
        job = self.ask("POST", "/job", json={"text_content": SENTENCES[2], "voice_model_id": DEFAULT_VOICE})["id"]
        windows = [gevent.spawn(self._window, job) for _ in range(3)]
        gevent.joinall(windows)
        if any(window.value is None for window in windows):
            raise GivenUpError
        if {window.value for window in windows} != {"completed"}:
            self.broken("job", f"ended as {sorted({str(window.value) for window in windows})}")

    def _window(self, job: str) -> str | None:
        try:
            return self.watch(job)
        except GivenUpError:
            return None


class Uploader(Speaker):
    """Recordings of several kinds: uploaded, waited for, listened to, removed; and now and then a file that is none."""

    @journey
    def keep_and_remove(self) -> None:
        kind = random.choice(list(UPLOADS))
        sample = self.upload(kind)
        self.until_ready(f"/voice/samples/{sample}", "sample", "/voice/samples/{id}")
        self.ask("GET", f"/voice/samples/{sample}/audio", is_sound("audio/"), name="/voice/samples/{id}/audio")
        self.ask("GET", "/voice/samples?limit=5", name="/voice/samples")
        self.ask("DELETE", f"/voice/samples/{sample}", name="/voice/samples/{id}")
        if random.random() < MISTAKES:
            self.mistake_a_file()

    def mistake_a_file(self) -> None:
        def refused(answer: ResponseContextManager) -> None:
            code = answer.json()["error"]["code"]
            if (answer.status_code, code) != (400, "INVALID_AUDIO"):
                raise WrongError(f"{answer.status_code} {code} for a file that is no sound")

        files = {"file": ("voice.wav", b"This is no recording. " * 2000)}
        self.ask("POST", "/voice/samples", refused, name="/voice/samples, no sound", files=files, data={"name": "Load"})
