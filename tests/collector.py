"""A collector of traces: an OTLP/HTTP receiver in threads of the test's own process, which keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

WAIT_S = 30.0


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hexadecimal digits, times in nanoseconds."""

    service: str
    instance: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    attributes: dict[str, Any]
    links: tuple[str, ...]
    failed: bool
    whole: str  # everything in it, to be searched


@dataclass
class Collector:
    """`status` is what it answers; `headers` those of the newest request."""

    endpoint: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    spans: list[Seen] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        found = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            self.headers = headers
            for of_resource in found.resource_spans:
                resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
                for scope in of_resource.scope_spans:
                    self.spans += [_seen(span, resource) for span in scope.spans]
            self._arrived.notify_all()

    def wait(self, trace_id: str, enough: Callable[[list[str]], bool]) -> list[Seen]:
        """The spans of a trace, once `enough` says so of their names."""
        deadline = time.monotonic() + WAIT_S
        with self._arrived:
            while not enough(names := sorted(span.name for span in self.of(trace_id))):
                left = deadline - time.monotonic()
                assert left > 0, names
                self._arrived.wait(left)
            return self.of(trace_id)

    def of(self, trace_id: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id]


def _seen(span: Any, resource: dict[str, str]) -> Seen:
    return Seen(
        service=resource["service.name"],
        instance=resource["service.instance.id"],
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes={pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes},
        links=tuple(link.trace_id.hex() for link in span.links),
        failed=span.status.code == 2,
        whole=str(span),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces" and collector.status == 200:
                collector.take(body, dict(self.headers))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
