"""What can go wrong in the inference tier: types with a stable code, turned into values of the wire in one place."""

from __future__ import annotations

from typing import Any, ClassVar


class InferenceError(Exception):
    """Base of the tier's errors. ``code`` is stable, ``message`` is for a person, ``details`` is JSON-able."""

    code: ClassVar[str] = "INFERENCE_ERROR"

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}


class InvalidItemError(InferenceError):
    """A value of an item is out of its range."""

    code = "INVALID_ITEM"


class ModelUnavailableError(InferenceError):
    """The model is unknown, was not fetched, cannot be loaded, or its licence was refused."""

    code = "MODEL_UNAVAILABLE"


class LanguageUnavailableError(InferenceError):
    """No model that could be used speaks the language, not even as a fallback."""

    code = "LANGUAGE_UNAVAILABLE"


class DeadlineExceededError(InferenceError):
    """The item waited longer than its ``timeout_s`` and was dropped before the compute."""

    code = "DEADLINE_EXCEEDED"


class SynthesisFailedError(InferenceError):
    """The computation itself failed: out of memory, or sound that is not finite."""

    code = "SYNTHESIS_FAILED"
