"""ClickHouse's HTTP protocol over the embedded engine: `python -m store.endpoint`.

Serves curl, clickhouse-connect, JDBC and other HTTP clients of ClickHouse on the loopback address of SMW_CLICKHOUSE_URL,
with the data in SMW_HOME. There are two users: the writer, whose password is generated at the first start and kept in
SMW_HOME unless one is set, and the read-only reader, who is also the default user of a request.
docs/clients.md lists what clients may send, the limits, and what is not served.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import resource
import secrets
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from smartmeter import logs, reports, serving
from smartmeter.errors import CRASHED, UserError
from smartmeter.folders import private_folder
from smartmeter.hosts import Gate, OwnHost, is_loopback, listed
from smartmeter.locks import exclusive
from smartmeter.settings import Settings, write_private
from smartmeter.variables import SettingsError
from store import bodies, native
from store.client import password_file, writer_password
from store.engine import Engine, Query, Result, Summary
from store.errors import QueryError
from store.lanes import Lane

log = logging.getLogger("endpoint")

AUTHENTICATION_FAILED, NOT_IMPLEMENTED, BAD_ARGUMENTS = 516, 48, 36
READER_BODY_BYTES = 256 << 10
"""Largest body of a reader's statement, as in ClickHouse (max_query_size)."""
KILL_EVERY_S = 0.5
LAST_S = 5
"""How long the requests in flight may take once the endpoint is stopped."""

# URL parameters of the protocol; all others are settings.
PROTOCOL_PARAMETERS = {
    "add_http_cors_header",
    "buffer_size",
    "client_protocol_version",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "password",
    "query",
    "query_id",
    "quota_key",
    "role",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "user",
    "wait_end_of_query",
}

# Error code -> HTTP status, as in ClickHouse's own server; 500 for all others.
STATUS_OF_CODE = {
    **dict.fromkeys([6, 26, 27, 33, BAD_ARGUMENTS, 38, 41, 43, 53, 62, 69, 70, 72, 117, 190, 321, 427, 456, 457], 400),
    **dict.fromkeys([192, 193, 512, AUTHENTICATION_FAILED], 403),
    **dict.fromkeys([46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 511], 404),
    **dict.fromkeys([159, 209], 408),
    **dict.fromkeys([202], 429),
    **dict.fromkeys([307], 413),
    NOT_IMPLEMENTED: 501,
}


class Endpoint:
    """Serves an engine over HTTP."""

    def __init__(self, engine: Engine, settings: Settings):
        self._engine, self._settings = engine, settings
        self._reader = settings.clickhouse.reader
        self._passwords = {
            settings.clickhouse.user: writer_password(settings),
            settings.clickhouse.reader: settings.clickhouse.reader_password,
        }
        self._lanes = {user: Lane(settings.clickhouse.queries) for user in self._passwords}
        self._killers = anyio.CapacityLimiter(2)
        gate = Gate(settings, urlsplit(settings.clickhouse.url).hostname or "")
        self.app = Starlette(
            routes=[Route("/ping", _ok), Route("/replicas_status", _ok), Route("/", _Answers(self))],
            middleware=[
                Middleware(OwnHost, gate=gate),
                Middleware(
                    CORSMiddleware,
                    allow_origins=listed(settings.stack.allowed_origins),
                    allow_methods=["GET", "POST"],
                    allow_headers=["*"],
                    expose_headers=["X-ClickHouse-Exception-Code", "X-ClickHouse-Format", "X-ClickHouse-Query-Id", "X-ClickHouse-Summary"],
                ),
            ],
        )

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for the path /. If the request ends early, its statement ends too."""
        request = Request(scope, receive)
        headers = {
            "X-ClickHouse-Query-Id": str(uuid.uuid4()),
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": "chdb",
        }
        if request.method not in ("GET", "HEAD", "POST", "OPTIONS"):
            return await PlainTextResponse("Method Not Allowed\n", 405, {"Allow": "GET, HEAD, POST, OPTIONS"})(scope, receive, send)
        if request.method == "OPTIONS":
            return await PlainTextResponse("", 204, {"Allow": "GET, HEAD, POST, OPTIONS"})(scope, receive, send)
        try:
            headers["X-ClickHouse-Query-Id"] = _query_id(request) or headers["X-ClickHouse-Query-Id"]
            await self._run(request, send, headers)
        except QueryError as error:
            if error.fatal:
                _end_with_the_engine(error)
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            await PlainTextResponse(self._message(error), STATUS_OF_CODE.get(error.code, 500), headers)(scope, receive, send)
        except ClientDisconnect:
            log.info("query %s: the client has gone, reads nothing, or its time is over", headers["X-ClickHouse-Query-Id"])

    async def _run(self, request: Request, send: Send, headers: dict[str, str]) -> None:
        """Read the statement, wait for its turn, run it and send its result. Raises QueryError until the first byte is sent."""
        user = self._authenticate(request)
        reader = user == self._reader
        limit = READER_BODY_BYTES if reader else self._settings.clickhouse.insert_mb * 1_000_000
        if request.headers.get("Content-Type", "").startswith("multipart/"):
            raise QueryError.named(NOT_IMPLEMENTED, "Multipart forms are not supported: send parameters in the URL", "NOT_IMPLEMENTED")
        body = await bodies.read(request, limit)
        lane = self._lanes[user]
        async with lane.place():
            parameters = request.query_params
            text = await lane.run(
                bodies.unpack, body, request.headers.get("Content-Encoding", ""), parameters.get("decompress") == "1", limit
            )
            from_url = parameters.get("query", "").encode()
            text = from_url + b"\n" + text if from_url and text else from_url or text
            if not text.strip():
                return await PlainTextResponse("Ok.\n", headers=headers)(request.scope, request.receive, send)
            query = self._query(request, reader, text)
            async with self._killed_when_client_goes(request, query) as gone:
                await _Sending(self, lane, request, send, headers, query, gone).run()

    @asynccontextmanager
    async def _killed_when_client_goes(self, request: Request, query: Query) -> AsyncIterator[anyio.Event]:
        """Kill the statement and set the yielded event when the client disconnects or its time is over."""
        gone = anyio.Event()

        async def watch() -> None:
            with anyio.move_on_after(bodies.WHOLE_S if query.reader else None):
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            gone.set()
            while True:  # the statement may not have started yet
                with suppress(QueryError):
                    await run_sync(self._engine.kill, query.token, limiter=self._killers)
                await anyio.sleep(KILL_EVERY_S)

        failure = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                yield gone
            except (QueryError, ClientDisconnect) as error:
                failure = error  # raised here, it would become part of an exception group
            tasks.cancel_scope.cancel()
        if failure:
            raise ClientDisconnect if gone.is_set() else failure

    def _authenticate(self, request: Request) -> str:
        """The user of a request. Raises QueryError for an unknown user or a wrong password."""
        user, password = _credentials(request)
        user = user or self._reader
        known = self._passwords.get(user)
        if known is None or not secrets.compare_digest(known.encode(), password.encode()):
            raise _unknown(f"{user}: Authentication failed: password is incorrect, or there is no user with such name")
        return user

    def _query(self, request: Request, reader: bool, text: bytes) -> Query:
        parameters, memory = request.query_params, self._settings.clickhouse.memory_mb * 1_000_000
        return Query(
            text,
            database=parameters.get("database") or request.headers.get("X-ClickHouse-Database", ""),
            format=_format(request),
            settings={k: v for k, v in parameters.items() if k not in PROTOCOL_PARAMETERS and not k.startswith("param_")},
            parameters={k.removeprefix("param_"): v for k, v in parameters.items() if k.startswith("param_")},
            reader=reader,
            readonly=1 if reader else 0 if request.method == "POST" else 2,
            memory_bytes=memory // self._settings.clickhouse.queries if reader else memory,
        )

    def _message(self, error: QueryError) -> str:
        return f"{error} (version {self._engine.version})\n"


class _Answers:
    """The ASGI application of the path /, for all methods."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint.answer(scope, receive, send)


class _Sending:
    """Runs one statement and sends its answer to the client."""

    def __init__(
        self, endpoint: Endpoint, lane: Lane, request: Request, send: Send, headers: dict[str, str], query: Query, gone: anyio.Event
    ):
        self._endpoint, self._lane, self._send, self._headers, self._query, self._gone = endpoint, lane, send, headers, query, gone
        self._version = _version(request)
        self._packed = request.query_params.get("compress") == "1"
        self._started_ns = time.monotonic_ns()

    async def run(self) -> None:
        """Run the statement to its end. Raises QueryError until the first byte is sent."""
        result = await self._lane.run(self._endpoint._engine.run, self._query)
        try:
            first = await self._lane.run(_first_two, result.chunks, lambda data: self._form(result, data))
            tag = secrets.token_hex(8)
            await self._begin(result, tag)
            await self._send_all(result, first, tag)
        finally:
            with anyio.CancelScope(shield=True):
                await self._lane.run(result.chunks.close)

    async def _begin(self, result: Result, tag: str) -> None:
        media_type = "application/json" if result.format.startswith("JSON") else "text/plain; charset=UTF-8"
        headers = self._headers | {
            "Content-Type": media_type,
            "X-ClickHouse-Format": result.format,
            "X-ClickHouse-Summary": _summary(result.summary, time.monotonic_ns() - self._started_ns),
            "X-ClickHouse-Exception-Tag": tag,
        }
        raw = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _send_all(self, result: Result, first: list[bytes], tag: str) -> None:
        """Send the answer. If an error occurs after some of it was sent, end it with the error as ClickHouse does."""
        for chunk in first:
            await self._send_some(chunk)
        try:
            while (data := await self._lane.run(next, result.chunks, None)) is not None:
                await self._send_some(await self._lane.run(self._form, result, data))
        except QueryError as error:
            message = self._endpoint._message(error)
            end = f"\r\n__exception__\r\n{tag}\r\n{message}{len(message.encode())} {tag}\r\n__exception__\r\n".encode()
            await self._send_some(bodies.pack(end) if self._packed else end)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_some(self, data: bytes) -> None:
        """Send some of the answer. Raises ClientDisconnect when the client has gone, or reads nothing for too long."""
        if self._gone.is_set():
            raise ClientDisconnect
        try:
            with anyio.fail_after(bodies.SILENCE_S):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise ClientDisconnect from None

    def _form(self, result: Result, data: bytes) -> bytes:
        """A chunk in the client's protocol version and compression."""
        if result.format == "Native":
            data = native.of_version(data, self._version, result.streamed)
        return bodies.pack(data) if self._packed else data


def _first_two(chunks: Iterator[bytes], form: Callable[[bytes], bytes]) -> list[bytes]:
    """The first two chunks of an answer. So a short answer is complete, with its summary and any error, before the headers are sent."""
    return [form(chunk) for _, chunk in zip(range(2), chunks)]


def _summary(summary: Summary, elapsed_ns: int) -> str:
    return json.dumps(
        {
            "read_rows": str(summary.read_rows),
            "read_bytes": str(summary.read_bytes),
            "written_rows": str(summary.written_rows),
            "written_bytes": str(summary.written_bytes),
            "total_rows_to_read": str(summary.read_rows),
            "result_rows": str(summary.result_rows),
            "result_bytes": str(summary.result_bytes),
            "elapsed_ns": str(elapsed_ns),
        },
        separators=(",", ":"),
    )


async def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Ok.\n")


def _query_id(request: Request) -> str:
    """The client's query_id, or empty. Raises QueryError for one that does not fit into a header."""
    query_id = request.query_params.get("query_id", "")
    if len(query_id) > 200 or not re.fullmatch(r"[ -~]*", query_id):
        raise QueryError.named(BAD_ARGUMENTS, "query_id takes up to 200 printable ASCII characters", "BAD_ARGUMENTS")
    return query_id


def _format(request: Request) -> str:
    name = request.query_params.get("default_format") or request.headers.get("X-ClickHouse-Format", "TabSeparated")
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise QueryError.named(73, f"Unknown format {name!r}", "UNKNOWN_FORMAT")
    return name


def _version(request: Request) -> int:
    text = request.query_params.get("client_protocol_version", "0")
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise QueryError.named(BAD_ARGUMENTS, f"client_protocol_version takes a number, not {text!r}", "BAD_ARGUMENTS")
    return int(text)


def _unknown(reason: str) -> QueryError:
    return QueryError.named(AUTHENTICATION_FAILED, reason, "AUTHENTICATION_FAILED")


def _credentials(request: Request) -> tuple[str, str]:
    """(user, password) from ClickHouse's headers, basic authentication or the URL; empty if not given."""
    headers, parameters = request.headers, request.query_params
    if "X-ClickHouse-User" in headers:
        return headers["X-ClickHouse-User"], headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unknown("The header Authorization is malformed") from None
        return user, password
    return parameters.get("user", ""), parameters.get("password", "")


def _bind(settings: Settings) -> socket.socket:
    """A socket bound to the loopback address in SMW_CLICKHOUSE_URL. Raises UserError."""
    address = urlsplit(settings.clickhouse.url)
    host, port = address.hostname or "", address.port or 8123
    if not is_loopback(host):
        raise UserError(
            f"SMW_CLICKHOUSE_URL={settings.clickhouse.url} is not on this machine: "
            "the local endpoint serves a loopback address, such as http://127.0.0.1:8123"
        )
    return serving.listener(host, port, "SMW_CLICKHOUSE_URL")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create the data folder if it is missing, and lock it against a second endpoint. Raises UserError."""
    try:
        private_folder(folder)
        with exclusive(folder / "endpoint.lock"):
            yield
    except BlockingIOError:
        raise UserError(f"{folder} is in use by another endpoint; stop that one, or set SMW_HOME to another folder") from None
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({error.strerror}); make it writable, or set SMW_HOME to another folder") from None


def _certificate(settings: Settings) -> tuple[str, str]:
    """The files of the certificate and its key; empty if SMW_CLICKHOUSE_URL is not https. Raises UserError."""
    clickhouse = settings.clickhouse
    if not clickhouse.url.startswith("https:"):
        return "", ""
    if reason := serving.why_no_certificate(clickhouse.certificate, clickhouse.key):
        raise UserError(
            f"SMW_CLICKHOUSE_URL={clickhouse.url}: set SMW_CLICKHOUSE_CERTIFICATE and SMW_CLICKHOUSE_KEY to PEM files that belong together "
            f"({reason})"
        )
    return clickhouse.certificate, clickhouse.key


def _end_with_the_engine(error: QueryError) -> NoReturn:
    """End the process, so that its supervisor restarts it: an engine that has crashed refuses every later statement."""
    log.critical("The engine has crashed, so the endpoint ends: %s", error)
    os._exit(CRASHED)  # the engine's threads prevent any other exit


def _allow_many_connections() -> None:
    """Raise the limit of open files to its maximum, so that clients that only wait do not keep others out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _make_password(settings: Settings) -> None:
    """Generate a password for the writer if none is set, which happens at the first start."""
    if not writer_password(settings):
        write_private(password_file(settings), secrets.token_urlsafe(24))


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises UserError when the endpoint cannot start."""
    folder = settings.stack.home / "clickhouse"
    certificate, key = _certificate(settings)
    with _bind(settings) as sock, _locked(folder):
        _make_password(settings)
        engine = Engine(folder, settings.clickhouse.database)
        try:
            app = Endpoint(engine, settings).app
            _allow_many_connections()
            log.info("ClickHouse %s (embedded) at %s, data in %s", engine.version, settings.clickhouse.url, folder)
            serving.server(app, certificate, key, LAST_S).run(sockets=[sock])
        finally:
            engine.close()


def main() -> int:
    """Serve until the process is stopped. Returns the exit code."""
    logs.configure("endpoint")
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn stops gracefully, then raises the signal again
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        serve(Settings.load())
    except (UserError, SettingsError) as error:
        return reports.fail("endpoint", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
