"""The sink within a test's own process, for tests that change it or read its log."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from tests.waiting import STILL_S


@contextmanager
def running(sink):
    """The sink in a thread, stopped at the end."""
    thread = threading.Thread(target=sink.run)
    thread.start()
    try:
        yield sink
    finally:
        sink.stop()
        thread.join(timeout=STILL_S)
        assert not thread.is_alive()
