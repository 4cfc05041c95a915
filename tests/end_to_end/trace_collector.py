"""A collector of traces that is a plain HTTP server: OTLP over HTTP, read with the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WAIT_SECONDS = 15.0
QUIET_SECONDS = 2.5


class Collector:
    """Takes OTLP over HTTP and keeps the spans, by the service that sent them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.raw: list[bytes] = []
        self.arrived = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test tells what went wrong."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self.arrived:
            assert path == "/v1/traces"
            self.raw.append(body)
            for resource in request.resource_spans:
                (service,) = [
                    one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    self.spans += [(service, span) for span in scope.spans]
            self.arrived.notify_all()

    def wait(self, count: int) -> list[tuple[str, Span]]:
        deadline = time.monotonic() + WAIT_SECONDS
        with self.arrived:
            while len(self.spans) < count:
                assert self.arrived.wait(deadline - time.monotonic()), f"{len(self.spans)} of {count} parts came"
            found, self.spans = self.spans, []
        return found

    def wait_for(self, name: str, count: int = 1) -> None:
        """Wait until so many parts of that name have come; they stay."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self.arrived:
            while (there := sum(span.name == name for _, span in self.spans)) < count:
                assert self.arrived.wait(deadline - time.monotonic()), f"{there} of {count} parts came: {name}"

    def settled(self) -> list[tuple[str, Span]]:
        """What has come once nothing more has for a while, as senders wait a second; it is taken out."""
        with self.arrived:
            for _ in range(round(WAIT_SECONDS)):
                if not self.arrived.wait(QUIET_SECONDS):
                    break
            found, self.spans = self.spans, []
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
