"""What the streams carry, and what is refused in one sentence."""

import numpy as np
import pytest

from generator.channels import DatasetError
from importer import sendable
from importer.formats.series import Batch, Faults
from tests.unit.test_series import series


def test_power_and_energy_are_sent_in_watts_and_export_is_negative():
    batch = Batch(series("energy", "kWh", 1800), np.arange(3), np.array([0.5, -0.25, 0]), "f", np.array([2, 3, 4]))
    watts = sendable.watts(batch)
    assert watts.dtype == np.float32 and watts.tolist() == [1000, -500, 0]


def test_intervals_of_more_than_a_day_are_refused():
    with pytest.raises(
        DatasetError, match="f: its intervals are 604,800 s long, and a reading holds for a day, 90,000 s, at most; give shorter"
    ):
        sendable.refuse(series("energy", "kWh", 604_800), "f")
    sendable.refuse(series("energy", "kWh", 90_000), "f")
    sendable.refuse(series(), "f")


def test_registers_are_sent_in_whole_mwh(tmp_path):
    batch = Batch(series("import", "kWh"), np.arange(4), np.array([82.042, -0.1, 0, 1e12]), "f", np.array([2, 3, 4, 5]))
    with pytest.raises(DatasetError, match="f:3: mains: -0.1 kWh: a register has 0 to 9,007,199,255 kWh"):
        sendable.mwh(batch, Faults())
    kept, mwh = sendable.mwh(batch, Faults(tmp_path / "bad"))
    assert (kept.lines.tolist(), mwh.tolist()) == ([2, 4], [82_042_000, 0])
