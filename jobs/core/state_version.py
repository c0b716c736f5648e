"""State of an earlier release: read it, or refuse it with a message on what to do."""

from __future__ import annotations

import numpy as np

from smartmeter.arrays import Rows


class StateFault(ValueError):
    """State that cannot be read or written. No Kafka message is at fault, so Flink restarts the job."""


def require_version(version: int, understood: int) -> None:
    """Raise StateFault if the state has a version that this release cannot read."""
    if version != understood:
        raise StateFault(
            f"a checkpoint of state version {version}, but this release reads version {understood}: "
            "restore it with the release that wrote it, or start without it, which reads the topic again (docs/upgrade.md)"
        )


def widened(rows: Rows, dtype: np.dtype[np.void]) -> Rows:
    """Rows of an earlier version of a dtype, converted to that dtype. Missing fields become 0."""
    if rows.dtype == dtype:
        return rows
    wide = np.zeros(len(rows), dtype)
    for name in rows.dtype.names or ():
        wide[name] = rows[name]
    return wide
