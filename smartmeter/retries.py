"""When a failed delivery or connection is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FIRST_S = 1.0
LONGEST_S = 300.0
LEAST_SHARE = 0.5
"""The wait is between this share of the whole and all of it, so that receivers that failed together are not tried together."""


@dataclass
class Backoff:
    """Waits that double with each failure, up to five minutes."""

    failures: int = 0
    random: random.Random = field(default_factory=random.Random)

    def failed(self) -> float:
        """Note a failure. Returns the time until the next attempt, in s."""
        whole_s = min(FIRST_S * 2.0 ** min(self.failures, 30), LONGEST_S)
        self.failures += 1
        return whole_s * self.random.uniform(LEAST_SHARE, 1)

    def worked(self) -> None:
        """Note a success."""
        self.failures = 0
