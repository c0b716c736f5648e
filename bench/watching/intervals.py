"""Confidence intervals of 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054
"""97.5 % of a normal distribution lies below this many standard deviations."""

NONE_SEEN = -math.log(0.025)
"""Highest mean of a Poisson distribution that still gives 0 with a probability of 2.5 %."""

RESAMPLES = 2000


def wilson(found: int, of: int) -> tuple[float, float]:
    """Wilson's interval for a share of which `found` of `of` were counted; 0 to 1 if `of` is 0.

    >>> [round(bound, 4) for bound in wilson(15, 30)]
    [0.3315, 0.6685]
    """
    if not of:
        return 0.0, 1.0
    share, spread = found / of, Z * Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / of / 4)
    return max(0.0, middle - half) if found else 0.0, min(1.0, middle + half) if found < of else 1.0


def weekly(counts: Sequence[int], seed: int) -> tuple[float, float, float]:
    """(events a week, low, high) from the number of events of each day, by a bootstrap over the days.

    Alarms come in clusters, so days are drawn and not alarms. If there was no event, `high` is the exact Poisson bound.
    """
    if not len(counts):
        raise ValueError("no days")
    total, days = sum(counts), len(counts)
    if not total:
        return 0.0, 0.0, NONE_SEEN * 7 / days
    values, of_value = np.unique(counts, return_counts=True)
    sums = np.random.default_rng(seed).multinomial(days, of_value / days, RESAMPLES) @ values
    low, high = np.quantile(sums, [0.025, 0.975]).tolist()
    return total * 7 / days, low * 7 / days, high * 7 / days
