"""The metrics of ./smw notify for Prometheus; docs/observability.md lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from notify.alerts import What
from smartmeter.kafka.offsets import Lags, uncommitted

UP, PENDING, FAILING_SINCE = "smw_notify_route_up", "smw_notify_pending_alerts", "smw_notify_failing_since_timestamp_seconds"
"""Metrics that ./smw status reads."""


class NotifyMetrics:
    """The metrics of one service. All but those of the topics have the label route."""

    def __init__(self, routes: Iterable[str]):
        self.registry = CollectorRegistry()
        labels = ["route"]
        self.messages = Counter("smw_notify_messages", "Messages that the receiver has acknowledged", labels, registry=self.registry)
        self.alerts = Counter("smw_notify_alerts", "Alerts in those messages", [*labels, "event"], registry=self.registry)
        self.failures = Counter("smw_notify_failures", "Attempts that failed", labels, registry=self.registry)
        self.dropped = Counter(
            "smw_notify_dropped_alerts", "Alerts that were never delivered, and no longer matter", labels, registry=self.registry
        )
        self.pending = Gauge(PENDING, "Alerts, and topics of Home Assistant, that wait to be delivered", labels, registry=self.registry)
        self.up = Gauge(UP, "Whether the last attempt worked (1) or failed (0)", labels, registry=self.registry)
        self.failing_since = Gauge(
            FAILING_SINCE, "Time of the first failure since the last success; 0: none", labels, registry=self.registry
        )
        self.delivered_at = Gauge(
            "smw_notify_last_delivery_timestamp_seconds", "Time of the last delivery; 0: none yet", labels, registry=self.registry
        )
        self.unread = Gauge(
            "smw_notify_unread_messages", "Messages in the topics that are not read yet; NaN: Kafka does not answer", registry=self.registry
        )
        self.unreadable = Counter("smw_notify_unreadable_messages", "Messages of the topics that could not be read", registry=self.registry)
        for route in routes:
            self.up.labels(route).set(1)
            for metric in (self.messages, self.failures, self.dropped, self.pending, self.failing_since, self.delivered_at):
                metric.labels(route)
            for what in get_args(What):
                self.alerts.labels(route, what)

    def watch(self, lags: Lags) -> None:
        """Show the lag of the service's consumer groups."""
        self.unread.set_function(lambda: uncommitted(lags))
