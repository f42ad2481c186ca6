"""Every exception, ours and the framework's, to the one form of an error. The only place where that happens."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from api import errors
from api.request_ids import request_id_of
from audio.errors import AudioError, DecoderUnavailableError
from store.faults import part_away
from store.vectors import VectorsUnavailableError

log = structlog.get_logger(__name__)

_MISSING_PARAMETER = re.compile(r"Missing required \w+ parameter '([^']+)'")
RETRY_S = 5
STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
VECTORS_UNAVAILABLE = "VECTORS_UNAVAILABLE"  # logged by the index itself
_DISCONNECTED = "client disconnected prematurely"


class InvalidAudioError(errors.BadRequestError):
    """A sound that :mod:`audio` refused; it has the code that `audio` gave it."""


class OtherHttpError(errors.ApiError):
    """A framework's error without a type of ours."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None) -> None:
        super().__init__(message, code=HTTPStatus(status).name, headers=headers)
        self.status = status  # type: ignore[misc] # the one kind whose status is known only when it happens


_BY_STATUS: dict[int, type[errors.ApiError]] = {
    HTTPStatus.BAD_REQUEST: errors.BadRequestError,
    HTTPStatus.FORBIDDEN: errors.ForbiddenError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.PayloadTooLargeError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: errors.UnsupportedMediaTypeError,
    HTTPStatus.TOO_MANY_REQUESTS: errors.RateLimitedError,
}


def respond(request: Request[Any, Any, Any], exception: Exception) -> Response[errors.ErrorEnvelope]:
    """The exception handler of the app, for exceptions of every type."""
    error = translate(exception, request_id_of(request.scope))
    if error.code == STORAGE_UNAVAILABLE:
        log.warning("store unavailable", part=part_away(exception), reason=repr(getattr(exception, "orig", exception)))
    elif error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error is not exception and error.code != VECTORS_UNAVAILABLE:
        log.error("unhandled error", exc_info=exception)
    request.app.state.metrics.refused(error)
    return Response(error.envelope(), status_code=error.status, headers=error.headers, media_type="application/json")


def translate(exception: Exception, request_id: str) -> errors.ApiError:
    """What `exception` means to the one who asked; what has no meaning to them is an :class:`~api.errors.InternalError`."""
    match exception:
        case errors.ApiError():
            error = exception
        case AudioError():
            error = InvalidAudioError(exception.message, code=exception.code)
        case DecoderUnavailableError():
            message = "Recordings cannot be decoded right now; try again soon"
            error = errors.UnavailableError(message, code="DECODER_UNAVAILABLE", retry_after=RETRY_S)
        case HTTPException():
            error = _of_framework(exception) or errors.InternalError(request_id)
        case VectorsUnavailableError():
            message = "Voices cannot be compared right now; try again soon"
            error = errors.UnavailableError(message, code=VECTORS_UNAVAILABLE, retry_after=RETRY_S)
        case _ if part_away(exception) is not None:
            message = "What you sent or asked for cannot be stored or read right now. Try again soon"
            error = errors.UnavailableError(message, code=STORAGE_UNAVAILABLE, retry_after=RETRY_S)
        case _:
            error = errors.InternalError(request_id)
    return error


def _of_framework(exception: HTTPException) -> errors.ApiError | None:
    """What Litestar raises, or None for its own failures."""
    error: errors.ApiError | None
    match exception:
        case NotFoundException():
            error = errors.RouteNotFoundError("There is nothing at this address")
        case MethodNotAllowedException():
            error = errors.MethodNotAllowedError("This address does not take this method", headers=_allow(exception.headers))
        case ValidationException():
            error = errors.ValidationFailedError(_details(exception))
        case HTTPException(detail=detail) if detail == _DISCONNECTED:
            # Nobody is there to read the answer; it only must not be counted as our failure.
            error = errors.BadRequestError("The connection was closed before the request was complete", code="INCOMPLETE_REQUEST")
        case HTTPException(__cause__=SerializationException()):
            error = errors.MalformedJsonError("The body is not valid JSON")
        case HTTPException(status_code=HTTPStatus.UNAUTHORIZED):
            error = errors.UnauthorizedError()
        case HTTPException(status_code=status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = None
        case HTTPException(status_code=status) if kind := _BY_STATUS.get(status):
            error = kind(exception.detail, headers=exception.headers)
        case _:
            error = OtherHttpError(exception.status_code, exception.detail, exception.headers)
    return error


def _allow(headers: dict[str, str] | None) -> dict[str, str]:
    allowed = (headers or {}).get("allow", "").split(", ")
    return {"Allow": ", ".join(sorted(filter(None, allowed)))}


def _details(exception: ValidationException) -> dict[str, str]:
    """`{parameter: why}` from the list that Litestar makes, or from the sentence that it says instead."""
    if isinstance(exception.extra, list):
        return {str(item.get("key") or "body"): str(item.get("message", "is not valid")) for item in exception.extra}
    missing = _MISSING_PARAMETER.search(exception.detail)
    return {missing.group(1): "is missing"} if missing else {}
