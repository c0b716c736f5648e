"""Takes readings by HTTP: the server in a thread of its own, the API that it serves, and what sends to Kafka."""

from __future__ import annotations

import logging
import threading

from gateway.config import Config, Http
from gateway.http_api import Api
from gateway.http_delivery import Delivery
from gateway.metrics import GatewayMetrics
from smartmeter import serving
from smartmeter.hosts import is_loopback
from smartmeter.settings import Settings

LAST_S = 15
"""How long the requests in flight may take once the server is stopped."""
PORT_VARIABLE = "SMW_GATEWAY_HTTP_PORT"

log = logging.getLogger("gateway")


class HttpServer:
    """Serves from start() to stop(). The constructor raises UserError if it cannot listen at the address."""

    def __init__(self, http: Http, config: Config, settings: Settings, metrics: GatewayMetrics):
        port = settings.gateway.http_port
        self._socket = serving.listener(http.address, port, PORT_VARIABLE)
        self._delivery = Delivery(settings, metrics)
        self._api = Api(config, settings, self._delivery, metrics, http.address)
        self._server = serving.server(self._api.app, http.certificate, http.key, LAST_S)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._where = f"{'https' if http.certificate else 'http'}://{http.address}:{port}"
        if not http.certificate and not is_loopback(http.address):
            log.warning(
                "http: tokens pass in plain text at %s: set certificate and key, or let a proxy with TLS stand before it", self._where
            )

    def start(self) -> None:
        """Begin to take requests."""
        self._delivery.start()
        self._thread.start()
        log.info("readings are taken at %s", self._where)

    def use(self, config: Config) -> None:
        """Take the readings of these houses from now on."""
        self._api.use(config)

    def arrived(self) -> set[tuple[int, int]]:
        """(house, meter) of what Kafka has taken since the last call."""
        return self._delivery.arrived()

    def stop(self) -> None:
        """Take no more requests. Returns once those in flight are answered, or after LAST_S."""
        self._server.should_exit = True
        self._thread.join(LAST_S + 1)
        self._delivery.stop()
        self._delivery.join(LAST_S)

    def _serve(self) -> None:
        with self._socket:
            self._server.run(sockets=[self._socket])
