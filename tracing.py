"""Traces (OpenTelemetry): what one request sets off in every tier, under one trace id, sent to a collector by OTLP over HTTP.

Off until `start` is given an address. Then nothing of OpenTelemetry is imported, and a span costs a look at one variable.

The context of a trace travels as a W3C `traceparent`: in the header of a request between the tiers, in the row of a job between a
request and the worker that does it. Which span is the current one is kept here and not in OpenTelemetry's own context, where BentoML
keeps spans that nobody is sent.

What people say, who they are and what they sign in with has no place in a span: give numbers, ids, kinds and codes. Of an exception the
type alone is noted, since its message may quote what was sent.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar, Token
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext, Tracer

HEADER = "traceparent"
_RAW_HEADER = b"traceparent"
EXPORT_TIMEOUT_S = 5.0
"""For one batch of spans, its repeats included; so long the end of a process may take when the collector is away."""
EXPORT_EVERY_S = 1.0

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

_provider: TracerProvider | None = None
_tracer: Tracer | None = None
_current: ContextVar[SpanContext | None] = ContextVar("voxify_span", default=None)


class Span(Protocol):
    """A span that has begun; it ends with its block."""

    def set(self, attributes: Attributes) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self, reason: str) -> None:
        """Mark it as failed; `reason` is a code or the name of a type."""

    def __enter__(self) -> Span: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class _Off:
    """Every span while there is no collector."""

    def set(self, attributes: Attributes) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self, reason: str) -> None: ...

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None: ...


NONE: Span = _Off()
"""For what is not worth a span."""


class _On:
    __slots__ = ("_span", "_token")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self._token: Token[SpanContext | None] | None = None

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, reason))

    def __enter__(self) -> Span:
        self._token = _current.set(self._span.get_span_context())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is not None:
            _current.reset(self._token)
        if isinstance(error, Exception):
            self.fail(type(error).__name__)
        elif error is not None:
            self.set({"voxify.cancelled": True})
        self._span.end()


def start(endpoint: str, service: str, *, headers: str = "", ratio: float = 1.0) -> None:
    """Send the spans of this process to a collector from now on; without an `endpoint` this does nothing.

    Args:
        endpoint: base address of the collector's OTLP/HTTP receiver, such as ``http://collector:4318``.
        service: the tier, such as ``voxify-api``.
        headers: ``name=value`` pairs with commas between, for a collector that wants to know who sends.
        ratio: share of the traces begun here that are kept, 0 to 1. What a caller has decided for its trace is followed.
    """
    global _provider, _tracer  # noqa: PLW0603 - as with logging, there is one for the process
    if not endpoint or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", headers=_pairs(headers), timeout=EXPORT_TIMEOUT_S)
    resource = Resource.create({"service.name": service, "service.instance.id": secrets.token_hex(8)})
    _provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=True)
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_S * 1000))
    _tracer = _provider.get_tracer("voxify")


def stop() -> None:
    """Send what there is left and stop; at most about `EXPORT_TIMEOUT_S` seconds. Blocks."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def span(name: str, attributes: Attributes | None = None, *, parent: str | None = None, kind: Kind = "INTERNAL") -> Span:
    """A span to be used as a context manager; what begins within it becomes its child.

    Args:
        parent: a traceparent that came from elsewhere; without one, or with one that is not sound, the current span is the parent.
    """
    if _tracer is None:
        return NONE
    return _On(_begin(_tracer, name, attributes, parent, kind, None, ()))


def record(
    name: str,
    began: datetime | int,
    ended: datetime | int | None = None,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    links: Sequence[str | None] = (),
) -> None:
    """Note a span that is over: what took from `began` to `ended` (times, or nanoseconds since 1970; now unless given).

    `links` are the traceparents of others that it belongs to.
    """
    if _tracer is None:
        return
    _begin(_tracer, name, attributes, parent, "INTERNAL", _ns(began), links).end(None if ended is None else _ns(ended))


def sent(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The traceparent among the headers of an ASGI scope, to be a `parent`."""
    if _tracer is None:
        return None
    return next((value.decode("latin-1") for name, value in headers if name == _RAW_HEADER), None)


def traceparent() -> str | None:
    """The current span as the header `traceparent` says it; None where there is none."""
    current = _current.get() if _tracer is not None else None
    return None if current is None else f"00-{current.trace_id:032x}-{current.span_id:016x}-{int(current.trace_flags):02x}"


def name_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: each line says which trace it belongs to."""
    if _tracer is not None and (current := _current.get()) is not None:
        event["trace_id"] = f"{current.trace_id:032x}"
    return event


def now_ns() -> int:
    """The time for `record`."""
    return time.time_ns()


def _begin(
    tracer: Tracer,
    name: str,
    attributes: Attributes | None,
    parent: str | None,
    kind: Kind,
    began: int | None,
    links: Sequence[str | None],
) -> OtelSpan:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context

    above = _understood(parent) or _current.get()
    context = Context() if above is None else set_span_in_context(NonRecordingSpan(above), Context())
    linked = [Link(found) for each in links if (found := _understood(each)) is not None]
    return tracer.start_span(name, context, SpanKind[kind], attributes=attributes, links=linked, start_time=began, record_exception=False)


def _understood(header: str | None) -> SpanContext | None:
    from opentelemetry.trace import SpanContext, TraceFlags

    said = _TRACEPARENT.fullmatch(header or "")
    if said is None:
        return None
    return SpanContext(int(said[1], 16), int(said[2], 16), is_remote=True, trace_flags=TraceFlags(int(said[3], 16) & 1))


def _ns(moment: datetime | int) -> int:
    return moment if isinstance(moment, int) else int(moment.timestamp() * 1e9)


def _pairs(headers: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in headers.split(",")) if name.strip()}
