"""Traces leave a process: to an OpenTelemetry collector, over OTLP and HTTP, on a thread of their own.

The queue is bounded, and what it does not hold is lost: a collector that is slow or away never slows a payment. The
SDK is an optional extra; nothing of it is loaded where no endpoint is configured.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from network.metrics import own_version
from network.tracing import Ended, Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUEUE_LIMIT: Final = 8_192
"""Parts that wait for the collector."""

BATCH: Final = 512
DELAY_MILLISECONDS: Final = 1_000
"""Parts are sent together, at most so many and after so long."""

ANSWER_SECONDS: Final = 5.0
"""How long the collector may take to answer."""

CLOSE_SECONDS: Final = 2.0
"""How long, at the end, it is given to take what is left."""

ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH: Final = "/v1/traces"

_FAULTS: Final = frozenset({"68", "77", "91", "92", "96", "98", "A0"})
"""Response codes that speak of the network and not of the payment."""


class TraceError(Exception):
    """Traces cannot be sent as it is configured; the message says what to change."""


def endpoint_of(setting: str | None) -> str | None:
    """The address that traces are sent to; None where none is configured.

    Parameters
    ----------
    setting
        Of the service; without it OpenTelemetry's own variables count. A base address gets OTLP's path put to it.

    Raises
    ------
    TraceError
        It is no address such as http://127.0.0.1:4318.
    """
    whole, base = (os.environ.get(name) or None for name in ENDPOINT_VARIABLES)
    found = setting or whole or base
    if found is None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        parts = urlsplit(found)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise TraceError("traces_endpoint is not an address such as http://127.0.0.1:4318")
    is_whole = found == whole and not setting
    return found if is_whole or found.rstrip("/").endswith(_PATH) else found.rstrip("/") + _PATH


class TraceExporter:
    """Sends parts of traces.

    Parameters
    ----------
    party : str
        The service's name in the traces.
    endpoint : str
        Where to.

    Raises
    ------
    TraceError
        The SDK is not installed.
    """

    def __init__(self, party: str, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
            from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
        except ImportError as error:
            raise TraceError("traces need OpenTelemetry's SDK: pip install 'fourparty[traces]'") from error
        resource = Resource.create({"service.name": party, "service.version": own_version()})
        scope = InstrumentationScope("fourparty", own_version())
        flags = TraceFlags(TraceFlags.SAMPLED)
        fault, fine = Status(StatusCode.ERROR), Status(StatusCode.UNSET)

        def span(ended: Ended) -> ReadableSpan:
            part = ended.part
            trace = int(part.trace, 16)
            context = SpanContext(trace, int(part.span, 16), is_remote=False, trace_flags=flags)
            parent = (
                SpanContext(trace, int(part.parent, 16), is_remote=True, trace_flags=flags) if part.parent else None
            )
            attributes = dict(part.attributes)
            if ended.response_code is not None:
                attributes["fourparty.response_code"] = ended.response_code
            return ReadableSpan(
                part.name,
                context,
                parent,
                resource,
                attributes,
                kind=SpanKind.SERVER if part.parent else SpanKind.CLIENT,
                status=fault if ended.response_code in _FAULTS else fine,
                start_time=part.began * 1_000,
                end_time=ended.ended * 1_000,
                instrumentation_scope=scope,
            )

        self._span = span
        self._processor: BatchSpanProcessor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint, timeout=ANSWER_SECONDS),
            max_queue_size=QUEUE_LIMIT,
            schedule_delay_millis=DELAY_MILLISECONDS,
            max_export_batch_size=BATCH,
        )

    def export(self, ended: Ended) -> None:
        """Put a part into the queue; it leaves later, or is lost."""
        self._processor.on_end(self._span(ended))

    def close(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` at most."""
        closing = threading.Thread(target=self._processor.shutdown, name="traces-closing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def open_tracing(party: str, setting: str | None, sample: float) -> tuple[Tracing, TraceExporter] | None:
    """Tracing as a process has it configured; None where it has none.

    Raises
    ------
    TraceError
        The endpoint is no address, or the SDK is not installed.
    """
    endpoint = endpoint_of(setting)
    if endpoint is None:
        return None
    exporter = TraceExporter(party, endpoint)
    return Tracing(sample, exporter.export), exporter
