"""ClickHouse's HTTP protocol over the embedded engine: `python -m store.endpoint`.

Serves curl, clickhouse-connect and other HTTP clients of ClickHouse on the loopback address of SMW_CLICKHOUSE_URL,
with the data in SMW_HOME. Two users: the writer (its password is made up at the first start and kept in SMW_HOME,
unless one is set) and the read-only reader, who is also taken where a request names no user.
Not served: sessions that span requests (a session_id is ignored), compressed answers (they are sent plain), the
block compression of compress=1, and multipart forms.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fcntl
import gzip
import io
import ipaddress
import json
import logging
import secrets
import signal
import socket
import ssl
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import lz4.frame
import uvicorn
from backports import zstd
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from smartmeter import logs
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.settings import Settings, SettingsError, write_private
from store.client import password_file, writer_password
from store.engine import Engine, Query, QueryError

log = logging.getLogger("endpoint")

AUTHENTICATION_FAILED, NOT_IMPLEMENTED, UNKNOWN_COMPRESSION_METHOD, CANNOT_DECOMPRESS = 516, 48, 89, 271

# URL parameters of the protocol; every other one is a setting.
PROTOCOL_PARAMETERS = {
    "buffer_size", "client_protocol_version", "compress", "database", "decompress", "default_format",
    "enable_http_compression", "http_headers_progress_interval_ms", "password", "query", "query_id", "quota_key", "role",
    "send_progress_in_http_headers", "session_check", "session_id", "session_timeout", "user", "wait_end_of_query",
}


def _decompress_lz4(data: bytes) -> bytes:
    """All frames of the data; lz4.frame.decompress would stop after the first, and clickhouse-connect sends one a block."""
    with lz4.frame.open(io.BytesIO(data)) as frames:
        return frames.read()


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, "identity": bytes, "gzip": gzip.decompress, "lz4": _decompress_lz4, "zstd": zstd.decompress,
}

# HTTP status of an error, as ClickHouse's own server gives it; 500 for all others.
STATUS_OF_CODE = {
    **dict.fromkeys([6, 26, 27, 33, 36, 38, 41, 43, 53, 62, 69, 70, 72, 117, 190, 321, 427, 456, 457], 400),
    **dict.fromkeys([192, 193, 512, AUTHENTICATION_FAILED], 403),
    **dict.fromkeys([46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 511], 404),
    159: 408,
    NOT_IMPLEMENTED: 501,
}


class Endpoint:
    """The HTTP face of an engine."""

    def __init__(self, engine: Engine, settings: Settings):
        self._engine = engine
        self._reader = settings.clickhouse_reader
        self._passwords = {
            settings.clickhouse_user: writer_password(settings),
            settings.clickhouse_reader: settings.clickhouse_reader_password,
        }
        self.app = Starlette(routes=[
            Route("/ping", lambda request: PlainTextResponse("Ok.\n")),
            Route("/", self._answer, methods=["GET", "POST"]),
        ])

    async def _answer(self, request: Request) -> Response:
        headers = {
            "X-ClickHouse-Query-Id": request.query_params.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": "chdb",
        }
        try:
            user = self._authenticate(request)
            text = await _statement(request)
            if not text.strip():
                return PlainTextResponse("Ok.\n", headers=headers)
            query = self._query(request, user, text)
            result = await run_in_threadpool(self._engine.run, query)
        except QueryError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            return PlainTextResponse(self._message(error), STATUS_OF_CODE.get(error.code, 500), headers)
        tag = secrets.token_hex(8)
        headers |= {
            "X-ClickHouse-Format": result.format,
            "X-ClickHouse-Summary": json.dumps({"read_rows": str(result.rows_read), "written_rows": str(result.rows_written)}),
            "X-ClickHouse-Exception-Tag": tag,
        }
        media_type = "application/json" if result.format.startswith("JSON") else "text/plain; charset=UTF-8"
        return StreamingResponse(self._body(result.chunks, tag), headers=headers, media_type=media_type)

    def _authenticate(self, request: Request) -> str:
        """The user of a request. Raises QueryError for a user or a password that is wrong."""
        user, password = _credentials(request)
        user = user or self._reader
        known = self._passwords.get(user)
        if known is None or not secrets.compare_digest(known.encode(), password.encode()):
            raise _error(AUTHENTICATION_FAILED, f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
                         "AUTHENTICATION_FAILED")
        return user

    def _query(self, request: Request, user: str, text: bytes) -> Query:
        parameters, reader = request.query_params, user == self._reader
        return Query(
            text,
            database=parameters.get("database") or request.headers.get("X-ClickHouse-Database", ""),
            format=parameters.get("default_format") or request.headers.get("X-ClickHouse-Format", "TabSeparated"),
            settings={k: v for k, v in parameters.items() if k not in PROTOCOL_PARAMETERS and not k.startswith("param_")},
            parameters={k.removeprefix("param_"): v for k, v in parameters.items() if k.startswith("param_")},
            reader=reader,
            readonly=1 if reader else 2 if request.method == "GET" else 0,
        )

    def _body(self, chunks: Iterator[bytes], tag: str) -> Iterator[bytes]:
        """The answer; an error that comes when part of it has been sent ends it in the way that ClickHouse does."""
        try:
            yield from chunks
        except QueryError as error:
            message = self._message(error)
            yield f"\r\n__exception__\r\n{tag}\r\n{message}{len(message.encode())} {tag}\r\n__exception__\r\n".encode()

    def _message(self, error: QueryError) -> str:
        return f"{error} (version {self._engine.version})\n"


def _error(code: int, message: str, name: str) -> QueryError:
    return QueryError(code, f"Code: {code}. DB::Exception: {message}. ({name})")


def _credentials(request: Request) -> tuple[str, str]:
    """(user, password) from ClickHouse's headers, basic authentication or the URL; empty where not given."""
    headers, parameters = request.headers, request.query_params
    if "X-ClickHouse-User" in headers:
        return headers["X-ClickHouse-User"], headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _error(AUTHENTICATION_FAILED, "The header Authorization is malformed", "AUTHENTICATION_FAILED") from None
        return user, password
    return parameters.get("user", ""), parameters.get("password", "")


async def _statement(request: Request) -> bytes:
    """The statement with its data: the URL's part, a line break, the body."""
    if request.query_params.get("compress") == "1" or request.query_params.get("decompress") == "1":
        raise _error(NOT_IMPLEMENTED, "compress=1 and decompress=1 are not supported: use Content-Encoding", "NOT_IMPLEMENTED")
    if request.headers.get("Content-Type", "").startswith("multipart/"):
        raise _error(NOT_IMPLEMENTED, "Multipart forms are not supported: send parameters in the URL", "NOT_IMPLEMENTED")
    encoding = request.headers.get("Content-Encoding", "")
    if encoding not in DECOMPRESS:
        raise _error(UNKNOWN_COMPRESSION_METHOD, f"Unknown compression method {encoding}", "UNKNOWN_COMPRESSION_METHOD")
    body = await request.body()
    try:
        body = await run_in_threadpool(DECOMPRESS[encoding], body)
    except Exception as error:  # each library has its own kinds
        raise _error(CANNOT_DECOMPRESS, f"The body is not {encoding}: {error}", "CANNOT_DECOMPRESS") from None
    url_part = request.query_params.get("query", "").encode()
    return url_part + b"\n" + body if url_part and body else url_part or body


def _bind(settings: Settings) -> socket.socket:
    """A socket on the loopback address that SMW_CLICKHOUSE_URL names."""
    address = urlsplit(settings.clickhouse_url)
    host, port = address.hostname or "", address.port or 8123
    if host != "localhost" and not _is_loopback(host):
        raise UserError(f"SMW_CLICKHOUSE_URL={settings.clickhouse_url} is not on this machine: the local endpoint serves a loopback address, such as http://127.0.0.1:8123")
    # With the protocol named asyncio sets TCP_NODELAY; without that an answer may take 40 ms longer.
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"Port {port} on {host} is taken; stop the program that uses it, or set SMW_CLICKHOUSE_URL to another port") from None
        raise UserError(f"Cannot listen on {host}:{port} ({error.strerror}); set SMW_CLICKHOUSE_URL to another port") from None
    return sock


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _locked(folder: Path):
    """The data folder, made where it is missing and held against a second endpoint."""
    try:
        private_folder(folder)
        with open(folder / "endpoint.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise UserError(f"{folder} is in use by another endpoint; stop that one, or set SMW_HOME to another folder") from None
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({error.strerror}); make it writable, or set SMW_HOME to another folder") from None


def _certificate(settings: Settings) -> tuple[str, str] | tuple[None, None]:
    """The files of the certificate and its key to serve with; none where SMW_CLICKHOUSE_URL does not ask for TLS."""
    if not settings.clickhouse_url.startswith("https:"):
        return None, None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.clickhouse_certificate, settings.clickhouse_key)
    except OSError as error:
        raise UserError(f"SMW_CLICKHOUSE_URL={settings.clickhouse_url}: for that the local endpoint takes SMW_CLICKHOUSE_CERTIFICATE and "
                        f"SMW_CLICKHOUSE_KEY, PEM files that belong together ({error.strerror or error})") from None
    return settings.clickhouse_certificate, settings.clickhouse_key


def _make_password(settings: Settings) -> None:
    """At the first start, where none is set, a password for the writer."""
    if not writer_password(settings):
        write_private(password_file(settings), secrets.token_urlsafe(24))


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises UserError when that cannot be."""
    folder = settings.home / "clickhouse"
    certificate, key = _certificate(settings)
    with _bind(settings) as sock, _locked(folder):
        _make_password(settings)
        engine = Engine(folder, settings.clickhouse_database)
        try:
            app = Endpoint(engine, settings).app
            log.info("ClickHouse %s (embedded) at %s, data in %s", engine.version, settings.clickhouse_url, folder)
            config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=5,
                                    ssl_certfile=certificate, ssl_keyfile=key)
            uvicorn.Server(config).run(sockets=[sock])
        finally:
            engine.close()


def main() -> int:
    logs.configure("endpoint")
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn stops gracefully, then passes the signal on to these
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        serve(Settings.load())
    except (UserError, SettingsError) as error:
        print(f"endpoint: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
