"""The stores, and what decodes before anything is stored, as the settings say."""

from __future__ import annotations

from audio.decode_pool import Decoders
from settings import Settings
from store.objects import Bucket, Objects
from store.stores import Stores
from store.vectors import VectorServer


def bucket(settings: Settings) -> Bucket | None:
    """Where objects are kept, or None: in a folder."""
    if not settings.objects_url:
        return None
    return Bucket(
        url=settings.objects_url,
        endpoint=settings.objects_endpoint,
        public_endpoint=settings.objects_public_endpoint,
        region=settings.objects_region,
        access_key=settings.objects_access_key.get_secret_value(),
        secret_key=settings.objects_secret_key.get_secret_value(),
    )


def vector_server(settings: Settings) -> VectorServer | None:
    """Where the index of voices is, or None: in a folder."""
    return VectorServer(settings.vectors_url, settings.vectors_key.get_secret_value()) if settings.vectors_url else None


def open_objects(settings: Settings) -> Objects:
    """The objects alone."""
    there = bucket(settings)
    return Objects.in_folder(settings.objects_dir) if there is None else Objects.in_bucket(there)


def open_stores(settings: Settings) -> Stores:
    """All of them. Raises FolderInUseError while another process has the folder of the vectors."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Stores.open(
        database_url=settings.database,
        objects_dir=settings.objects_dir,
        vectors_dir=settings.vectors_dir,
        bucket=bucket(settings),
        vector_server=vector_server(settings),
        database_limit_s=settings.database_timeout_s,
    )


def open_decoders(settings: Settings) -> Decoders:
    """Child processes for what people send, started when they are first needed; to be closed."""
    return Decoders(memory_bytes=settings.decode_memory_mb * 1024**2, cpu_s=settings.decode_cpu_s, timeout_s=settings.decode_timeout_s)
