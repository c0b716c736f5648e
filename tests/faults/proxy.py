"""A slow and unreliable way to a server: a TCP proxy that does something wrong to each request whose turn it is."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

SLOW_S = 1.0
FAULTS = ("slow", "cut", "mute", "lost")
"""What may happen to a request: the answer comes late; the connection breaks in the midst of the request; no answer comes at
all; the connection breaks before the answer."""


class Proxy:
    """Serves 127.0.0.1:port until it is closed. faults: of each request in turn, None for none."""

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
        with client, socket.create_connection(self.upstream) as server:
            try:
                self.pass_on(client, server)
            except OSError:  # one of the two has gone
                pass

    def pass_on(self, client: socket.socket, server: socket.socket) -> None:
        fault, answered = None, True
        while True:
            readable, _, _ = select.select([client, server], [], [])
            source = readable[0]
            data = source.recv(65_536)
            if not data:
                return
            if source is client:
                if answered:
                    fault, answered = next(self.faults), False
                    self.done[fault] += 1
                if fault == "cut":
                    server.sendall(data[:len(data) // 2])
                    return
                server.sendall(data)
                continue
            if fault == "lost":
                return
            if fault == "slow" and not answered:
                time.sleep(SLOW_S)
            answered = True
            if fault != "mute":
                client.sendall(data)
