"""What can be wrong with a sound: one exception type a kind, each with a stable code and a message for a person."""

from __future__ import annotations

from typing import ClassVar


class AudioError(Exception):
    """Base of everything that this package raises about a sound.

    Attributes:
        code: stable name of the kind of failure, fit for an API's answer.
        message: a sentence for the person who sent the sound; it quotes nothing of the sound's content.
    """

    code: ClassVar[str] = "INVALID_AUDIO"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidAudio(AudioError):  # noqa: N818 - named after its code
    """The bytes are no sound, are damaged or cut, or contradict their own header."""

    code = "INVALID_AUDIO"


class AudioTooShort(AudioError):  # noqa: N818
    """The sound is shorter than the limit."""

    code = "AUDIO_TOO_SHORT"


class AudioTooLong(AudioError):  # noqa: N818
    """The sound is longer, or larger in bytes, than the limit."""

    code = "AUDIO_TOO_LONG"


class UnsupportedAudio(AudioError):  # noqa: N818
    """The sound is whole, but its codec, number of channels or sample rate is not served."""

    code = "UNSUPPORTED_AUDIO"


class DecoderUnavailableError(Exception):
    """Nothing can be said of the sound: what decodes could not be started, or was stopped by somebody else. Worth another try."""
