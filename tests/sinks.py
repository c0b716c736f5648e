"""The sink within a test's own process, for tests that change it or read its log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
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


@contextmanager
def logged() -> Iterator[list[tuple[str, str]]]:
    """(level, message) of each line that the sink logs meanwhile."""
    lines, log, handler = [], logging.getLogger("sink"), logging.Handler()
    handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lines
    log.setLevel(before)
    log.removeHandler(handler)
