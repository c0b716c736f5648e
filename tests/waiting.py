"""How tests wait for what comes by itself."""

from __future__ import annotations

import time

from clickhouse_connect.driver.exceptions import ClickHouseError

from smartmeter.errors import UserError


def until(condition, timeout_s: float = 120):
    """The first true value of condition(), which may fail while tables or services are not there. Fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if value := condition():
                return value
            assert time.monotonic() < deadline, "waited in vain"
        except (ClickHouseError, UserError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
