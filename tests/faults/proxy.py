"""A slow and unreliable way to ClickHouse: a TCP proxy that disturbs some inserts."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

SLOW_S = 1.0
OF_AN_INSERT = b"Content-Encoding: lz4"  # in the head of its request
FAULTS = ("slow", "cut", "mute", "lost")
"""Faults of an insert: the answer is late; the connection breaks in the middle of the insert; there is no answer; the
connection breaks before the answer."""


class Proxy:
    """Serves 127.0.0.1:port until it is closed. faults: one for each insert in turn, None for no fault."""

    def __init__(self, upstream: tuple[str, int], faults: Iterator[str | None]):
        self.upstream, self.faults, self.done = upstream, faults, Counter()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.upstream) as server, suppress(OSError):  # one of the two has gone
            self.pass_on(client, server)

    def pass_on(self, client: socket.socket, server: socket.socket) -> None:
        fault, answered, pieces = None, True, 0
        while True:
            readable, _, _ = select.select([client, server], [], [])
            source = readable[0]
            data = source.recv(65_536)
            if not data:
                return
            if source is client:
                if answered:
                    fault, answered, pieces = next(self.faults) if OF_AN_INSERT in data else None, False, 0
                    self.done[fault] += 1
                pieces += 1
                if fault == "cut" and pieces == 2:
                    server.sendall(data[: len(data) // 2])
                    return
                server.sendall(data)
                continue
            if fault in ("cut", "lost"):
                return
            if fault == "slow" and not answered:
                time.sleep(SLOW_S)
            answered = True
            if fault != "mute":
                client.sendall(data)
