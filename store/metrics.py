"""The sink's metrics for Prometheus; docs/observability.md lists them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from smartmeter.kafka.offsets import Lags, uncommitted
from smartmeter.metrics_server import served
from smartmeter.settings import Settings


class SinkMetrics:
    """The metrics of one sink."""

    def __init__(self, tables: tuple[str, ...]):
        self.registry = CollectorRegistry()
        self.rows = Counter("smw_sink_rows_stored", "Rows stored in ClickHouse", ["table"], registry=self.registry)
        self.refused = Counter(
            "smw_sink_records_refused", "Messages that could not be stored, and are in the table refused", registry=self.registry
        )
        self.unstored = Gauge(
            "smw_sink_unstored_messages",
            "Messages in the topics that are not stored yet; NaN: Kafka does not answer",
            registry=self.registry,
        )
        self.stored_at = Gauge("smw_sink_last_insert_timestamp_seconds", "Time of the last insert; 0: none yet", registry=self.registry)
        self.clickhouse_up = Gauge(
            "smw_sink_clickhouse_up", "Whether ClickHouse took the last request (1) or is waited for (0)", registry=self.registry
        )
        for table in tables:
            self.rows.labels(table)

    @contextmanager
    def served(self, settings: Settings, group_id: str, topics: tuple[str, ...]) -> Iterator[None]:
        """Serve them at SMW_METRICS_ADDRESS and SMW_SINK_METRICS_PORT, unless that is 0. Raises UserError if that fails.

        group_id, topics: the sink's consumer group, and the full names of its topics.
        """
        if not settings.stack.sink_metrics_port:
            yield
            return
        lags = Lags(settings, {group_id: topics})
        self.unstored.set_function(lambda: uncommitted(lags))
        with served(self.registry, settings, settings.stack.sink_metrics_port, "the sink", "SMW_SINK_METRICS_PORT"):
            yield
