"""The stores, as the settings say."""

from __future__ import annotations

from settings import Settings
from store.objects import Bucket, Objects
from store.stores import Stores


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


def open_objects(settings: Settings) -> Objects:
    """The objects alone."""
    there = bucket(settings)
    return Objects.in_folder(settings.objects_dir) if there is None else Objects.in_bucket(there)


def open_stores(settings: Settings) -> Stores:
    """All of them. Raises FolderInUseError while another process has the vectors."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Stores.open(
        database_url=settings.database,
        objects_dir=settings.objects_dir,
        vectors_dir=settings.vectors_dir,
        bucket=bucket(settings),
    )
