"""The channels of registers, set apart from those of power: hand-worked values."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.core.readings import read
from smartmeter.messages.codec import EXPORT, IMPORT, POWER, Burst, encode_burst

BURST = Burst(
    7,
    "UTC",
    1_303_132_800_000,
    1_303_132_810_000,
    1000,
    np.array([1, 2, 1, 1], np.int32),
    np.array([2, 1, 3, 2], np.int32),
    np.array([0, 4, 3, 1, 2, 5, 0, 9], np.int32),
    np.array([10, 20, 30], np.float32),
    np.array([POWER, POWER, IMPORT, EXPORT], np.int32),
    np.array([0, 1800, 3600, 0], np.int32),
    np.array([5_000_000_000_000, 1000, 0, 7, 2**62], np.int64),
)


def decoded(*bursts):
    readings, reasons = read([encode_burst(burst) for burst in bursts], 2**50)
    assert reasons == {}
    return readings


def test_registers_and_power_have_columns_of_their_own():
    readings = decoded(BURST, replace(BURST, house_id=9))
    columns, registers = readings.columns, readings.registers
    assert readings.bursts["channels"].tolist() == [2, 2] and columns.meter_id.tolist() == [1, 2] * 2
    assert columns.period_ms.tolist() == [0, 1_800_000] * 2 and columns.watts.tolist() == [10, 20, 30] * 2
    assert columns.gap_ms.tolist() == [0, 4000, 3000] * 2
    assert registers.channels.tolist() == [(0, 1, IMPORT, 3), (0, 1, EXPORT, 2), (1, 1, IMPORT, 3), (1, 1, EXPORT, 2)]
    assert registers.gap_ms.tolist() == [1000, 2000, 5000, 0, 9000] * 2
    assert registers.energy_mwh.tolist() == [5_000_000_000_000, 5_000_000_001_000, 5_000_000_001_000, 7, 2**62 + 7] * 2
    assert (readings.bursts["newest_ms"] - BURST.start_ms).tolist() == [9000] * 2


@pytest.mark.parametrize(
    "energies, kept, refused",
    [
        ([-1, 2, 3, 7, 0], [(3000, 1), (5000, 4), (0, 7), (9000, 7)], [(0, 1000)]),
        ([5, -6, 7, 7, 0], [(1000, 5), (7000, 6), (0, 7), (9000, 7)], [(0, 3000)]),
        ([2**63 - 1, 1, -1, 7, 0], [(1000, 2**63 - 1), (7000, 2**63 - 1), (0, 7), (9000, 7)], [(0, 3000)]),
        ([2**63 - 1, 2**63 - 1, 2**63 - 1, 7, 0], [(1000, 2**63 - 1), (0, 7), (9000, 7)], [(0, 3000), (0, 8000)]),
    ],
)
def test_a_value_that_no_register_shows_is_refused_alone(energies, kept, refused):
    registers = decoded(replace(BURST, energies=np.array(energies, np.int64))).registers
    assert list(zip(registers.gap_ms.tolist(), registers.energy_mwh.tolist())) == kept
    assert [(channel, time_ms - BURST.start_ms) for channel, time_ms, _ in registers.refused.tolist()] == refused


def test_times_out_of_order_cost_their_channel_alone():
    registers = decoded(replace(BURST, deltas=np.array([0, 4, 3, 1, 0, 5, 0, 9], np.int32))).registers
    assert registers.channels["readings"].tolist() == [0, 2] and registers.energy_mwh.tolist() == [7, 2**62 + 7]
    assert registers.refused.tolist() == [(0, BURST.start_ms, 3)]
