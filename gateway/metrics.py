"""The metrics of ./smw gateway for Prometheus; docs/observability.md lists them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.disk_spool import Spool
from gateway.source import Source

REASONS = ("unknown topic", "retained", "repeated", "unusable", "same time", "no house", "spool full")
"""Why a reading is left out."""
MQTT_UP, KAFKA_UP, WAITING, SILENT = "smw_gateway_mqtt_up", "smw_gateway_kafka_up", "smw_gateway_waiting_readings", "smw_gateway_silent"
"""Metrics that ./smw status reads."""
OF_METER = ("house", "meter", "label")
"""The labels of a meter's metrics: the numbers of its house and its own, and what it is called."""


class GatewayMetrics:
    """The metrics of one gateway. The values in messages = taken + left out by the intake; taken = sent + left out by the bursts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("smw_gateway_messages", "MQTT messages that were received", registry=self.registry)
        self.taken = Counter("smw_gateway_readings", "Readings that were written to the spool", registry=self.registry)
        self.sent = Counter("smw_gateway_sent_readings", "Readings that Kafka has acknowledged", registry=self.registry)
        self.bursts = Counter("smw_gateway_sent_bursts", "Bursts that Kafka has acknowledged", registry=self.registry)
        self._left_out = Counter("smw_gateway_left_out", "Readings that were left out, by reason", ["reason"], registry=self.registry)
        self.waiting = Gauge(WAITING, "Readings in the spool that Kafka does not have yet", registry=self.registry)
        self.mqtt_up = Gauge(MQTT_UP, "Whether the MQTT broker is connected (1) or not (0)", registry=self.registry)
        self.kafka_up = Gauge(KAFKA_UP, "Whether Kafka took the last readings (1) or not (0)", registry=self.registry)
        self.silent = Gauge(
            SILENT, "Whether a meter is silent for longer than its silent_s (1) or not (0)", OF_METER, registry=self.registry
        )
        self.newest = Gauge(
            "smw_gateway_last_reading_timestamp_seconds",
            "Time at which a meter's last reading arrived, or that of the start",
            OF_METER,
            registry=self.registry,
        )
        self.http_requests = Counter("smw_gateway_http_requests", "HTTP requests, by status", ["status"], registry=self.registry)
        self.http_readings = Counter(
            "smw_gateway_http_readings", "Readings that came by HTTP, and that Kafka has acknowledged", registry=self.registry
        )
        for reason in REASONS:
            self._left_out.labels(reason)

    def left_out(self, reason: str, readings: int) -> None:
        """Count readings that were left out."""
        self._left_out.labels(reason).inc(readings)

    def watch(self, spool: Spool) -> None:
        """Show how much is in the spool."""
        self.waiting.set_function(lambda: spool.waiting)

    def show(self, source: Source, newest_s: float, is_silent: bool) -> None:
        """Show when a meter's last reading arrived."""
        self.newest.labels(*_labels(source)).set(newest_s)
        self.silent.labels(*_labels(source)).set(is_silent)

    def forget(self, source: Source) -> None:
        """Show nothing of a meter any more."""
        for metric in (self.newest, self.silent):
            metric.remove(*_labels(source))


def _labels(source: Source) -> tuple[str, ...]:
    """The values of OF_METER."""
    return str(source.house_id), str(source.meter_id), source.label
