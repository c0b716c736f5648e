"""What the streams carry, and what is refused in one sentence."""

import numpy as np
import pytest

from generator.channels import DatasetError
from importer import sendable
from importer.formats.series import Batch
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


def test_registers_need_power_beside_them(caplog):
    sendable.without_registers([series("import", "kWh")], {("1", 1)})
    assert "the registers of 1 meters are left out, as their power is sent" in caplog.text
    with pytest.raises(
        DatasetError, match="house 1: mains has a register and no power, which cannot be sent yet; leave it out with --without"
    ):
        sendable.without_registers([series("import", "kWh")], {("2", 1)})
