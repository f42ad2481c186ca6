"""The checks of this machine and of what is kept. None of them changes anything that is there, or makes what is not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text

from api.auth.tokens import SecretMissingError, signing_secret
from api.doctor.findings import Check, DoubtError, NothingToCheckError, TroubleError
from api.stores import open_objects
from settings import Settings
from store import migrations
from store.clock import utcnow
from store.database import Database
from store.ids import new_id
from store.repositories.depth import DepthRepository

LITTLE_SPACE = 0.2
TOO_LITTLE_SPACE = 0.02
SKEW_S, LARGE_SKEW_S = 1.0, 5.0
OLD_S = 600.0


def machine_checks(settings: Settings) -> list[Check]:
    """In the order in which things are mended."""
    about = _Database(settings)
    return [
        Check("settings", lambda: check_settings(settings), "Correct the settings"),
        Check("data folder", lambda: check_folder(settings), "Let the account that Voxify runs as write to VOXIFY_DATA_DIR"),
        Check("disk space", lambda: check_space(settings), "Free some space"),
        Check("database", about.reach, "Check VOXIFY_DATABASE_URL, that the server runs, and that its firewall lets this machine in"),
        Check("migrations", about.revision, "Run `voxify db upgrade`"),
        Check("clock", about.clock, "Have the clocks of both machines kept by NTP"),
        Check("queue", about.queue, "Look at the log of the workers"),
        Check("objects", lambda: check_objects(settings), "Check VOXIFY_OBJECTS_URL and _ENDPOINT, the keys and what they may do"),
    ]


async def check_settings(settings: Settings) -> str:
    """Settings that are sound each, and not together or not for what they are used for."""
    if settings.env != "dev":
        try:
            signing_secret(settings)
        except SecretMissingError as missing:
            raise TroubleError(str(missing), "Set VOXIFY_JWT_SECRET to 32 or more random characters, the same for all processes") from None
        if not settings.smtp_host:
            raise DoubtError("mail is written to a folder and sent to nobody", "Set VOXIFY_SMTP_HOST, or nobody can reset a password")
    elif not _is_local(settings.api_host):
        raise DoubtError(
            "VOXIFY_ENV=dev, and others can reach the API", "Set VOXIFY_ENV=prod and VOXIFY_JWT_SECRET before others use this Voxify"
        )
    return f"sound, for {'trying out' if settings.env == 'dev' else 'production'}"


async def check_folder(settings: Settings) -> str:
    folder = settings.data_dir.absolute()
    there = _existing(folder)
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        raise TroubleError(f"{there} cannot be written to", "Let the account that Voxify runs as write to it, or set VOXIFY_DATA_DIR")
    return f"{folder} can be written to" if there == folder else f"{folder} will be made at the first start"


async def check_space(settings: Settings) -> str:
    there = _existing(settings.data_dir.absolute())
    usage = shutil.disk_usage(there)
    share = usage.free / usage.total
    found = f"{usage.free / 1024**3:.1f} GB free below {there} ({share:.0%})"
    advice = "Free some space or move VOXIFY_DATA_DIR; jobs fail once it is full"
    if share < TOO_LITTLE_SPACE:
        raise TroubleError(found, advice)
    if share < LITTLE_SPACE:
        raise DoubtError(found, advice)
    return found


class _Database:
    """What is asked of the database; the others have nothing to ask where it cannot be reached."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reached = False

    async def reach(self) -> str:
        async with self._open() as database, database.read() as session:
            if database.is_sqlite:
                version = await session.scalar(text("SELECT sqlite_version()"))
                found = f"SQLite {version} in {database.url.database}"
            else:
                version = await session.scalar(text("SHOW server_version"))
                found = f"PostgreSQL {version} at {database.url.host or 'a socket'}"
        self._reached = True
        return found

    async def revision(self) -> str:
        self._require()
        async with self._open() as database:
            if await migrations.is_current(database.engine):
                return f"at the newest revision ({migrations.head()})"
            if self._settings.env == "dev" or database.is_sqlite:
                raise DoubtError("not at the newest revision", "Start the API, which brings it there, or run `voxify db upgrade`")
            raise TroubleError("not at the newest revision", "Run `voxify db upgrade` before the API starts")

    async def clock(self) -> str:
        self._require()
        async with self._open() as database, database.read() as session:
            if database.is_sqlite:
                return "the database is on this machine"
            await session.execute(text("SELECT 1"))  # the connection is not in the measure
            asked = time.time()
            theirs = float(await session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
        return judge_skew("the database", theirs, asked, time.time())

    async def queue(self) -> str:
        self._require()
        now = utcnow()
        async with self._open() as database:
            if not await migrations.is_current(database.engine):
                raise NothingToCheckError("the database is not at the newest revision")
            async with database.read() as session:
                depths = (await DepthRepository(session).by_kind(now)).values()
        due, running = sum(depth.due for depth in depths), sum(depth.processing for depth in depths)
        oldest = max(((now - depth.oldest_due_at).total_seconds() for depth in depths if depth.oldest_due_at), default=0.0)
        found = f"{due} jobs are due, the oldest for {oldest:.0f} s; {running} are worked on"
        if oldest > OLD_S and not running:
            raise TroubleError(found, "Start workers: the API with VOXIFY_QUEUE=embedded, or `voxify worker`; look at their log")
        if oldest > OLD_S:
            raise DoubtError(found, "Give it more slots (VOXIFY_WORKER_SLOTS), more workers or more replicas of the inference service")
        return found

    def _require(self) -> None:
        if not self._reached:
            raise NothingToCheckError("the database has to be reached first")

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Database]:
        database = Database(self._settings.database)
        try:
            if not _is_there(database):
                # To connect would make it.
                raise NothingToCheckError("there is none yet; it is made at the first start")
            yield database
        finally:
            await database.close()


async def check_objects(settings: Settings) -> str:
    """Write, read and delete a small object, as the API does."""
    if not settings.objects_url and not settings.objects_dir.exists():
        raise NothingToCheckError("there is no folder yet; it is made at the first start")
    objects = open_objects(settings)
    key = f"doctor/{new_id('probe')}"
    await objects.put(key, b"probe")
    try:
        read = await objects.get(key)
    finally:
        await objects.delete(key)
    if read != b"probe":
        raise TroubleError("an object that was written is read differently", "Have the store of objects looked at; do not use it")
    return f"written, read and deleted in {settings.objects_url or settings.objects_dir.absolute()}"


def judge_skew(whose: str, theirs: float, asked: float, answered: float) -> str:
    """Compare a clock, in seconds since 1970, that was asked between two times of ours.

    Raises:
        TroubleError: limits and tokens go wrong.
        DoubtError: they are off by more than a second.
    """
    skew = 0.0 if asked <= theirs <= answered else min(abs(theirs - asked), abs(theirs - answered))
    found = f"this clock and that of {whose} differ by {skew:.1f} s"
    advice = "Have the clocks of both machines kept by NTP: limits and tokens compare times"
    if skew > LARGE_SKEW_S:
        raise TroubleError(found, advice)
    if skew > SKEW_S:
        raise DoubtError(found, advice)
    return found


def _is_there(database: Database) -> bool:
    return not database.is_sqlite or not database.url.database or Path(database.url.database).exists()


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _is_local(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
