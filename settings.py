"""Everything an operator may set, read once where a process starts and handed down; no other module reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
    shutdown_grace_s: float = Field(20, gt=0, description="how long open requests and event streams may take at shutdown")

    # Signing in
    jwt_secret: SecretStr = Field(SecretStr(""), description="signs tokens; at least 32 characters, required outside `dev`")
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
    max_text_length: int = Field(10_000, ge=1)
    similarity_threshold: float = Field(0.8, ge=-1, le=1, description="cosine from which on two recordings are said to sound alike")
    file_link_ttl_s: int = Field(900, ge=1, le=3600, description="how long a download address is good unless the request says")

    # Jobs
    queue: Literal["embedded"] = Field("embedded", description="`embedded`: jobs run in slots of the API process")
    worker_slots: int = Field(2, ge=1, description="jobs run at once in one worker process")
    chunk_concurrency: int = Field(4, ge=1, description="chunks of one job sent to the inference service at once")
    job_max_attempts: int = Field(3, ge=1)
    lease_s: float = Field(30, gt=0, description="a worker that is silent for longer has lost its job")
    queue_poll_s: float = Field(2, gt=0, description="how often the queue is looked at when no bell rings")
    sweep_s: float = Field(10, gt=0, description="how often expired leases are looked for")
    orphan_sweep_s: float = Field(900, gt=0, description="how often orphaned objects and vectors are looked for")
    orphan_grace_s: float = Field(3600, gt=0, description="an object that no row names is removed after this")

    # The inference service
    inference_host: str = "127.0.0.1"
    inference_port: int = Field(3000, ge=0, le=65535)
    inference_url: str = Field("", description="empty: the inference host and port")
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
    max_batch_size: int = Field(16, ge=1, le=256)
    max_in_flight: int = Field(64, ge=1, description="requests for sound that may wait or run in one process; more are refused at once")
    max_batch_wait_ms: int = Field(60_000, ge=1, description="BentoML refuses a request whose predicted latency is longer")

    @model_validator(mode="after")
    def _check(self) -> Settings:
        secret = self.jwt_secret.get_secret_value()
        if secret and len(secret) < 32:
            raise ValueError("VOXIFY_JWT_SECRET must have at least 32 characters")
        if self.min_sample_s > self.max_sample_s:
            raise ValueError("VOXIFY_MIN_SAMPLE_S is longer than VOXIFY_MAX_SAMPLE_S")
        if self.smtp_user and self.smtp_tls == "none":
            raise ValueError("VOXIFY_SMTP_TLS=none would send VOXIFY_SMTP_PASSWORD in the clear")
        if self.password_reset_url and "{token}" not in self.password_reset_url:
            raise ValueError("VOXIFY_PASSWORD_RESET_URL must hold {token}")
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy address of the database."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.absolute() / 'voxify.db'}"

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
        """Base address of the inference service."""
        return (self.inference_url or f"http://{self.inference_host}:{self.inference_port}").rstrip("/")
