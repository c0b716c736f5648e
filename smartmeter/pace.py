"""Progress lines on standard error."""

from __future__ import annotations

import sys
import time

LINE_EVERY_S = 2


class Pace:
    """Prints progress, speed and the remaining time every 2 s."""

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done = what, total, 0
        self._begun = self._shown = time.monotonic()

    def add(self, done: int) -> None:
        """Count what is done, and print a line if one is due."""
        self._done += done
        now = time.monotonic()
        if now - self._shown >= LINE_EVERY_S:
            self._shown, rate = now, self._done / (now - self._begun)
            left_s = max(self._total - self._done, 0) / rate
            print(f"{self._done:,} of {self._total:,} {self._what}, {rate:,.0f} a second, about {left_s:.0f} s left", file=sys.stderr)
