"""Processes without an HTTP API: workers, which do jobs, and the beat."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager

import structlog

import tracing
from api.admin.live import LiveSettings
from api.auth.operators import OperatorError
from api.channels import channels_of
from api.commands import NOT_CURRENT
from api.jobs.events import notifier
from api.stores import open_decoders, open_stores
from api.workshop import Workshop
from settings import Settings
from store import migrations
from store.database import Database
from worker.beat import Beat, Ring
from worker.metrics import WorkMetrics, new_registry, serve
from worker.queue_gauges import QueueGauges
from worker.run import settle
from worker.worker import Worker

PATROL = 10
"""A Celery worker looks for jobs without being woken so many times as rarely as one that always does."""

log = structlog.get_logger(__name__)


async def polling_worker(settings: Settings, lanes: Mapping[str, int]) -> None:
    """The slots of the embedded worker, in this process, until a signal."""
    told = _told_to_stop()
    async with workshop(settings, "voxify-worker") as shop:
        worker = Worker(
            shop.runner,
            shop.sweeper,
            lanes=lanes,
            poll_s=settings.queue_poll_s,
            sweep_s=settings.sweep_s,
            orphan_sweep_s=settings.orphan_sweep_s,
            claims=shop.claims,
        )
        worker.start()
        await told.wait()
        await worker.stop(settings.drain_s)


async def beat_alone(settings: Settings) -> None:
    """The beat, until a signal."""
    told = _told_to_stop()
    async with workshop(settings, "voxify-beat", gauges=True) as shop, _bell(settings) as ring:
        beat = _beat(settings, shop, ring)
        beat.start()
        log.info("beat started")
        await told.wait()
        await beat.stop()
    log.info("beat stopped")


def celery_worker(settings: Settings, lanes: Mapping[str, int], *, beat: bool) -> int:
    """A Celery worker in the main thread, whose jobs run in an event loop beside it; the exit status."""
    from worker.celery_worker import LaneSlots, work

    began: Future[tuple[asyncio.AbstractEventLoop, LaneSlots, asyncio.Event]] = Future()

    async def live() -> None:
        async with workshop(settings, "voxify-worker") as shop, _bell(settings) as ring:
            over, beating = asyncio.Event(), _beat(settings, shop, ring)
            if beat:
                beating.start()
            slots = LaneSlots(shop.claims, ring, lanes)
            patrol = asyncio.create_task(slots.patrol(PATROL * settings.queue_poll_s))
            began.set_result((asyncio.get_running_loop(), slots, over))
            await over.wait()
            await settle(patrol)
            await beating.stop()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as failed:
            if began.done():
                raise
            began.set_exception(failed)

    thread = threading.Thread(target=run, name="jobs")
    thread.start()
    loop, slots, over = began.result()
    try:
        return work(settings.broker_url.get_secret_value(), slots, lanes, loop, drain_s=settings.drain_s)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


@asynccontextmanager
async def workshop(settings: Settings, name: str, *, gauges: bool = False) -> AsyncIterator[Workshop]:
    """What jobs are done with, in a process of its own. `gauges`: its metrics tell of the whole queue too.

    Raises:
        OperatorError: the database is not at the newest revision, or the port of the metrics is taken.
        FolderInUseError: another process has the index of voices.
        SecretMissingError: there is no secret to make those of webhooks with.
    """
    tracing.start(settings.otlp_endpoint, name, headers=settings.otlp_headers.get_secret_value(), ratio=settings.trace_ratio)
    stores, decoders, channels, registry = open_stores(settings), open_decoders(settings), channels_of(settings), new_registry()
    try:
        await _require_current(settings, stores.database)
        async with channels:
            shop = Workshop.build(settings, stores, decoders, notify=notifier(channels), metrics=WorkMetrics(registry))
            live = LiveSettings(stores.database, settings, shop.apply)
            await live.start()
            looking: list[asyncio.Task[None]] = []
            if settings.metrics_port:
                try:
                    serve(registry, settings.metrics_host, settings.metrics_port)
                except OSError as taken:
                    raise OperatorError(f"The port {settings.metrics_port} of the metrics cannot be had: {taken.strerror}") from taken
                if gauges:
                    looking.append(asyncio.create_task(QueueGauges(registry).keep_fresh(stores.database)))
            try:
                yield shop
            finally:
                await settle(*looking)
                await live.close()
                await shop.close()
    finally:
        decoders.close()
        await stores.close()
        await asyncio.to_thread(tracing.stop)


def _beat(settings: Settings, shop: Workshop, ring: Ring) -> Beat:
    return Beat(shop.sweeper, ring, sweep_s=settings.sweep_s, orphan_sweep_s=settings.orphan_sweep_s, look_s=settings.queue_poll_s)


@asynccontextmanager
async def _bell(settings: Settings) -> AsyncIterator[Ring]:
    """How workers on other machines are woken; nobody is where they look for themselves."""
    if settings.queue != "celery":
        yield lambda *_: None
        return
    from worker.celery_bell import CeleryBell

    bell = CeleryBell(settings.broker_url.get_secret_value())
    bell.start()
    try:
        yield bell.ring
    finally:
        await asyncio.to_thread(bell.close)


async def _require_current(settings: Settings, database: Database) -> None:
    """As the API does: bring a database of one's own up to date, and leave that of others to `voxify db upgrade`."""
    if settings.env == "dev" or database.is_sqlite:
        await migrations.upgrade(database.unhurried)
    elif not await migrations.is_current(database.engine):
        raise OperatorError(NOT_CURRENT)


def _told_to_stop() -> asyncio.Event:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told
