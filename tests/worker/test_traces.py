"""The spans of a job, as the worker that does it makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import tracing
from store.models import Job
from store.stores import Stores
from tests.collector import Collector, collecting
from tests.worker.conftest import MakeJob
from tests.worker.test_run import Scripted, claim, raising, runner
from worker.errors import JobFailedError
from worker.handlers.base import Outcome

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = ABOVE.split("-")[1:3]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        tracing.start(started.endpoint, "voxify-test")
        yield started
        tracing.stop()


async def test_an_attempt_goes_on_with_the_trace_of_its_row(stores: Stores, make_job: MakeJob, collector: Collector) -> None:
    made: list[Job] = []

    async def work(job: Job, _report: object) -> Outcome:
        made.append(await make_job("webhook_delivery"))
        return Outcome({"duration": 2.5})

    job = await make_job(traceparent=ABOVE)
    running = runner(stores, Scripted(work))
    await running.run(await claim(running))
    await asyncio.to_thread(tracing.stop)
    spans = {span.name: span for span in collector.of(TRACE)}
    assert {name: span.parent_id for name, span in spans.items()} == {"claim": SPAN, "job": SPAN}
    about = {"voxify.job_id": job.id, "voxify.kind": "synthesis", "voxify.attempt": 1}
    assert spans["job"].attributes == about | {"voxify.end": "completed"}
    assert not spans["job"].failed
    assert spans["claim"].began <= spans["claim"].ended
    assert made[0].traceparent == f"00-{TRACE}-{spans['job'].span_id}-01", "what a job sets off belongs to its trace"


async def test_a_job_of_before_tracing_begins_a_trace(stores: Stores, make_job: MakeJob, collector: Collector) -> None:
    await make_job(traceparent=None)
    running = runner(stores, Scripted(lambda _job, _report: asyncio.sleep(0, Outcome())))
    await running.run(await claim(running))
    await asyncio.to_thread(tracing.stop)
    spans = {span.name: span for span in collector.spans}
    assert (spans["job"].parent_id, spans["claim"].parent_id) == ("", spans["job"].span_id)


async def test_a_job_that_failed_is_seen_to_have_failed_and_not_why(stores: Stores, make_job: MakeJob, collector: Collector) -> None:
    await make_job(traceparent=ABOVE)
    failing = Scripted(lambda _job, _report: raising(JobFailedError("EMPTY_TEXT", "The heron has no words")))
    running = runner(stores, failing)
    await running.run(await claim(running))
    await asyncio.to_thread(tracing.stop)
    (job,) = [span for span in collector.of(TRACE) if span.name == "job"]
    assert (job.failed, job.attributes["voxify.end"]) == (True, "failed")
    assert "heron" not in job.whole
