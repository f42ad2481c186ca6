"""What can go wrong at the API: one type a kind, each with a status and a stable code.

How they become answers: :mod:`api.error_handling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from store.clock import utcnow

MAX_RETRY_AFTER_S = 120
Found = TypeVar("Found")


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong: a stable `code` for programs, a `message` for people and, where fields are at fault, why."""

    code: str
    message: str
    timestamp: datetime
    details: dict[str, Any] | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """`{"success": false, "error": {"code", "message", "details"?, "timestamp"}, "timestamp"}`: the form of every error."""

    success: bool
    error: ErrorBody
    timestamp: datetime


class ApiError(Exception):
    """An error with its answer.

    Args:
        message: a sentence for the person who asked; it never quotes what they sent.
        code: replaces the code of the kind.
        details: `{field: why}`.
        retry_after: seconds after which to ask again; sent as `Retry-After`, at least 1 and at most 120.
        headers: further headers of the answer.
    """

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    default_code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = dict(details) if details else None
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(min(MAX_RETRY_AFTER_S, max(1, math.ceil(retry_after))))

    def envelope(self) -> ErrorEnvelope:
        now = utcnow()
        body = ErrorBody(code=self.code, message=self.message, details=self.details, timestamp=now)
        return ErrorEnvelope(success=False, error=body, timestamp=now)


class BadRequestError(ApiError):
    status = HTTPStatus.BAD_REQUEST
    default_code = "BAD_REQUEST"


class ValidationFailedError(BadRequestError):
    """Fields are at fault; `details` names them."""

    default_code = "VALIDATION_ERROR"

    def __init__(
        self, details: Mapping[str, Any] | None = None, message: str = "The request is not valid", code: str | None = None
    ) -> None:
        super().__init__(message, code=code, details=details)


class MalformedJsonError(BadRequestError):
    default_code = "MALFORMED_JSON"


class MissingBodyError(BadRequestError):
    default_code = "MISSING_BODY"


class UnauthorizedError(ApiError):
    """Nobody, or nobody we know. The answer names the scheme, as RFC 9110 asks."""

    status = HTTPStatus.UNAUTHORIZED
    default_code = "UNAUTHORIZED"

    def __init__(self, message: str = "Sign in to do this", code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(ApiError):
    status = HTTPStatus.FORBIDDEN
    default_code = "FORBIDDEN"


class NotFoundError(ApiError):
    """There is no such thing, or it is somebody else's: the two answer alike. `kind` is ``"job"``, ``"voice model"`` …"""

    status = HTTPStatus.NOT_FOUND
    default_code = "NOT_FOUND"

    def __init__(self, kind: str) -> None:
        super().__init__(f"There is no such {kind}", code=f"{kind.upper().replace(' ', '_')}_NOT_FOUND")


def found(row: Found | None, kind: str) -> Found:
    """What was looked for, or NotFoundError."""
    if row is None:
        raise NotFoundError(kind)
    return row


class RouteNotFoundError(ApiError):
    status = HTTPStatus.NOT_FOUND
    default_code = "ROUTE_NOT_FOUND"


class MethodNotAllowedError(ApiError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    default_code = "METHOD_NOT_ALLOWED"


class ConflictError(ApiError):
    status = HTTPStatus.CONFLICT
    default_code = "CONFLICT"


class PayloadTooLargeError(ApiError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaTypeError(ApiError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_code = "UNSUPPORTED_MEDIA_TYPE"


class RateLimitedError(ApiError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    default_code = "RATE_LIMITED"


class TooManyAttemptsError(RateLimitedError):
    """Passwords guessed, or mails asked for, too often."""


class QuotaExceededError(RateLimitedError):
    """What somebody may make in a day or have stored is used up; `details` says which quota and, where time helps, when it is whole."""

    default_code = "QUOTA_EXCEEDED"


class UnavailableError(ApiError):
    """Something that the answer needs is not there now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "INFERENCE_UNAVAILABLE"


class InternalError(ApiError):
    """Our fault. The answer names the request, so that its log lines can be found, and nothing of the inside."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"Something went wrong on our side. Name the request {request_id} when you report it.", details={"request_id": request_id}
        )


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The `responses` of a route for OpenAPI: these error statuses, and those that any route may give."""
    anywhere = (HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR)
    return {
        int(status): ResponseSpec(ErrorEnvelope, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({*statuses, *anywhere})
    }
