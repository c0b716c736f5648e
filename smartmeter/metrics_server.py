"""Serves a program's metrics for Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from smartmeter.errors import UserError
from smartmeter.hosts import Gate, wsgi_own_host
from smartmeter.settings import Settings


@contextmanager
def served(registry: CollectorRegistry, settings: Settings, port: int, what: str, variable: str) -> Iterator[None]:
    """Serve metrics at SMW_METRICS_ADDRESS and a port. Raises UserError if that fails.

    what: whose metrics they are, such as "the sink". variable: the one that sets the port.
    """
    address = settings.stack.metrics_address
    try:
        app = wsgi_own_host(make_wsgi_app(registry), Gate(settings, address))
        server = make_server(address, port, app, _Server, _Quiet)
    except OSError as error:
        raise UserError(
            f"{what}'s metrics cannot be served at {address}:{port} ({error.strerror}): end the program that uses it, "
            f"or set {variable} to another port, or to 0 for none"
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
