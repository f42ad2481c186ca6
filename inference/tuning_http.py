"""The routes of fine-tuning. ``docs/inference.md`` describes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference import wire
from inference.errors import InferenceError, ModelUnavailableError
from inference.registry import Registry
from inference.tuning import Tunings

ESTIMATE_WAIT_S = 20.0
TrainingId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]

log = structlog.get_logger()


class Manner(wire.Body):
    """How to train; null leaves it to the service."""

    language: wire.Name = "en-US"
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None


class EstimateRequest(Manner):
    """``POST /train/estimate``."""

    seconds: Annotated[float, Field(gt=0, le=86_400)]


class TrainingSample(wire.Body):
    """A recording and exactly what is said in it."""

    audio: Annotated[str, Field(max_length=wire.MAX_AUDIO)]
    text: wire.Text


class TrainRequest(Manner):
    """``POST /train``."""

    id: TrainingId
    samples: Annotated[list[TrainingSample], Field(min_length=1, max_length=64)]
    learning_rate: Annotated[float, Field(gt=0, le=0.01)] | None = None
    align: bool = True


class EstimateResult(BaseModel):
    """``seconds`` is null where nothing could be measured in time."""

    ok: Literal[True] = True
    model: str
    steps: int
    seconds: float | None


class TrainingsResult(BaseModel):
    """``GET /train``."""

    ok: Literal[True] = True
    trainings: list[str]


class TuningPages:
    """Answers; ``ready`` gives the registry and the device, None while the service starts."""

    def __init__(self, tunings: Tunings, ready: Callable[[], tuple[Registry, str] | None]) -> None:
        self.tunings, self.ready = tunings, ready

    def routes(self) -> list[Route]:
        return [
            Route("/train", self.start, methods=["POST"]),
            Route("/train", self.all_there_are, methods=["GET"]),
            Route("/train/estimate", self.estimate, methods=["POST"]),
            Route("/train/{id}", self.look, methods=["GET"]),
            Route("/train/{id}", self.remove, methods=["DELETE"]),
        ]

    async def start(self, request: Request) -> Response:
        return await self._with_body(request, TrainRequest, self._start)

    async def estimate(self, request: Request) -> Response:
        return await self._with_body(request, EstimateRequest, self._estimate)

    async def all_there_are(self, _: Request) -> Response:
        return _json(TrainingsResult(trainings=await asyncio.to_thread(self.tunings.ids)))

    async def look(self, request: Request) -> Response:
        return await self._of_id(request, self.tunings.look)

    async def remove(self, request: Request) -> Response:
        return await self._of_id(request, self.tunings.remove)

    def _start(self, wanted: TrainRequest, registry: Registry, device: str) -> BaseModel:
        recordings = [(wire.decode_pcm(sample.audio, "samples"), sample.text) for sample in wanted.samples]
        return self.tunings.start(
            wanted.id,
            recordings,
            model=_base(registry, wanted.language),
            device=device,
            language=wanted.language,
            epochs=wanted.epochs,
            batch_size=wanted.batch_size,
            learning_rate=wanted.learning_rate,
            align=wanted.align,
        )

    def _estimate(self, wanted: EstimateRequest, registry: Registry, device: str) -> BaseModel:
        model = _base(registry, wanted.language)
        steps, seconds = self.tunings.estimate(
            wanted.seconds,
            model=model,
            device=device,
            language=wanted.language,
            epochs=wanted.epochs,
            batch_size=wanted.batch_size,
            wait_s=ESTIMATE_WAIT_S,
        )
        return EstimateResult(model=model, steps=steps, seconds=seconds)

    async def _with_body(self, request: Request, kind: type[Any], work: Callable[[Any, Registry, str], BaseModel]) -> Response:
        ready = self.ready()
        if ready is None:
            return JSONResponse({"error": "The service is starting."}, status_code=503, headers={"Retry-After": "5"})
        body = await request.body()
        try:
            return _json(await asyncio.to_thread(lambda: work(kind.model_validate_json(body), *ready)))
        except ValidationError as invalid:
            places = [".".join(map(str, error["loc"])) for error in invalid.errors(include_input=False, include_url=False)]
            return JSONResponse({"error": f"The body is not valid: {', '.join(places)}"}, status_code=400)
        except InferenceError as error:
            return _json(wire.Failure(error=wire.ErrorValue(code=error.code, message=error.message, details=dict(error.details))))

    @staticmethod
    async def _of_id(request: Request, work: Callable[[str], BaseModel | None]) -> Response:
        try:
            return _json(await asyncio.to_thread(work, request.path_params["id"]))
        except ValueError:
            return JSONResponse({"error": "This is no id of a training."}, status_code=400)


def _base(registry: Registry, language: str) -> str:
    """The model that speaks the language here. ModelUnavailableError where its weights were never trained."""
    model = registry.resolve(language).model
    if not model.speech:
        raise ModelUnavailableError(f"The model {model.name} does not speak and cannot be trained.", {"model": model.name})
    return model.name


def _json(value: BaseModel | None) -> Response:
    return Response(value.model_dump_json() if value is not None else '{"ok": true}', media_type="application/json")
