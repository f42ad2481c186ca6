"""What the inference service can speak, asked for now and then and never waited for twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from worker.errors import InferenceUnavailableError
from worker.inference import InferenceClient

GOOD_FOR_S = 30.0
AWAY_FOR_S = 5.0  # how long a service that did not answer is left alone

log = structlog.get_logger(__name__)


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the inference service. `languages` are primary subtags; `reason` says why one is not `available`."""

    name: str
    languages: list[str]
    license: str
    commercial_use: bool
    available: bool
    reason: str | None
    speech: bool


class LanguageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How well a language is spoken here and by which model: native, specialised, fallback or unavailable; `reason`: why not better."""

    code: str
    level: str
    model: str | None
    reason: str | None


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /models`."""

    default: str
    models: list[ModelSpec]
    languages: list[LanguageSpec]

    def spec(self, name: str | None) -> ModelSpec | None:
        return next((spec for spec in self.models if spec.name == name), None)


class Capabilities:
    """Asks the inference service for its models, at most every `GOOD_FOR_S` seconds."""

    def __init__(self, inference: InferenceClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._inference = inference
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: Models | None = None
        self._until = clock()

    async def models(self) -> Models | None:
        """What the service says; None while it cannot be asked."""
        async with self._lock:
            if self._clock() >= self._until:
                self._known = await self._ask()
                self._until = self._clock() + (GOOD_FOR_S if self._known is not None else AWAY_FOR_S)
            return self._known

    async def _ask(self) -> Models | None:
        try:
            return msgspec.convert(await self._inference.models(), Models)
        except InferenceUnavailableError:
            return None
        except ValueError as strange:  # not JSON, or not of the form
            log.warning("models of the inference service not understood", kind=type(strange).__name__)
            return None


def support(models: Models | None, code: str) -> LanguageSpec:
    """How well a language is spoken: by its own row, else by that of another region. ``unknown`` while the service cannot be asked."""
    if models is None:
        return LanguageSpec(code=code, level="unknown", model=None, reason="The speech service cannot be asked now")
    wanted = code.lower()
    for row in models.languages:
        if row.code.lower() == wanted:
            return row
    for row in models.languages:
        if _primary(row.code) == _primary(code):
            return row
    for spec in models.models:
        if spec.available and spec.speech and _primary(code) in spec.languages:
            return LanguageSpec(code=code, level="specialised", model=spec.name, reason=None)
    return LanguageSpec(code=code, level="unavailable", model=None, reason="No model speaks this language")


def _primary(code: str) -> str:
    return code.partition("-")[0].lower()
