"""Flink's metrics for Prometheus: `python -m stack.metrics_gateway`, run by the local stack.

Flink's own Prometheus reporter always listens at all addresses of a machine. So in the local stack, Flink pushes its metrics here (with its
PrometheusPushGateway reporter), and this process serves the last ones at SMW_METRICS_ADDRESS. It drops metrics older than STALE_S, as their
Flink has ended.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from smartmeter import logs
from smartmeter.hosts import Gate
from smartmeter.settings import Settings

PUSH_EVERY_S = 5
STALE_S = 6 * PUSH_EVERY_S
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Pushed:
    """The metrics last pushed by each sender (the path of its URL)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, tuple[float, bytes]] = {}

    def put(self, path: str, text: bytes) -> None:
        """Replace a sender's metrics."""
        with self._lock:
            self._of[path] = time.monotonic(), text

    def remove(self, path: str) -> None:
        """Drop a sender's metrics."""
        with self._lock:
            self._of.pop(path, None)

    def text(self) -> bytes:
        """The metrics that are not stale."""
        with self._lock:
            self._of = {path: (at, text) for path, (at, text) in self._of.items() if time.monotonic() - at < STALE_S}
            return b"".join(text for _, text in self._of.values())


class Handler(BaseHTTPRequestHandler):
    """Serves Prometheus' text format at /metrics. PUT, POST and DELETE on a path below it change one Flink's metrics."""

    protocol_version = "HTTP/1.1"
    pushed: Pushed
    gate: Gate

    def parse_request(self) -> bool:
        """Whether the request is valid and accepted. A request that the gate refuses is answered here."""
        if not super().parse_request():
            return False
        reason = self.gate.refusal({name.lower(): value for name, value in self.headers.items()})
        if reason:
            self.close_connection = True  # its body is not read
            self._answer(403, f"{reason}\n".encode())
        return not reason

    def do_GET(self) -> None:
        """Serve the metrics."""
        if self.path == "/metrics":
            self._answer(200, self.pushed.text())
        else:
            self._answer(404, b"metrics are at /metrics\n")

    def do_PUT(self) -> None:
        """Replace a Flink's metrics."""
        self.pushed.put(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(202)

    do_POST = do_PUT

    def do_DELETE(self) -> None:
        """Drop a Flink's metrics."""
        self.pushed.remove(self.path)
        self._answer(202)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no requests."""


def main() -> int:
    """Serve until the process is stopped. Returns the exit code."""
    logs.configure("metrics")
    settings = Settings.load()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Handler.pushed, Handler.gate = Pushed(), Gate(settings, settings.stack.metrics_address)
    with ThreadingHTTPServer((settings.stack.metrics_address, settings.stack.flink_metrics_port), Handler) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
