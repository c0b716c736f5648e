"""The sink within a test's own process, for tests that change it or read its log."""

from __future__ import annotations

import threading
from contextlib import contextmanager


@contextmanager
def running(sink):
    """The sink in a thread, stopped at the end."""
    thread = threading.Thread(target=sink.run)
    thread.start()
    try:
        yield sink
    finally:
        sink.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()
