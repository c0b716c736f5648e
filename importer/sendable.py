"""What the streams carry today: power, in W, negative where it is fed in. The one place that refuses or leaves out all else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from generator.channels import DatasetError, note
from importer.formats.series import Batch, Series
from smartmeter.arrays import Float32s
from smartmeter.settings import LONGEST_HOLD_S


def refuse(series: Series, place: str) -> None:
    """Raise DatasetError for a series that cannot be sent."""
    if series.interval_s > LONGEST_HOLD_S:
        raise DatasetError(
            f"{place}: its intervals are {series.interval_s:,.0f} s long, and a reading holds for a day, {LONGEST_HOLD_S:,} s, at most; "
            f"give shorter intervals, or leave it out with --without {series.label!r}"
        )


def watts(batch: Batch) -> Float32s:
    """The values of a batch of power or energy in W; what is fed in is negative."""
    return (batch.values * batch.series.watts_per_value).astype(np.float32)


def without_registers(registers: Iterable[Series], sent: set[tuple[str, int]]) -> None:
    """Note registers of meters whose power is sent. Raises DatasetError for one alone. sent: (house, meter) of power."""
    beside = 0
    for series in registers:
        if (series.house, series.meter_id) not in sent:
            raise DatasetError(
                f"house {series.house}: {series.label} has a register and no power, which cannot be sent yet; leave it out with "
                f"--without {series.label!r}"
            )
        beside += 1
    if beside:
        note(f"the registers of {beside:,} meters are left out, as their power is sent")
