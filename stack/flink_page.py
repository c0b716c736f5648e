"""A filter before Flink's web page and REST API: `python -m stack.flink_page HOST:PORT`, run by the local stack and the containers.

Flink's own REST port accepts programs from any client, including any web page in a browser on this machine: it checks neither Host nor
Origin, lets pages of any origin read, and ends jobs on a GET. So browsers and ./smw go through this server, which

- answers requests for its own Host and Origin only (smartmeter.hosts);
- forwards requests that read, and savepoints as JSON, which a page of another origin cannot send without a preflight. Nothing else.
"""

from __future__ import annotations

import argparse
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from smartmeter import logs
from smartmeter.hosts import Gate, OwnHost
from smartmeter.settings import Settings
from stack import rest_keys

SAVEPOINT = re.compile(r"/jobs/[0-9a-f]{32}/(stop|savepoints)")
ENDS_OR_RUNS = {"yarn-cancel", "yarn-stop", "jars"}
"""Parts of a path with which a GET ends a job or runs a program."""
AS_IT_IS = {"accept-encoding": "identity"}
PASSED_ON = ("accept", "content-type", "if-modified-since")
PASSED_BACK = ("content-type", "content-disposition", "content-length", "last-modified", "cache-control", "etag", "expires")
LONGEST_BODY_BYTES = 10_000
TIMEOUT_S = 30


def refusal(method: str, path: str, content_type: str) -> str | None:
    """Why a request is not forwarded; None if it is. path: as decoded by the server."""
    if method in ("GET", "HEAD"):
        return f"{method} {path} changes something" if ENDS_OR_RUNS & set(path.split("/")) else None
    if method != "POST" or not SAVEPOINT.fullmatch(path):
        return f"{method} {path} is not passed on: this page reads, and takes savepoints"
    return None if content_type == "application/json" else f"{method} {path} takes application/json"


def app(flink: str, gate: Gate, verify: ssl.SSLContext | None = None) -> Starlette:
    """The server for a Flink whose REST API is at the URL `flink`."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
        async with httpx.AsyncClient(base_url=flink, verify=verify or True, timeout=TIMEOUT_S, trust_env=False) as client:
            yield {"client": client}

    return Starlette(
        routes=[Route("/{path:path}", pass_on, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])],
        middleware=[Middleware(OwnHost, gate=gate)],
        lifespan=lifespan,
    )


async def pass_on(request: Request) -> Response:
    """Flink's answer, 403 or 413 with the reason, or 502 if no Flink answers."""
    headers, path = request.headers, request.scope["path"]
    if reason := refusal(request.method, path, headers.get("content-type", "")):
        return PlainTextResponse(f"{reason}\n", 403)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY_BYTES:
            return PlainTextResponse(f"a body takes {LONGEST_BODY_BYTES} bytes at most\n", 413)
    client: httpx.AsyncClient = request.state.client
    url = httpx.URL(path=quote(path)) if not request.url.query else httpx.URL(f"{quote(path)}?{request.url.query}")
    sent = client.build_request(
        request.method, url, content=body, headers=AS_IT_IS | {name: headers[name] for name in PASSED_ON if name in headers}
    )
    try:
        answer = await client.send(sent, stream=True)
    except httpx.TransportError:
        return PlainTextResponse("no Flink answers\n", 502)
    return StreamingResponse(
        answer.aiter_raw(),
        answer.status_code,
        {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers},
        background=BackgroundTask(answer.aclose),
    )


def main() -> None:
    """Serve until the process is stopped."""
    logs.configure("flink_page")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs each request
    settings = Settings.load()
    parser = argparse.ArgumentParser(prog="python -m stack.flink_page", description=__doc__.partition("\n")[0])
    parser.add_argument("flink", metavar="HOST:PORT", help="Flink's REST address")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder of the keys for mutual TLS with Flink (default: plain HTTP)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen at (default: 127.0.0.1); in a container 0.0.0.0")
    parser.add_argument("--port", type=int, default=settings.flink.ui_port, help="port to listen at (default: SMW_FLINK_UI_PORT)")
    args = parser.parse_args()
    scheme, context = ("https", rest_keys.client_context(args.keys)) if args.keys else ("http", None)
    gate = Gate(settings, args.address, pages=True)
    uvicorn.run(
        app(f"{scheme}://{args.flink}", gate, context),
        host=args.address,
        port=args.port,
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
