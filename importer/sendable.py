"""What the streams carry today: power drawn, in W. The one place that refuses or leaves out all else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from generator.channels import DatasetError, note
from importer.formats.series import Batch, Faults, Series
from smartmeter.arrays import Float32s


def refuse(series: Series, place: str, max_gap_s: float) -> None:
    """Raise DatasetError for a series that cannot be sent. max_gap_s: the longest time that a reading holds."""
    if series.interval_s > max_gap_s:
        raise DatasetError(
            f"{place}: its intervals are {series.interval_s:,.0f} s long, and a reading holds for {max_gap_s:,.0f} s at most, so energy "
            f"would be missing; set SMW_MAX_GAP_S={series.interval_s:.0f} for the stack and for this command"
        )


def watts(batch: Batch, faults: Faults) -> tuple[Batch, Float32s]:
    """(the values that can be sent, those in W) of a batch of power or energy. Export, which is negative, goes to faults."""
    drawn = batch.series.factor * batch.values >= 0
    if not drawn.all():
        rows = np.flatnonzero(~drawn).tolist()
        faults.add(batch.place, ((int(batch.lines[row]), _is_export(batch, row)) for row in rows))
        batch = batch.where(drawn)
    return batch, (batch.values * batch.series.watts_per_value).astype(np.float32)


def _is_export(batch: Batch, row: int) -> str:
    return f"{batch.series.label}: {batch.values[row]:.12g} {batch.series.unit}: less than 0, so it feeds the house or the grid, which cannot be sent yet"


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
