"""What the streams carry, and what is refused in one sentence."""

import numpy as np
import pytest

from generator.channels import DatasetError
from importer import sendable
from importer.formats.series import Batch, Faults
from tests.unit.test_series import series


def test_power_and_energy_are_sent_in_watts(tmp_path):
    batch = Batch(series("energy", "kWh", 1800), np.arange(3), np.array([0.5, -0.1, 0]), "f", np.array([2, 3, 4]))
    with pytest.raises(
        DatasetError, match="f:3: mains: -0.1 kWh: less than 0, so it feeds the house or the grid, which cannot be sent yet"
    ):
        sendable.watts(batch, Faults())
    kept, watts = sendable.watts(batch, Faults(tmp_path / "bad"))
    assert watts.dtype == np.float32 and (kept.lines.tolist(), watts.tolist()) == ([2, 4], [1000, 0])


def test_long_intervals_are_refused_with_the_setting_that_carries_them():
    half_hours = series("energy", "kWh", 1800)
    with pytest.raises(
        DatasetError, match="f: its intervals are 1,800 s long, .* set SMW_MAX_GAP_S=1800 for the stack and for this command"
    ):
        sendable.refuse(half_hours, "f", 1799)
    sendable.refuse(half_hours, "f", 1800)
    sendable.refuse(series(), "f", 1000)


def test_registers_need_power_beside_them(caplog):
    sendable.without_registers([series("import", "kWh")], {("1", 1)})
    assert "the registers of 1 meters are left out, as their power is sent" in caplog.text
    with pytest.raises(
        DatasetError, match="house 1: mains has a register and no power, which cannot be sent yet; leave it out with --without"
    ):
        sendable.without_registers([series("import", "kWh")], {("2", 1)})
