"""Confidence intervals of 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054
"""97.5 % of a normal distribution lies below this many standard deviations."""

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
    """(events a week, low, high) from the number of events of each day (at least one day).

    The interval spans that of a bootstrap over the days, since alarms come in clusters, and Poisson's, since few days differ little by chance.
    """
    total, days = sum(counts), len(counts)
    values, of_value = np.unique(counts, return_counts=True)
    sums = np.random.default_rng(seed).multinomial(days, of_value / days, RESAMPLES) @ values
    (low, high), (least, most) = np.quantile(sums, [0.025, 0.975]).tolist(), poisson(total)
    return total * 7 / days, min(low, least) * 7 / days, max(high, most) * 7 / days


def poisson(total: int) -> tuple[float, float]:
    """The interval of the mean of which `total` events were counted, by Byar's approximation.

    From 5 events on, its bounds are within 1 % of the exact ones.

    >>> [round(bound, 2) for bound in poisson(6)]
    [2.19, 13.06]
    """

    def bound(events: int, sign: int) -> float:
        return events * (1 - 1 / (9 * events) + sign * Z / (3 * math.sqrt(events))) ** 3

    return bound(total, -1) if total else 0.0, bound(total + 1, 1)
