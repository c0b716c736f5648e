"""What the streams carry: power, in W, negative where it is fed in, and registers, in mWh. The one place that refuses all else."""

from __future__ import annotations

import numpy as np

from generator.channels import DatasetError
from importer.formats.series import PER_UNIT, Batch, Faults, Series
from smartmeter.arrays import Float32s, Floats
from smartmeter.settings import LONGEST_HOLD_S

QUANTITIES = {"import": 1, "export": 2}
"""Series.quantity of a register -> its quantity in a burst."""
MOST_MWH = 2**53
"""Up to which a float64 has whole numbers: 9 TWh."""


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


def mwh(batch: Batch, faults: Faults) -> tuple[Batch, Floats]:
    """(the values of a register that can be sent, those in whole mWh). Others go to faults."""
    values = np.rint(batch.values * batch.series.scale * PER_UNIT[batch.series.unit] * 1000)
    fits = (values >= 0) & (values <= MOST_MWH)
    if not fits.all():
        what = f"{batch.series.label}: {{:.12g}} {batch.series.unit}: a register has 0 to {MOST_MWH / 1e6:,.0f} kWh"
        faults.add(batch.place, ((int(batch.lines[row]), what.format(batch.values[row])) for row in np.flatnonzero(~fits)))
    return batch.where(fits), values[fits]
