"""Where spans go: `exporter_import_path: deployments.trace_export:span_processors`."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def span_processors() -> list[SpanProcessor]:
    """What Ray Serve has in each of its processes: OTLP over HTTP, in batches, by a thread.

    OpenTelemetry's variables say where: `OTEL_EXPORTER_OTLP_ENDPOINT`, by default the collector at
    http://localhost:4318, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`.
    """
    return [BatchSpanProcessor(OTLPSpanExporter())]
