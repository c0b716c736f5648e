"""How the project's HTTP servers listen, use a certificate, and run under uvicorn."""

from __future__ import annotations

import errno
import socket
import ssl

import uvicorn
from starlette.types import ASGIApp

from smartmeter.errors import UserError


def listener(host: str, port: int, variable: str) -> socket.socket:
    """A socket bound to an address. variable: the one that sets the port. Raises UserError."""
    # asyncio sets TCP_NODELAY only on a socket with an explicit protocol; without it an answer may take 40 ms longer.
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"Port {port} on {host} is taken; stop the program that uses it, or set {variable} to another port") from None
        raise UserError(f"Cannot listen on {host}:{port} ({error.strerror}); set {variable} to another port") from None
    return sock


def why_no_certificate(certificate: str, key: str) -> str | None:
    """Why the PEM files of a certificate and its key cannot be used; None if they can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # includes ssl's own errors
        return error.strerror or str(error)
    return None


def server(app: ASGIApp, certificate: str, key: str, last_s: int) -> uvicorn.Server:
    """A server of an application. It logs warnings only.

    certificate, key: PEM files; both empty: without TLS. last_s: how long the requests in flight may take once it stops.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=last_s,
            ssl_certfile=certificate or None,
            ssl_keyfile=key or None,
        )
    )
