"""The sink's metrics for Prometheus; docs/observability.md lists them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from smartmeter.errors import UserError
from smartmeter.hosts import Gate, wsgi_own_host
from smartmeter.kafka.offsets import Lags
from smartmeter.settings import Settings

KAFKA_TIMEOUT_S = 3.0


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
        self.unstored.set_function(lambda: unstored(lags))
        address = f"{settings.stack.metrics_address}:{settings.stack.sink_metrics_port}"
        try:
            app = wsgi_own_host(make_wsgi_app(self.registry), Gate(settings, settings.stack.metrics_address))
            server = make_server(settings.stack.metrics_address, settings.stack.sink_metrics_port, app, _Server, _Quiet)
        except OSError as error:
            raise UserError(
                f"the sink's metrics cannot be served at {address} ({error.strerror}): end the program that uses it, "
                "or set SMW_SINK_METRICS_PORT to another port, or to 0 for none"
            ) from None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without http.server's DNS look-up of the server's own name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log no requests."""


def unstored(lags: Lags) -> float:
    """Messages that the group has not committed; NaN if Kafka does not answer."""
    try:
        [messages] = lags.by_group(KAFKA_TIMEOUT_S).values()
    except UserError:
        return math.nan
    return messages or 0
