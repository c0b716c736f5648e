"""A real schema registry (Apicurio's), and a door before it that asks for a password and can be shut."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from confluent_kafka.schema_registry import SchemaRegistryClient

from smartmeter.settings import ROOT
from stack import broker, ports, services
from stack.ports import LOOPBACK
from stack.processes import Processes
from tests.certificates import Authority

JARS = ROOT / "jars" / "registry"
API = "/apis/ccompat/v7"
PASSWORDS = {"ann": "open, sesame: now", "reader": "read only"}


@dataclass
class Registry:
    """Where the real registry answers."""

    url: str
    secure_url: str  # with a certificate of the authority
    authority: Path


def start_registry(processes: Processes, folder: Path) -> Registry:
    """Start a registry in memory that rejects a change of a subject which later readers could not read. folder: for its certificates."""
    authority = Authority(folder)
    certificate, key = authority.issue(LOOPBACK)
    port, secure_port = ports.free_port(), ports.free_port()
    [jar] = JARS.glob("*-runner.jar")
    options = {
        "http.host": LOOPBACK,
        "http.port": port,
        "http.ssl-port": secure_port,
        "http.insecure-requests": "enabled",
        "http.ssl.certificate.files": certificate,
        "http.ssl.certificate.key-files": key,
    }
    processes.start(
        "registry",
        ["java", "-Xmx256m", *broker.QUICK_START, *(f"-Dquarkus.{name}={value}" for name, value in options.items()), "-jar", str(jar)],
        {},
    )
    url = f"http://{LOOPBACK}:{port}{API}"
    processes.wait_until(lambda: services.answers(f"{url}/subjects"), "no registry answers")
    SchemaRegistryClient({"url": url}).set_compatibility(level="BACKWARD")
    return Registry(url, f"https://{LOOPBACK}:{secure_port}{API}", authority.file)


class Door:
    """A proxy before a registry: requires a user and password, lets "reader" register nothing, and records the requested paths."""

    def __init__(self, target: str):
        self.target, self.requested = target, []
        self.port = ports.free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Door:
        door = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
                self.reply(*door.answer(self.command, self.path, self.headers, body))

            do_GET = do_POST = do_PUT = answer

            def reply(self, status: int, body: bytes):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_): ...

        self.server = ThreadingHTTPServer((LOOPBACK, self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """No request is answered inside this block."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def answer(self, method: str, path: str, headers, body: bytes | None) -> tuple[int, bytes]:
        """(status, body) for a request."""
        self.requested.append(path)
        users = {"Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(): user for user, password in PASSWORDS.items()}
        user = users.get(headers.get("Authorization"))
        if user is None:
            return 401, b'{"error_code": 401, "message": "Unauthorized"}'
        if user == "reader" and method == "POST" and path.startswith("/subjects/") and "/versions" in path:
            return 403, b'{"error_code": 403, "message": "Forbidden"}'
        try:
            with urlopen(Request(self.target + path, body, {"Content-Type": "application/json"}, method=method)) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
