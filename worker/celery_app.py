"""Celery on RabbitMQ as a doorbell: a message names a lane and says "look there". All that is to be done lies in the rows of jobs.

So a message may be lost, doubled, late or out of order: who looks for nothing finds nothing, and the beat rings again for what is due.
Each lane has a quorum queue of its own, and a worker takes no more messages of a lane than it has slots free in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from celery import Celery
from celery.worker.consumer.consumer import Consumer
from kombu.entity import Exchange, Queue

from worker.lanes import LANES

TASK = "voxify.look"
EXCHANGE = "voxify"
BELL_TTL_S = 60
"""A message that nobody had a slot for in this time is dropped; the beat rings again."""
MAX_BELLS = 1000
"""So many messages wait in a lane at most, the oldest are dropped: more than there are slots wake nobody."""
TIMEOUT_S = 2.0
"""For connecting to the broker, and for its confirmation of a message."""


class LaneQueue(Queue):
    """The queue of one lane. A consumer holds at most `slots` of its messages, whatever it holds of other lanes."""

    attrs = (*Queue.attrs, ("slots", int))  # type: ignore[assignment]
    slots: int = 1

    def consume(self, *args: Any, **kwargs: Any) -> Any:
        # Holds for the consumers that are begun after it, on this channel: for this one.
        self.channel.basic_qos(0, self.slots, False)
        return super().consume(*args, **kwargs)


class LaneConsumer(Consumer):
    """Celery's own, without the two dozen queues for delayed tasks that it declares beside quorum queues: nothing here is delayed."""

    class Blueprint(Consumer.Blueprint):
        default_steps: ClassVar = [step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")]


def queue_of(lane: str) -> str:
    """The name of the lane's queue."""
    return f"{EXCHANGE}.{lane}"


def celery_app(broker_url: str, slots: Mapping[str, int] | None = None) -> Celery:
    """What sends messages, or, with `slots` for each of its lanes, what takes them."""
    exchange = Exchange(EXCHANGE, type="direct", durable=True)
    arguments = {"x-queue-type": "quorum", "x-max-length": MAX_BELLS, "x-overflow": "drop-head"}
    app = Celery("voxify", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=broker_url,
        broker_connection_timeout=TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Without it a message that the broker never got would be taken for sent.
        broker_transport_options={"confirm_publish": True},
        task_queues=[
            LaneQueue(queue_of(lane), exchange, routing_key=lane, durable=True, queue_arguments=arguments, slots=(slots or {}).get(lane, 1))
            for lane in (slots or LANES)
        ],
        task_default_queue_type="quorum",
        task_create_missing_queues=False,
        task_default_exchange=EXCHANGE,
        task_default_queue=queue_of(next(iter(slots or LANES))),
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A message is held while its slot is busy, so that RabbitMQ gives the next one to a worker that has a slot free.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_consumer=f"{__name__}:{LaneConsumer.__name__}",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
    )
    # A line for each message says nothing that the lines of the jobs do not.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return app
