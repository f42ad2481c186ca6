"""The doorbell of several machines: rings through RabbitMQ. It neither waits nor fails, whatever the broker does."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

import structlog
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from worker.celery_app import BELL_TTL_S, TASK, TIMEOUT_S, celery_app, queue_of
from worker.lanes import LANES

MAX_PAUSE_S = 5.0
CLOSE_S = 3.0

log = structlog.get_logger(__name__)


class CeleryBell:
    """A thread that sends messages. However often a lane is rung for while one is under way, it sends one more.

    One is enough: whoever claims a job rings again, and goes on until there is none. While the broker is away the lanes are remembered,
    and rung for when it is back.
    """

    def __init__(self, broker_url: str) -> None:
        self._app = celery_app(broker_url)
        self._producer: Producer | None = None  # of the thread alone
        self._changed = threading.Condition()
        self._lanes: dict[str, None] = {}  # in the order of their first ring
        self._closing = False
        self._away = False
        self._thread = threading.Thread(target=self._send_all, name="bell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self, kinds: Collection[str] | None = None) -> None:
        """Say that a job may be due, of any kind or of the lane of these `kinds`. May be called from any thread."""
        with self._changed:
            self._lanes.update(dict.fromkeys(lane for lane, of_it in LANES.items() if kinds is None or kinds == of_it))
            self._changed.notify()

    def close(self) -> None:
        """Send what is to be sent, for `CLOSE_S` seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    @property
    def away(self) -> bool:
        """Whether the broker took nothing when it was last rung at."""
        return self._away

    def _send_all(self) -> None:
        pause_s = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lanes or self._closing)
                if self._closing and (self._away or not self._lanes):
                    break
                if pause_s:
                    self._changed.wait_for(lambda: self._closing, pause_s)
                lanes, self._lanes = self._lanes, {}
            left = self._send(list(lanes))
            pause_s = min(MAX_PAUSE_S, 2 * pause_s or 0.25) if left else 0.0
            with self._changed:
                self._lanes = dict.fromkeys(left) | self._lanes
        self._hang_up()

    def _send(self, lanes: list[str]) -> list[str]:
        """Those of the lanes that could not be rung for."""
        began = time.monotonic()
        for number, lane in enumerate(lanes):
            try:
                self._producer = self._producer or self._app.amqp.Producer(self._app.connection_for_write())
                self._app.send_task(
                    TASK,
                    [lane],
                    producer=self._producer,
                    queue=queue_of(lane),
                    routing_key=lane,
                    expiration=BELL_TTL_S,
                    retry=False,
                    ignore_result=True,
                    timeout=TIMEOUT_S,
                    confirm_timeout=TIMEOUT_S,
                )
            except Exception as failed:  # noqa: BLE001 - see below
                # The last place that can say it. Connections are lost in more ways than there are classes for.
                self._note_away(failed, time.monotonic() - began)
                return lanes[number:]
        if self._away:
            self._away = False
            log.info("broker back")
        return []

    def _note_away(self, failed: Exception, took_s: float) -> None:
        self._hang_up()
        if not self._away:
            self._away = True
            # Its message may hold the address, and with it the password.
            known = isinstance(failed, KombuError | OSError)
            log.warning("broker away", reason=type(failed).__name__, known=known, took_s=round(took_s, 2), effect="jobs begin later")

    def _hang_up(self) -> None:
        if self._producer is not None:
            # Not closed in the polite way, which waits for an answer of whoever may have gone.
            self._producer.connection.collect(TIMEOUT_S)
            self._producer = None
