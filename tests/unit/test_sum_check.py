"""Which quantity of a meter decides its hours, and both figures of its days: hand-worked values."""

import numpy as np
import pytest

from jobs.core.energy import HOUR
from jobs.core.registers import EARLIER_MS, REGISTER_HOUR
from jobs.core.sum_check import days_of_registers, decided
from jobs.core.totals import RESULT
from smartmeter.messages.codec import EXPORT, IMPORT

HOUR_MS, DAY, KWH_MJ, KWH = 3_600_000, 10, 3_600_000_000, 1_000_000
MIDNIGHTS = np.arange(30) * 24 * HOUR_MS
AT = DAY * 24 * HOUR_MS


def powers(*rows):
    """HOUR of (meter, hour, kWh drawn, kWh fed in, share of the hour covered)."""
    hours = np.zeros(len(rows), HOUR)
    for row, (meter, hour, drawn, fed_in, covered) in zip(hours, rows):
        row["meter_id"], row["day"], row["start_ms"] = meter, DAY, AT + hour * HOUR_MS
        row["energy_mj"], row["exported_mj"], row["covered_ms"] = drawn * KWH_MJ, fed_in * KWH_MJ, covered * HOUR_MS
    return hours


def registers(*rows):
    """REGISTER_HOUR of (meter, hour, kWh, share of the hour covered, faults)."""
    hours = np.zeros(len(rows), REGISTER_HOUR)
    for row, (meter, hour, kwh, covered, faults) in zip(hours, rows):
        row["meter_id"], row["day"], row["start_ms"] = meter, DAY, EARLIER_MS if hour is None else AT + hour * HOUR_MS
        row["mwh"], row["covered_ms"], row["faults"] = kwh * KWH, covered * HOUR_MS, faults
    return hours


def judged(of_power, of_registers, running=23):
    """running: the hour of the house's newest reading. (meter -> (kWh, exported kWh, hours covered), [(meter, hour, kWh, exported kWh, covered)], figures by meter)."""
    rows = days_of_registers(of_registers)
    rows, hours, both = decided(rows, of_power, of_registers, MIDNIGHTS, AT + running * HOUR_MS)
    by_meter = {int(row["meter_id"]): (row["energy_mj"] / KWH_MJ, row["exported_mj"] / KWH_MJ, row["covered_ms"] / HOUR_MS) for row in rows}
    by_hour = [
        (
            int(h["meter_id"]),
            (int(h["start_ms"]) - AT) // HOUR_MS,
            h["energy_mj"] / KWH_MJ,
            h["exported_mj"] / KWH_MJ,
            h["covered_ms"] / HOUR_MS,
        )
        for h in hours
    ]
    return by_meter, by_hour, {meter: tuple(figures.values()) for (meter, _), figures in both.items()}


def test_the_register_decides_and_power_fills_what_it_lacks():
    """Power covers more of hours 0 and 2; of hour 3, the register gives nothing."""
    power = powers((1, 0, 2, 0, 1), (1, 1, 2, 0, 1), (1, 2, 2, 0, 1), (1, 3, 2, 0, 0.5), (7, 0, 9, 0, 1))
    register = registers((1, 0, 1, 0.5, 0), (1, 1, 3, 1, 0), (1, 2, 1, 0.75, 2))
    by_meter, by_hour, figures = judged(power, {IMPORT: register})
    assert by_hour == [(1, 0, 2, 0, 1), (1, 1, 3, 0, 1), (1, 2, 2, 0, 1), (1, 3, 2, 0, 0.5), (7, 0, 9, 0, 1)]
    assert by_meter == {1: (9, 0, 3.5)} and figures == {1: (8, 0, 5, None, 2)}


def test_import_and_export_are_decided_apart():
    power = powers((1, 0, 2, 4, 1))
    by_meter, _, figures = judged(power, {IMPORT: registers((1, 0, 1, 0.5, 0)), EXPORT: registers((1, 0, 5, 1, 0), (2, 0, 3, 1, 0))})
    assert by_meter == {1: (2, 5, 1), 2: (0, 3, 1)}
    assert figures == {1: (2, 4, 1, 5, 0), 2: (None, None, None, 3, 0)}


def test_power_decides_the_hour_that_runs_so_that_its_energy_rises_steadily():
    """The meter draws 6 kW by its power and 6.6 kW by its register, which is read every quarter of an hour."""
    found = []
    for tenth in range(1, 11):
        quarter = tenth * 10 // 25 / 4
        registers_now = {IMPORT: registers((1, 3, 6.6, 1, 0), (1, 4, 6.6 * quarter, quarter, 0))}
        found.append(judged(powers((1, 3, 6, 0, 1), (1, 4, 0.6 * tenth, 0, tenth / 10)), registers_now, running=4)[0][1])
    assert found == [(pytest.approx(6.6 + 0.6 * tenth), 0, 1 + tenth / 10) for tenth in range(1, 11)]
    over = {IMPORT: registers((1, 4, 6.6, 1, 0))}
    assert judged(powers((1, 4, 6, 0, 1)), over, running=5)[0] == {1: (pytest.approx(6.6), 0, 1)}


def test_of_the_hour_that_runs_a_register_decides_what_has_no_power():
    register = {IMPORT: registers((1, 4, 2, 0.5, 0), (2, 4, 3, 0.5, 0)), EXPORT: registers((2, 4, 1, 0.75, 0))}
    by_meter, by_hour, _ = judged(powers((2, 4, 4, 0, 0.25)), register, running=4)
    assert by_meter == {1: (2, 0, 0.5), 2: (4, 0, 0.25)} and by_hour == [(1, 4, 2, 0, 0.5), (2, 4, 4, 0, 0.25)]


def test_what_belongs_to_closed_days_counts_where_no_power_filled_them():
    register = registers((1, None, 6, 0, 0), (1, 0, 1, 1, 0), (2, None, 6, 0, 0), (2, 0, 1, 1, 0), (3, None, 6, 0, 0))
    by_meter, by_hour, figures = judged(powers((1, 0, 2, 0, 1)), {IMPORT: register})
    assert by_hour == [(1, 0, 1, 0, 1), (2, 0, 7, 0, 1), (3, 0, 6, 0, 0)]
    assert by_meter == {1: (1, 0, 1), 2: (7, 0, 1), 3: (6, 0, 0)}
    assert figures == {1: (2, 0, 7, None, 0), 2: (None, None, 7, None, 0), 3: (None, None, 6, None, 0)}


def test_days_of_registers_have_no_readings():
    rows = days_of_registers({IMPORT: registers((2, 0, 1, 1, 0), (2, 1, 1, 1, 0)), EXPORT: registers((1, 0, 1, 1, 0), (2, 1, 1, 1, 0))})
    assert rows.dtype == RESULT and rows[["meter_id", "day", "readings"]].tolist() == [(1, DAY, 0), (2, DAY, 0)]
