"""Receivers of notifications: an HTTP server that fails as a test wants, a mail server, an MQTT broker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from stack.ports import free_port
from tests.mosquitto import USER, Mosquitto

SECRET = "s3cr3t-f7a1"
"""Part of every address: no log and no message may hold it."""


class Webhook:
    """Answers each request as the next of `answers` says: a status, a status and its Retry-After, or "hang"; with the last one again and again."""

    def __init__(self, *answers: int | tuple[int, str] | str, before: Callable[[int], None] = lambda number: None):
        self.answers, self.before = list(answers) or [200], before
        self.requests: list[dict] = []  # of all, also those that failed
        self.keys: list[str] = []
        self.at_s: list[float] = []  # when each came
        self.taken: list[dict] = []  # of those that were acknowledged
        self.ended = threading.Event()

    @property
    def events(self) -> list[list[str]]:
        """The events in each acknowledged message."""
        return [[alert["annotations"]["event"] for alert in document["alerts"]] for document in self.taken]

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        document = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        number = len(self.requests)
        self.requests.append(document)
        self.at_s.append(time.monotonic())
        self.keys.append(request.headers["Idempotency-Key"])
        self.before(number)
        answer = self.answers[min(number, len(self.answers) - 1)]
        if answer == "hang":
            self.ended.wait()
            return
        if answer == 200:
            self.taken.append(document)
        status, *retry_after = answer if isinstance(answer, tuple) else (answer,)
        request.send_response(status)
        for value in retry_after:
            request.send_header("Retry-After", value)
        request.end_headers()

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its address."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                hook.handle(self)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"webhook+http://127.0.0.1:{server.server_port}/{SECRET}"
        finally:
            self.ended.set()
            server.shutdown()
            server.server_close()


class Mailbox:
    """Keeps the mails of a mail server."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its address, with a user and a password."""

        def is_user(server, session, envelope, mechanism, login):
            return AuthResult(success=login.login == b"meters" and login.password == SECRET.encode(), handled=False)

        port = free_port()
        controller = Controller(self, "127.0.0.1", port, authenticator=is_user, auth_required=True, auth_require_tls=False)
        controller.start()
        try:
            yield f"mailto://meters:{SECRET}@127.0.0.1:{port}?mode=insecure&from=meters@example.org&to=ann@example.org"
        finally:
            controller.stop()


@contextmanager
def mosquitto(folder: Path) -> Iterator[str]:
    """The address of a topic of a broker that requires a user."""
    with Mosquitto(folder, SECRET) as broker:
        yield f"mqtt://{USER}:{SECRET}@127.0.0.1:{broker.port}/home/alerts"


@contextmanager
def subscribed(port: int, topic: str) -> Iterator[list[dict]]:
    """The JSON documents that are published to a topic meanwhile."""
    client, found, ready = mqtt.Client(CallbackAPIVersion.VERSION2), [], threading.Event()
    client.username_pw_set(USER, SECRET)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: found.append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(topic, qos=1)
    assert ready.wait(60)
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()
