"""How tests wait for what comes by itself."""

from __future__ import annotations

import time

from clickhouse_connect.driver.exceptions import ClickHouseError

from smartmeter.errors import UserError

STILL_S = 900
"""How long nothing moves before a wait fails: what takes a second may take minutes on a small machine that is busy."""
PAUSE_S, LONGEST_PAUSE_S, PAUSE_PER_LOOK = 0.1, 2, 8
"""Between two looks. The longer a look takes, the longer the pause: so waiting takes little from what is waited for."""
PROGRESS_EVERY_S = 10


def until(condition, progress=lambda: None, still_s: float = STILL_S):
    """The first true value of condition(), which may fail while tables or services are not there.

    Fails when there is none and progress() has stayed the same for still_s, so slow progress does not fail.
    """
    moved = time.monotonic()
    looked, before = moved, None
    while True:
        begun = time.monotonic()
        try:
            if value := condition():
                return value
            if begun > looked + PROGRESS_EVERY_S:
                looked = begun
                if (now := progress()) != before:
                    moved, before = time.monotonic(), now
            assert time.monotonic() < moved + still_s, "nothing moves"
        except (ClickHouseError, UserError):
            if time.monotonic() > moved + still_s:
                raise
        time.sleep(min(max(PAUSE_S, PAUSE_PER_LOOK * (time.monotonic() - begun)), LONGEST_PAUSE_S))
