"""What tests of the topics that a job's workers read share."""

from __future__ import annotations

import pytest


@pytest.fixture
def open_source():
    """Opens sources (jobs.flink.sources), as a worker does, and closes them at the end."""
    opened = []

    def open_source(source):
        source.open()
        opened.append(source)
        return source

    yield open_source
    for source in opened:
        source.close()
