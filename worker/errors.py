"""How work ends when it does not end well."""

from __future__ import annotations

from typing import Any


class WorkError(Exception):
    """Base of what this room raises."""


class JobFailedError(WorkError):
    """The job cannot be done, now or later; `message` is for its owner."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class AttemptFailedError(WorkError):
    """This attempt came to nothing, another may not: the job is tried again until its attempts are spent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LeaseLostError(WorkError):
    """Somebody else has the job now, or may have it; whoever meets this stops and writes nothing."""


class NotYetError(WorkError):
    """Something that the job needs is not there yet; it goes back to the queue and the attempt is not counted."""

    def __init__(self, message: str, retry_in_s: float = 5.0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_in_s = retry_in_s


class InferenceUnavailableError(NotYetError):
    """The inference service cannot be reached or is overloaded."""

    def __init__(self, retry_in_s: float = 5.0) -> None:
        super().__init__("Waiting for the speech service", retry_in_s)
