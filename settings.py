"""Everything an operator may set, read once where a process starts and handed down; no other module reads the environment."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of every tier. Each is the environment variable of its name with the prefix ``VOXIFY_``."""

    model_config = SettingsConfigDict(env_prefix="VOXIFY_", env_file=".env", extra="ignore", frozen=True)

    env: Literal["dev", "prod"] = Field("prod", description="`dev` makes a signing secret and keeps it in the data folder")
    data_dir: Path = Field(Path("data"), description="all state lies below it")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    # The API tier
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    database_url: str = Field("", description="SQLAlchemy address; empty: SQLite in the data folder")
    database_timeout_s: float = Field(10, gt=0, description="a statement, or a wait for a connection, that takes PostgreSQL longer fails")
    cors_origins: str = Field("", description="origins, with commas, such as `https://app.example.com`, whose pages may call; `*`: all")
    objects_url: str = Field(
        "", pattern=r"^(s3://[^/?#]+(/[^?#]*)?)?$", description="`s3://bucket/prefix`; empty: the folder `objects` in the data folder"
    )
    objects_endpoint: str = Field("", description="address of the S3-compatible service; empty: Amazon's own in the region")
    objects_public_endpoint: str = Field("", description="the same as clients reach it, for download addresses; empty: the endpoint")
    objects_region: str = "us-east-1"
    objects_access_key: SecretStr = Field(SecretStr(""), description="empty: what the machine offers, such as the role of an instance")
    objects_secret_key: SecretStr = SecretStr("")
    vectors_url: str = Field(
        "",
        pattern=r"^((qdrant\+)?https?://[^/?#\s@]+(/[A-Za-z0-9][A-Za-z0-9_-]{2,62})?/?)?$",
        description="the index of voices: `http://host:8000/collection` of Chroma or `qdrant+http://host:6333/collection` of Qdrant; "
        "empty: Chroma in the folder `vectors` in the data folder, for one process alone",
    )
    vectors_key: SecretStr = Field(SecretStr(""), description="sent to that server: Qdrant's API key, or Chroma's `X-Chroma-Token`")
    presigned_downloads: bool = Field(False, description="a download is sent on (307) to the bucket instead of passing through the API")
    shutdown_drain_s: float = Field(
        0, ge=0, description="how long after SIGTERM readiness says no while requests are still taken, so that a balancer looks elsewhere"
    )
    shutdown_grace_s: float = Field(20, gt=0, description="how long open requests and event streams may take at shutdown")

    # Signing in
    jwt_secret: SecretStr = Field(SecretStr(""), description="signs tokens; at least 32 characters, required outside `dev`")
    jwt_secret_previous: SecretStr = Field(
        SecretStr(""), description="others, with commas between, whose tokens and download addresses are good too while it is changed"
    )
    registration: Literal["open", "closed"] = Field("open", description="`closed`: nobody makes an account but admins and the command line")
    access_token_ttl_s: int = Field(3600, ge=60)
    refresh_token_ttl_s: int = Field(30 * 86400, ge=60)
    reset_token_ttl_s: int = Field(900, ge=60, description="how long a mailed token may set a new password")
    login_window_s: int = Field(900, ge=1, description="the sliding window in which failed logins and asked-for mails are counted")
    login_failures: int = Field(10, ge=1, description="wrong passwords for one account from one address in a window")
    login_failures_per_account: int = Field(100, ge=1, description="wrong passwords for one account, from everywhere")
    login_failures_per_address: int = Field(100, ge=1, description="wrong passwords from one address, for whatever account")
    reset_mails: int = Field(3, ge=1, description="mails with a reset token to one account in a window; beyond that none is sent")

    # Mail
    smtp_host: str = Field("", description="empty: mail is written to the folder `outbox` in the data folder")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_tls: Literal["starttls", "tls", "none"] = Field("starttls", description="`tls`: from the first byte, mostly on port 465")
    smtp_user: str = Field("", description="empty: without signing in")
    smtp_password: SecretStr = SecretStr("")
    smtp_timeout_s: float = Field(30, gt=0)
    mail_from: str = Field("Voxify <voxify@localhost>", description="the sender of all mail")
    password_reset_url: str = Field("", description="page of your web client with `{token}` in it; empty: the mail holds the token alone")

    # What may be uploaded and asked for
    max_upload_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    min_sample_s: float = Field(3, gt=0)
    max_sample_s: float = Field(60, gt=0)
    body_timeout_s: float = Field(600, gt=0, description="how long a client may take to send a request's body")
    decode_memory_mb: int = Field(512, ge=64, description="most that decoding one recording may take")
    decode_cpu_s: float = Field(20, ge=1, description="processor time for decoding one recording; raise it for much longer ones")
    decode_timeout_s: float = Field(60, ge=1, description="time for decoding one recording, waiting for a processor included")
    max_text_length: int = Field(10_000, ge=1)
    similarity_threshold: float = Field(0.8, ge=-1, le=1, description="cosine from which on two recordings are said to sound alike")
    require_consent: bool = Field(False, description="a clone is only made with a statement about the consent of its speaker")
    clone_wait_s: float = Field(60, ge=0, description="how long a direct synthesis waits for a voice that is being made")
    file_link_ttl_s: int = Field(900, ge=1, le=3600, description="how long a download address is good unless the request says")

    # Limits; an admin can change them while the platform runs, and set others for single users
    requests_per_minute: int = Field(100, ge=1, le=10**9, description="of one user")
    anonymous_requests_per_minute: int = Field(300, ge=1, le=10**9, description="without a good credential, of one address")
    samples_per_day: int = Field(50, ge=0, le=10**9, description="recordings that one user may upload, or have processed again")
    jobs_per_day: int = Field(100, ge=0, le=10**9, description="jobs and direct syntheses of one user")
    storage_bytes: int = Field(1024**3, ge=0, le=2**60, description="of one user: recordings, references of clones and speech")
    trusted_proxies: str = Field(
        "", description="addresses or networks, with commas between, of proxies whose X-Forwarded-For is believed; empty: nobody's"
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="such as `redis://host:6379/0`: requests are counted there, and processes tell one another what has changed; "
        "empty: counted in the database, and the others look there",
    )

    loudness_lufs: float | None = Field(
        None, ge=-40, le=-10, description="integrated loudness (EBU R 128) of all speech, such as -16; unset: as the voice has it"
    )

    # Jobs
    queue: Literal["embedded", "workers", "celery"] = Field(
        "embedded",
        description="who runs jobs: `embedded`: slots of the API process; `workers`: processes `voxify worker`, which look for them; "
        "`celery`: processes `voxify worker --celery`, woken through RabbitMQ",
    )
    broker_url: SecretStr = Field(SecretStr(""), description="RabbitMQ, such as `amqp://user:password@host:5672/vhost`; for `celery`")
    worker_slots: int = Field(2, ge=1, description="jobs of speech run at once in one process that runs jobs")
    user_concurrency: int = Field(
        0, ge=0, le=10**6, description="jobs of one user run at once in each lane, over all processes; 0: no bound"
    )
    speech_concurrency: int = Field(
        0, ge=0, le=10**6, description="jobs of speech run at once over all processes; 0: as many as there are slots"
    )
    drain_s: float = Field(60, gt=0, description="how long a worker that is told to stop lets its jobs go on; then they are put back")
    job_keep_days: float = Field(0, ge=0, le=36500, description="jobs that have ended are removed with their sound after this; 0: never")
    chunk_concurrency: int = Field(4, ge=1, description="chunks of one job sent to the inference service at once")
    job_max_attempts: int = Field(3, ge=1)
    lease_s: float = Field(30, gt=0, description="a worker that is silent for longer has lost its job")
    service_lease_s: float = Field(300, gt=0, description="a service of our own that is silent about its job for longer has lost it")
    speech_cache: bool = Field(True, description="a repeat with the same seed is copied from the earlier job of the same person")
    queue_poll_s: float = Field(2, gt=0, description="how often the queue is looked at when no bell rings")
    sweep_s: float = Field(10, gt=0, description="how often expired leases are looked for")
    orphan_sweep_s: float = Field(900, gt=0, description="how often orphaned objects and vectors are looked for")
    orphan_grace_s: float = Field(3600, gt=0, description="an object that no row names is removed after this")

    # Fine-tuning
    training_min_speech_s: float = Field(30, ge=5, description="speech that a fine-tune needs in all")
    max_trainings: int = Field(5, ge=1, description="trained voices that one user may keep")

    # Webhooks
    webhook_key: SecretStr = Field(SecretStr(""), description="makes the secrets of webhooks, 32 characters or more; empty: the JWT secret")
    webhook_key_previous: SecretStr = Field(
        SecretStr(""), description="others, with commas between, whose webhooks keep their secrets while it is changed"
    )
    webhook_allow_private: bool = Field(False, description="also http and addresses of your own network; only if you trust every user")
    webhook_timeout_s: float = Field(10, gt=0, description="for one attempt")
    webhook_max_attempts: int = Field(8, ge=1, description="then a delivery has failed")
    webhook_retry_s: float = Field(5, gt=0, description="the pause after the first attempt; each is four times as long, at most 6 h")
    webhook_slots: int = Field(2, ge=1, description="deliveries under way at once in one worker process")
    webhook_keep_s: float = Field(30 * 86400, gt=0, description="how long a delivery is listed after it has ended")
    max_webhooks: int = Field(20, ge=1, description="for one account")

    # The inference service
    inference_host: str = "127.0.0.1"
    inference_port: int = Field(3000, ge=0, le=65535)
    inference_url: str = Field(
        "",
        description="base address, or several with commas between; a name with several IP addresses stands for a replica each; "
        "empty: the inference host and port",
    )
    inference_connections: int = Field(64, ge=1, description="requests of one process to one replica at a time; more wait for a place")
    inference_timeout_s: float = Field(120, gt=0, description="for one chunk, waiting in the batch queue included")
    model: str = Field(
        "auto", description="a name in inference/models.toml, or a folder with a checkpoint; `auto`: the best for this machine"
    )
    model_dir: Path | None = Field(None, description="where checkpoints are kept; default: `models` in the data folder")
    commercial_only: bool = Field(False, description="refuse models whose licence forbids commercial use")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="the type that models compute in")
    model_memory_mb: int = Field(0, ge=0, description="most that the weights of all loaded models may take; 0: no bound")
    model_idle_s: float = Field(0, ge=0, description="a model that nobody asked for this long is unloaded; 0: never")
    max_batch_size: int = Field(0, ge=0, le=256, description="items that are computed together; 0: what suits the device")
    training_steps: int = Field(300, ge=1, description="of a fine-tune, unless the request says how many epochs")
    training_max_steps: int = Field(5000, ge=1, description="of a fine-tune, whatever the request says")
    training_idle_s: float = Field(120, gt=0, description="a fine-tune that nobody has asked for this long stops, to be gone on with")
    max_in_flight: int = Field(
        64, ge=1, description="requests for sound that may wait or run in one process, of jobs 3 in 4; more are refused"
    )
    max_batch_wait_ms: int = Field(
        240_000,
        ge=1,
        description="BentoML drops a request from its queue when it predicts a longer latency, as if all that waits were one batch; "
        "the service refuses long before that",
    )

    # Being watched
    metrics_host: str = Field("127.0.0.1", description="where `voxify worker` and `voxify beat` answer `/metrics`; the API has its own")
    metrics_port: int = Field(0, ge=0, le=65535, description="of the same; 0: they answer nowhere")
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/?#\s]+(/[^?#\s]*)?)?$",
        description="OTLP/HTTP receiver of traces, such as `http://collector:4318`; empty: none",
    )
    otlp_headers: SecretStr = Field(SecretStr(""), description="`name=value` with commas between, for a receiver that asks who sends")
    trace_ratio: float = Field(1.0, ge=0, le=1, description="share of the requests that are traced, unless their sender has decided")

    @model_validator(mode="after")
    def _check(self) -> Settings:
        self._check_secrets()
        if not all(_is_network(each.strip()) for each in self.trusted_proxies.split(",") if self.trusted_proxies):
            raise ValueError("VOXIFY_TRUSTED_PROXIES must hold addresses or networks, such as 10.0.0.7 or 10.1.0.0/16, with commas between")
        if any(origin != "*" and not re.fullmatch(r"https?://[^/\s,;]+", origin) for origin in self.allowed_origins):
            raise ValueError("VOXIFY_CORS_ORIGINS must hold origins, such as https://app.example.com, with commas between")
        if bool(self.objects_access_key.get_secret_value()) != bool(self.objects_secret_key.get_secret_value()):
            raise ValueError("VOXIFY_OBJECTS_ACCESS_KEY and VOXIFY_OBJECTS_SECRET_KEY go together")
        self._check_queue()
        if not _is_redis(self.redis_url.get_secret_value()):
            raise ValueError("VOXIFY_REDIS_URL must be redis://host:port/number, the same with rediss://, or unix:///path")
        if self.presigned_downloads and not self.objects_url:
            raise ValueError("VOXIFY_PRESIGNED_DOWNLOADS needs a bucket: VOXIFY_OBJECTS_URL")
        if not all(re.fullmatch(r"https?://[^/\s,?#]+(/[^\s,?#]*)?", address) for address in self.inference.split(",")):
            raise ValueError("VOXIFY_INFERENCE_URL must hold addresses, such as http://inference:3000, with commas between")
        if self.min_sample_s > self.max_sample_s:
            raise ValueError("VOXIFY_MIN_SAMPLE_S is longer than VOXIFY_MAX_SAMPLE_S")
        if self.smtp_user and self.smtp_tls == "none":
            raise ValueError("VOXIFY_SMTP_TLS=none would send VOXIFY_SMTP_PASSWORD in the clear")
        if self.password_reset_url and "{token}" not in self.password_reset_url:
            raise ValueError("VOXIFY_PASSWORD_RESET_URL must hold {token}")
        return self

    def _check_secrets(self) -> None:
        secret = self.jwt_secret.get_secret_value()
        if secret and len(secret) < 32:
            raise ValueError("VOXIFY_JWT_SECRET must have at least 32 characters")
        if 0 < len(self.webhook_key.get_secret_value()) < 32:
            raise ValueError("VOXIFY_WEBHOOK_KEY must have at least 32 characters")
        for name, previous in (("JWT_SECRET", self.previous_jwt_secrets), ("WEBHOOK_KEY", self.previous_webhook_keys)):
            if any(len(each) < 32 for each in previous):
                raise ValueError(f"VOXIFY_{name}_PREVIOUS must hold texts of at least 32 characters, with commas between")

    def _check_queue(self) -> None:
        if self.queue != "embedded" and not self.vectors_url:
            raise ValueError(f"VOXIFY_QUEUE={self.queue} needs VOXIFY_VECTORS_URL: the index in the data folder is for one process alone")
        if self.queue != "celery":
            return
        if not self.broker_url.get_secret_value().startswith(("amqp://", "amqps://")):
            raise ValueError("VOXIFY_QUEUE=celery needs VOXIFY_BROKER_URL, such as amqp://user:password@host:5672/vhost")
        if self.database.startswith("sqlite"):
            raise ValueError("VOXIFY_QUEUE=celery needs PostgreSQL (VOXIFY_DATABASE_URL): SQLite is for one host; there, use `workers`")

    @property
    def database(self) -> str:
        """SQLAlchemy address of the database."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.absolute() / 'voxify.db'}"

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of `cors_origins`."""
        return frozenset(origin for each in self.cors_origins.split(",") if (origin := each.strip()))

    @property
    def previous_jwt_secrets(self) -> tuple[str, ...]:
        """The secrets of `jwt_secret_previous`."""
        return _parts(self.jwt_secret_previous)

    @property
    def previous_webhook_keys(self) -> tuple[str, ...]:
        """The keys of `webhook_key_previous`."""
        return _parts(self.webhook_key_previous)

    @property
    def objects_dir(self) -> Path:
        return self.data_dir / "objects"

    @property
    def vectors_dir(self) -> Path:
        return self.data_dir / "vectors"

    @property
    def outbox_dir(self) -> Path:
        return self.data_dir / "outbox"

    @property
    def models_dir(self) -> Path:
        return self.model_dir or self.data_dir / "models"

    @property
    def inference(self) -> str:
        """Base address of the inference service; several with commas between where it has them."""
        host = f"[{self.inference_host}]" if ":" in self.inference_host else self.inference_host
        told = self.inference_url.strip() or f"http://{host}:{self.inference_port}"
        return ",".join(address.strip().rstrip("/") for address in told.split(","))


def _parts(secrets: SecretStr) -> tuple[str, ...]:
    return tuple(part for each in secrets.get_secret_value().split(",") if (part := each.strip()))


def _is_network(text: str) -> bool:
    """Whether it is an address or a network. `*` is neither: whoever believes everybody lets everybody say who they are."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_redis(url: str) -> bool:
    """Whether it is empty or an address that Redis may have."""
    try:
        parts = urlsplit(url)
        number = parts.path.removeprefix("/")
        known = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0 and (not number or number.isdecimal())
    except ValueError:  # of the port
        return False
    return not url or known or (parts.scheme == "unix" and parts.path.startswith("/"))
