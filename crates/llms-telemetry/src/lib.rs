//! OpenTelemetry metrics, spans and structured logs of chat models.
