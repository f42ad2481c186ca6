"""Examples of requests and answers for the OpenAPI document. Answers are put together from their schemas, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

Document = Mapping[str, Any]

_TIME = "2026-01-31T12:00:00Z"
_JOB, _SAMPLE, _CLONE = "job_01j8zk3v6f5q", "vs_01j8zk2m4x7c", "vc_01j8zk2r9t1d"
_USER, _WEBHOOK, _KEY = "user_01j8zk1h0b3e", "wh_01j8zk4a8n2w", "key_01j8zk4d6p0y"
_PRESET = "default_voice_001"
_EMAIL, _SECRET_WORD = "ada@example.com", "Correct-Horse-7!"
_ACCESS = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"
_REFRESH = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJ0b2sifQ.c2lnbmF0dXJl"
_TEXT = "Hello world, this is a test synthesis."

# What a request holds, by the id of its operation; for `clones_find_similar` the JSON form.
REQUESTS: dict[str, Any] = {
    "auth_register": {"email": _EMAIL, "password": _SECRET_WORD, "first_name": "Ada", "last_name": "Lovelace"},
    "auth_login": {"email": _EMAIL, "password": _SECRET_WORD},
    "auth_refresh": {"refresh_token": _REFRESH},
    "auth_forgot_password": {"email": _EMAIL},
    "auth_reset_password": {"token": "Zk3vF0mXyC1u2Q9n0m1dJd8pQw6hR4tB5sLxYaE7oGc", "password": "Another-Staple-8?"},
    "auth_replace_profile": {"email": _EMAIL, "first_name": "Ada", "last_name": "Byron"},
    "auth_change_profile": {"password": "Another-Staple-8?", "current_password": _SECRET_WORD},
    "auth_create_api_key": {"name": "podcast builder", "scopes": ["read", "write"]},
    "admin_create_user": {"email": _EMAIL, "password": _SECRET_WORD, "first_name": "Ada", "last_name": "Lovelace"},
    "admin_change_user": {"limits": {"jobs_per_day": 500, "storage_bytes": None}},
    "admin_change_config": {"jobs_per_day": 200, "samples_per_day": None},
    "samples_upload_sample": {"file": "<the sound>", "name": "Ada", "ref_text": _TEXT, "language": "en-US"},
    "samples_update_sample": {"name": "Ada, in the morning", "ref_text": _TEXT},
    "samples_train_sample": {"sample_ids": [], "config": {"epochs": 100, "enable_timestamp_alignment": True}},
    "clones_update_clone": {"training_job_id": "job_01j8zk6t5r8v"},
    "clones_create_clone": {"name": "Ada", "sample_ids": [_SAMPLE], "language": "en-US"},
    "clones_find_similar": {"id": _SAMPLE, "limit": 5},
    "clones_synthesize": {"text": _TEXT, "speed": 1.1, "output_format": "mp3", "seed": 7},
    "jobs_create_job": {
        "text_content": _TEXT,
        "voice_model_id": _PRESET,
        "text_language": "en-US",
        "output_format": "wav",
        "sample_rate": 24000,
        "config": {"seed": 7, "include_timestamps": True},
    },
    "jobs_update_job": {"speed": 1.5, "output_format": "mp3", "sample_rate": 44100},
    "jobs_patch_job": {"status": "cancelled"},
    "files_link_file": {"expires_in": 600},
    "library_rate_voice_model": {"rating": 5},
    "webhooks_create_webhook": {"url": "https://example.com/voxify", "events": ["job.completed", "job.failed"]},
}

# What a field of an answer holds, by its name, or by `Schema.name` where the name alone does not say. Others follow from their type.
_FIELDS: dict[str, Any] = {
    "access_token": _ACCESS,
    "action": "user.change",
    "active_clone_id": _CLONE,
    "actor_id": _USER,
    "after": {"is_active": False},
    "alias_of": "preset_ada_001",
    "attempt": 1,
    "before": {"is_active": True},
    "by_role": {"user": 3, "admin": 1},
    "by_status": {"pending": 1, "completed": 12},
    "background": {"sample_processing": {"completed": 4}},
    "cache_hit": False,
    "capabilities": None,
    "changed_by": _USER,
    "channels": 1,
    "char_end": 5,
    "client_address": "192.0.2.7",
    "clone_id": _CLONE,
    "config": {"seed": 7},
    "default": 100,
    "default_model": "F5TTS_v1_Base",
    "default_style": "neutral",
    "default_voice_id": _PRESET,
    "deleted_clones": [_CLONE],
    "description": "Recorded in a quiet room",
    "details": {"speed": "must be at most 3"},
    "download_url": f"/api/v1/files/audio/{_JOB}",
    "duration": 5.2,
    "email": _EMAIL,
    "end": 0.42,
    "error_code": None,
    "error_message": None,
    "eta_seconds": None,
    "etag": '"5eb63bbbe01eeed093cb22bb8f5acdc3"',
    "event": "job.completed",
    "event_id": "msg_01j8zk5b3c9h",
    "events": ["job.completed", "job.failed"],
    "expires_in": 3600,
    "file_id": _JOB,
    "filename": f"{_JOB}.wav",
    "filters": None,
    "findings": [],
    "first_name": "Ada",
    "format": "wav",
    "gender": "female",
    "id": _JOB,
    "ApiKeyView.id": _KEY,
    "NewApiKeyView.id": _KEY,
    "RevokedData.id": _KEY,
    "UserView.id": _USER,
    "AccountView.id": _USER,
    "WebhookOut.id": _WEBHOOK,
    "NewWebhook.id": _WEBHOOK,
    "WebhookDeleted.id": _WEBHOOK,
    "DeliveryOut.id": "del_01j8zk5c1m4s",
    "AuditView.id": "audit_01j8zk5e7r2k",
    "SimilarVoice.id": _SAMPLE,
    "input_formats": ["wav", "mp3", "flac", "ogg", "m4a", "webm"],
    "job_id": _JOB,
    "key": "vx_3Fq0example0example0example0example0exa",
    "kind": "synthesis",
    "language": "en-US",
    "JobOut.language_support": "native",
    "last_name": "Lovelace",
    "lease": None,
    "level": "native",
    "license": "CC-BY-4.0",
    "limit": 20,
    "message": None,
    "method": "ctc",
    "mime_type": "audio/wav",
    "model": "F5TTS_v1_Base",
    "ModelConfig.model": None,
    "LanguageSpec.model": "F5TTS_v1_Base",
    "name": "Ada",
    "SettingView.name": "jobs_per_day",
    "ModelSpec.name": "F5TTS_v1_Base",
    "nfe_steps": [7, 16, 32],
    "output_file_path": f"/api/v1/file/synthesis/{_JOB}",
    "output_format": "wav",
    "output_formats": ["wav", "mp3", "flac", "ogg", "opus"],
    "output_path": f"/api/v1/file/synthesis/{_JOB}",
    "output_sample_rate": 24000,
    "output_size": 249644,
    "own_rating": 5,
    "owner_id": _USER,
    "page": 1,
    "page_size": 20,
    "parameters": {},
    "parts": {"database": {"status": "ok", "ms": 0.4, "reason": None}},
    "peaks": [0.0, 0.42, 0.9, 0.31],
    "pitch": 1.0,
    "points": 4,
    "prefix": "vx_3Fq0ex",
    "preview_audio_url": f"/api/v1/files/audio/preview_{_PRESET}",
    "preview_text": "Hello, this is a preview of this voice.",
    "preview_url": f"/api/v1/voice/models/{_PRESET}/preview",
    "progress": 100.0,
    "quality_score": 0.88,
    "rating_count": 12,
    "queue_position": None,
    "reason": None,
    "ref_text": _TEXT,
    "reference_duration": 8.4,
    "refresh_token": _REFRESH,
    "relation": "self",
    "request_id": "req_01j8zk5f2v6t",
    "resets_at": "2026-02-01T00:00:00Z",
    "role": "user",
    "sample_audio_url": f"/api/v1/files/audio/reference_{_PRESET}",
    "sample_id": _SAMPLE,
    "sample_ids": [_SAMPLE],
    "sample_rate": 24000,
    "sample_rates": [8000, 16000, 22050, 24000, 44100, 48000],
    "sample_status": "processing",
    "samples": {"ready": 4},
    "clones": {"ready": 2},
    "StorageStatistics.samples": 700_000,
    "StorageStatistics.clones": 200_000,
    "StorageStatistics.speech": 148_576,
    "schema": {"type": "integer", "minimum": 0},
    "scopes": ["read", "write"],
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "seeds": [1, 2, 3],
    "service": "Voxify",
    "severity": "warning",
    "similarities": [0.91, 0.9, 0.92],
    "similarity": 0.93,
    "size": 249644,
    "speaker_similarity": 0.91,
    "speed": 1.0,
    "stability": 0.97,
    "sample_quality": 0.8,
    "statement": "I am the speaker and agree to a clone of my voice.",
    "status": "ready",
    "JobOut.status": "completed",
    "Synthesised.status": "completed",
    "DeliveryOut.status": "delivered",
    "ProcessingStarted.status": "pending",
    "MeasuringStarted.status": "pending",
    "Live.status": "alive",
    "training": None,
    "training_job_id": "job_01j8zk6t5r8v",
    "TrainingStarted.status": "pending",
    "TrainingOut.status": "completed",
    "steps": 400,
    "start": 0.0,
    "char_start": 0,
    "sentences": None,
    "processing_time_ms": 2300,
    "status_code": 204,
    "style": "neutral",
    "subject": _USER,
    "subject_id": _JOB,
    "success": True,
    "success_rate": 0.99,
    "tags": ["female", "calm"],
    "text": "Hello",
    "text_content": _TEXT,
    "text_hash": "e6a2b8d4c0f1937e5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b",
    "text_language": "en-US",
    "text_length": len(_TEXT),
    "token_type": "Bearer",
    "type": "preset",
    "unsupported_characters": None,
    "url": "https://example.com/voxify",
    "FileLink.url": f"/api/v1/files/audio/{_JOB}?sig=1769861400.c2lnbmF0dXJl",
    "user_id": _USER,
    "user_rating": 4.7,
    "value": 200,
    "version": "0.1.0",
    "voice_model_id": _PRESET,
    "volume": 1.0,
    "webhook_id": _WEBHOOK,
    "who": "Ada Lovelace",
    "word_count": 7,
}

# A bool is an int, so it comes first.
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)

_CODES = {
    HTTPStatus.BAD_REQUEST: ("VALIDATION_ERROR", "The request is not valid"),
    HTTPStatus.UNAUTHORIZED: ("UNAUTHORIZED", "Sign in to do this"),
    HTTPStatus.FORBIDDEN: ("FORBIDDEN", "Your account may not do this"),
    HTTPStatus.NOT_FOUND: ("NOT_FOUND", "There is no such thing"),
    HTTPStatus.CONFLICT: ("CONFLICT", "This cannot be done as things stand"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("PAYLOAD_TOO_LARGE", "Request Entity Too Large"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("UNSUPPORTED_MEDIA_TYPE", "The body must be application/json"),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ("RANGE_NOT_SATISFIABLE", "The file has 249644 bytes"),
    HTTPStatus.TOO_MANY_REQUESTS: ("RATE_LIMITED", "Too many requests; wait a little and try again"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("INTERNAL_ERROR", "Something went wrong on our side. Name the request when you report it."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("INFERENCE_UNAVAILABLE", "The speech service cannot be reached"),
}  # fmt: skip
_MISSING = ("job", "sample", "clone", "voice model", "file", "webhook", "user")
_CONFLICTS = {
    "jobs": ("INVALID_STATUS_TRANSITION", "A completed job cannot become cancelled"),
    "files": ("JOB_NOT_COMPLETED", "The job is processing; its file is there when it has completed"),
    "samples": ("SAMPLE_PROCESSING", "The sample is being processed already; watch its status"),
    "clones": ("CLONE_NOT_READY", "The clone is not ready; watch its status"),
    "library": ("CLONE_NOT_READY", "The clone is processing; it is a voice when it is ready"),
    "auth": ("EMAIL_EXISTS", "There is an account with this e-mail address"),
    "admin": ("OWN_ACCOUNT", "You cannot take your own role away or disable yourself; another admin can"),
    "webhooks": ("WEBHOOK_LIMIT_REACHED", "An account may have 20 webhooks; delete one first"),
}


def error_example(status: int, path: str, tag: str) -> dict[str, Any]:
    """The body of an error with this status: of an operation at `path`, in the room `tag`."""
    code, message = _CODES[HTTPStatus(status)]
    if status == HTTPStatus.NOT_FOUND:
        kind = next((kind for kind in _MISSING if f"{{{kind.replace(' ', '_')}_id}}" in path), "voice model" if tag == "jobs" else "sample")
        code, message = f"{kind.upper().replace(' ', '_')}_NOT_FOUND", f"There is no such {kind}"
    elif status == HTTPStatus.CONFLICT:
        code, message = _CONFLICTS.get("auth" if path.endswith("/admin/users") else tag, (code, message))
    elif status == HTTPStatus.FORBIDDEN and path.endswith("/auth/register"):
        code, message = "REGISTRATION_CLOSED", "Nobody can sign up here; ask whoever runs this platform for an account"
    return {"success": False, "error": {"code": code, "message": message, "timestamp": _TIME}, "timestamp": _TIME}


def example_of(schema: Document, schemas: Document, name: str = "") -> Any:
    """What a value of this schema may be. `schemas`: the document's components; `name`: of the field that holds it, as ``Schema.field``."""
    for known in (name, name.rpartition(".")[2]):
        if known in _FIELDS and _fits(_FIELDS[known], schema):
            return _FIELDS[known]
    if "$ref" in schema:
        component = str(schema["$ref"]).rpartition("/")[2]
        return _object(schemas[component], schemas, component)
    if some := schema.get("oneOf") or schema.get("anyOf"):
        return example_of(next(one for one in some if one.get("type") != "null"), schemas)
    return _plain(schema, schemas)


def _plain(schema: Document, schemas: Document) -> Any:
    if "enum" in schema:
        return next(value for value in schema["enum"] if value is not None)
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return [example_of(one, schemas) for one in schema["prefixItems"]]
        case "array":
            return [example_of(schema.get("items", {}), schemas)] * schema.get("minItems", 1)
        case "object":
            return _object(schema, schemas, "")
        case "string" if schema.get("format") == "date-time":
            return _TIME
        case kind:
            return {"boolean": True, "integer": 1, "number": 1.0, "string": "text"}.get(str(kind))


def _fits(value: Any, schema: Document) -> bool:
    """Whether it is of the type: fields of one name are of several kinds in different answers."""
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        return any(_fits(value, one) for one in alternatives)
    if "$ref" in schema or "$ref" in schema.get("items", {}):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type")
    if kinds is None:
        return True
    kind = next(kind for type_, kind in _KINDS if isinstance(value, type_))
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _object(schema: Document, schemas: Document, component: str) -> Any:
    made = {name: example_of(one, schemas, f"{component}.{name}") for name, one in schema.get("properties", {}).items()}
    if component.endswith("Envelope"):
        made["message"] = "OK"
        made = {name: value for name, value in made.items() if name != "meta" or isinstance(made["data"], list)}
    if component == "Meta":
        made = {name: value for name, value in made.items() if value is not None}
    return made
