"""Runs of equal values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def begins(*columns: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Index of the first row of each run of equal rows in columns (n,)."""
    new = np.zeros(len(columns[0]), bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)
