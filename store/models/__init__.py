"""The tables."""

from store.models.base import Base
from store.models.job import Job, JobTimestamps, Turn
from store.models.library import VoiceFavorite, VoicePreview, VoiceRating, VoiceUsage
from store.models.limits import AuditEntry, Counter, SettingOverride
from store.models.training import CloneTraining, TrainingSample
from store.models.user import ApiKey, PasswordReset, RefreshToken, Throttle, User
from store.models.voice import Clone, CloneConsent, CloneReference, CloneSample, Sample
from store.models.webhook import Webhook, WebhookAttempt, WebhookDelivery

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Base",
    "Clone",
    "CloneConsent",
    "CloneReference",
    "CloneSample",
    "CloneTraining",
    "Counter",
    "Job",
    "JobTimestamps",
    "PasswordReset",
    "RefreshToken",
    "Sample",
    "SettingOverride",
    "Throttle",
    "TrainingSample",
    "Turn",
    "User",
    "VoiceFavorite",
    "VoicePreview",
    "VoiceRating",
    "VoiceUsage",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
]
