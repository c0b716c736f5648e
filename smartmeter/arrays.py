"""Types of NumPy arrays, for signatures. A comment or docstring beside each states its shape, and for Rows its dtype."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
Rows = NDArray[np.void]
"""Rows of a structured dtype, such as jobs.core.energy.HOUR."""
