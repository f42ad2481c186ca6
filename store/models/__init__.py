"""The tables."""

from store.models.base import Base
from store.models.job import Job
from store.models.user import ApiKey, PasswordReset, RefreshToken, Throttle, User
from store.models.voice import Clone, CloneSample, Sample

__all__ = ["ApiKey", "Base", "Clone", "CloneSample", "Job", "PasswordReset", "RefreshToken", "Sample", "Throttle", "User"]
