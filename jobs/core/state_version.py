"""State that an earlier release wrote: read, or refused with what to do."""

from __future__ import annotations

import numpy as np


class StateFault(ValueError):
    """State that cannot be read or written; the message says what to do. It is no message's fault."""


def require_version(version: int, understood: int) -> None:
    """Raise StateFault when state was written by a release that this one does not understand."""
    if version != understood:
        raise StateFault(f"a checkpoint of state version {version}, where {understood} is understood: "
                         "restore it with the release that wrote it, or replay")


def widened(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rows of an earlier version of a dtype as that dtype has them: fields that they lack are 0."""
    if rows.dtype == dtype:
        return rows
    wide = np.zeros(len(rows), dtype)
    for name in rows.dtype.names or ():
        wide[name] = rows[name]
    return wide
