"""Traces, as one process makes them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import tracing
from store.models import Job
from tests.collector import Collector, collecting
from tests.servers import ROOT, free_port

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = ABOVE.split("-")[1]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        tracing.start(started.endpoint, "voxify-test", headers="authorization=Bearer abc, x-tenant=7")
        yield started
        tracing.stop()


def test_without_an_address_nothing_is_traced_and_nothing_of_it_imported() -> None:
    program = """
import sys, tracing
tracing.start("", "voxify-test")
with tracing.span("a") as span:
    span.set({"b": 1})
    assert tracing.traceparent() is None
    assert tracing.sent([(b"traceparent", b"x")]) is None
    assert tracing.name_trace(None, "", {}) == {}
tracing.record("c", 1)
tracing.stop()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_spans_nest_and_say_who_sent_them(collector: Collector) -> None:
    with tracing.span("outer", {"voxify.kind": "synthesis"}, parent=ABOVE, kind="SERVER") as outer:
        within = tracing.traceparent()
        assert tracing.name_trace(None, "", {}) == {"trace_id": TRACE}
        with tracing.span("inner"):
            assert tracing.traceparent() != within
        assert tracing.traceparent() == within
        outer.rename("renamed")
        outer.set({"voxify.chunks": 3})
    assert tracing.traceparent() is None
    tracing.stop()
    inner, renamed = collector.spans
    assert (renamed.name, renamed.service, renamed.trace_id, renamed.parent_id) == ("renamed", "voxify-test", TRACE, ABOVE.split("-")[2])
    assert renamed.attributes == {"voxify.kind": "synthesis", "voxify.chunks": 3}
    assert (inner.trace_id, inner.parent_id, inner.failed) == (TRACE, renamed.span_id, False)
    assert within == f"00-{TRACE}-{renamed.span_id}-01"
    assert {"Authorization": "Bearer abc", "X-Tenant": "7"}.items() <= {
        name.title(): value for name, value in collector.headers.items()
    }.items()


@pytest.mark.parametrize(
    "parent",
    [None, "", "nonsense", ABOVE + "-more", ABOVE.replace("00-", "ff-", 1), f"00-{'0' * 32}-b7ad6b7169203331-01", ABOVE.upper(), "é" * 55],
)
def test_a_parent_that_is_not_sound_begins_a_trace_of_its_own(collector: Collector, parent: str | None) -> None:
    with tracing.span("alone", parent=parent):
        pass
    tracing.stop()
    assert collector.spans[0].parent_id == ""
    assert collector.spans[0].trace_id != TRACE


def test_the_message_of_an_exception_stays_out(collector: Collector) -> None:
    with pytest.raises(ValueError, match="heron"), tracing.span("broke"):
        raise ValueError("The heron keeps the amber key")
    tracing.stop()
    (broke,) = collector.spans
    assert broke.failed
    assert "ValueError" in broke.whole
    assert "heron" not in broke.whole


async def test_a_span_that_was_cancelled_has_not_failed(collector: Collector) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with tracing.span("cancelled"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(tracing.stop)
    (span,) = collector.spans
    assert (span.failed, span.attributes) == (False, {"voxify.cancelled": True})


def test_what_is_over_is_recorded_with_its_times_and_links(collector: Collector) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    tracing.record("claim", began, began + timedelta(seconds=2), {"voxify.attempt": 1}, parent=ABOVE, links=[ABOVE, None, "nonsense"])
    tracing.stop()
    (claim,) = collector.spans
    assert (claim.trace_id, claim.links, claim.ended - claim.began) == (TRACE, (TRACE,), 2 * 10**9)


def test_a_caller_who_does_not_want_a_trace_gets_none(collector: Collector) -> None:
    with tracing.span("unwanted", parent=ABOVE.removesuffix("1") + "0"):
        assert (tracing.traceparent() or "").endswith("-00")
        with tracing.span("also unwanted"):
            pass
    tracing.stop()
    assert collector.spans == []


def test_a_job_keeps_the_span_that_it_was_made_in(collector: Collector) -> None:
    with tracing.span("request", parent=ABOVE):
        assert Job(id="job_1").traceparent == tracing.traceparent()
        assert Job(id="job_1", traceparent=ABOVE).traceparent == ABOVE
    assert Job(id="job_2").traceparent is None


def test_a_share_of_the_traces_can_be_kept() -> None:
    with collecting() as collector:
        tracing.start(collector.endpoint, "voxify-test", ratio=0.0)
        with tracing.span("left out"):
            pass
        with tracing.span("asked for", parent=ABOVE):
            pass
        tracing.stop()
        assert [span.name for span in collector.spans] == ["asked for"]


def test_a_collector_that_is_away_or_ill_holds_nobody_up() -> None:
    with collecting() as ill:
        ill.status = 503
        for endpoint in (f"http://127.0.0.1:{free_port()}", ill.endpoint):
            tracing.start(endpoint, "voxify-test")
            began = time.monotonic()
            for _ in range(100):
                with tracing.span("lost"):
                    pass
            assert time.monotonic() - began < tracing.EXPORT_TIMEOUT_S
            tracing.stop()
            assert time.monotonic() - began < 3 * tracing.EXPORT_TIMEOUT_S
